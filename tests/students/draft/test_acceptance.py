"""Acceptance lengths, against rules worked out by hand and against speculative sampling itself."""

import itertools

import numpy as np
import pytest

from openwheel.errors import ModelError
from openwheel.students.draft import acceptance
from openwheel.students.draft.acceptance import expected_passes


def greedy_passes(taken, draft_tokens):
    """Count passes by going through an answer as an engine does."""
    at = passes = 0
    while at < len(taken):
        run = 0
        while run < draft_tokens and at + run < len(taken) and taken[at + run]:
            run += 1
        at += run + 1
        passes += 1
    return passes


@pytest.mark.parametrize("draft_tokens", [1, 3, 5])
def test_greedy_passes_are_those_an_engine_makes(draft_tokens):
    random = np.random.default_rng(3)
    for _ in range(200):
        taken = (random.random(random.integers(1, 30)) < 0.7).astype(float)
        assert expected_passes(taken, draft_tokens) == greedy_passes(taken, draft_tokens)


def speculative_sampling(target, draft, length, draft_tokens, random):
    """Write one text by speculative sampling; return it and how many passes it took.

    Both models are tables of the next token's probabilities given the last token.
    """
    text, passes = [0], 0
    while len(text) <= length:
        passes += 1
        state, proposed = text[-1], []
        for _ in range(draft_tokens):
            token = random.choice(len(target), p=draft[state])
            proposed.append((state, token))
            state = token
        for before, token in proposed:
            p, q = target[before], draft[before]
            if random.random() < min(1.0, p[token] / q[token]):
                text.append(token)
            else:
                rest = np.clip(p - q, 0, None)
                text.append(random.choice(len(p), p=rest / rest.sum()))
                break
        else:
            text.append(random.choice(len(target), p=target[text[-1]]))
    return text[1 : length + 1], passes


def test_sampled_acceptance_is_that_of_speculative_sampling():
    random = np.random.default_rng(5)
    target = random.dirichlet(np.full(6, 0.7), 6)
    draft = 0.6 * target + 0.4 * random.dirichlet(np.full(6, 0.7), 6)
    length, draft_tokens, runs = 30, 3, 1000
    passes = [
        speculative_sampling(target, draft, length, draft_tokens, random)[1] for _ in range(runs)
    ]
    chances = []
    for _ in range(runs):
        text = [0]
        for _ in range(length):
            text.append(random.choice(6, p=target[text[-1]]))
        pairs = list(itertools.pairwise(text))
        chances.append(np.array([min(1.0, draft[a][b] / target[a][b]) for a, b in pairs]))
    expected = [expected_passes(answer, draft_tokens) for answer in chances]
    noise = 4 * np.hypot(np.std(passes), np.std(expected)) / runs**0.5
    assert abs(np.mean(passes) - np.mean(expected)) < noise
    assert noise < 0.6  # else the line above says nothing


def test_the_ends_of_what_a_draft_can_be():
    perfect = acceptance([np.ones(12)] * 3, 5)
    assert (perfect.length, perfect.rate) == (6.0, 1.0)
    useless = acceptance([np.zeros(12)] * 3, 5)
    assert (useless.length, useless.rate) == (1.0, 0.0)
    assert useless.low == useless.high == 1.0


@pytest.mark.evidence
def test_the_interval_covers_the_length_of_much_more_data():
    random = np.random.default_rng(11)

    def answers(count):
        shares = random.beta(4, 2, count)
        return [(random.random(random.integers(5, 40)) < share).astype(float) for share in shares]

    truth = acceptance(answers(8_000), 4).length
    found = [acceptance(answers(60), 4, seed=i) for i in range(120)]
    inside = sum(each.low <= truth <= each.high for each in found)
    assert 105 <= inside <= 120  # 95% of 120 is 114, its standard deviation 2.4


def test_one_answer_says_nothing_of_others():
    one = acceptance([np.array([1.0, 0.0])], 4)
    assert (one.low, one.high) == (1.0, 5.0)


def test_the_speed_up_counts_what_proposing_costs():
    perfect = acceptance([np.ones(12)] * 2, 5)
    assert perfect.speedup(0.0) == 6.0
    assert perfect.speedup(0.2) == 3.0


def test_nothing_to_measure_on():
    with pytest.raises(ModelError, match="no answers"):
        acceptance([], 5)
    with pytest.raises(ModelError, match="at least 1, was 0"):
        acceptance([np.ones(3)], 0)

"""Which of a tagger's best paths is taken."""

import numpy as np
import pytest

from openwheel.students.fields.crf import Decoded
from openwheel.students.fields.drafts import Seen, signature_of, template_of
from openwheel.students.fields.paths import learn_choice, take, whole_of

TAGS = [(0, 0), (1, 0), (3, 0)]


def path(tags, logprob, others=()):
    own = np.array(tags)
    return Decoded(own, np.full(len(own), 0.5), logprob, logprob - 1, others)


FOUND = path([0, 1], -0.5, (path([0, 2], -0.9), path([1, 2], -2.0)))


def test_what_training_had_of_a_record_speaks_for_a_path():
    hashes = [7, 8]
    signature = signature_of(5, [(1, 1, 1)])
    seen = Seen({signature: 3}, {template_of(hashes, [(1, 1, 1)]): 1})
    whole = whole_of(FOUND, TAGS, hashes, type_hash=5, seen=seen, own=None)
    assert whole[:, 0] == pytest.approx([0, -0.4, -1.5])
    assert whole[:, 3].tolist() == [1, 1, 2]
    assert whole[:, 4].tolist() == [0, 1, 0]
    own = (signature, template_of(hashes, [(1, 1, 1)]))
    whole = whole_of(FOUND, TAGS, hashes, type_hash=5, seen=seen, own=own)
    assert whole[1, 1] == pytest.approx(np.log(3))  # two others had it
    assert whole[1, 5] == 0  # none but the text itself


def test_the_lead_of_a_path_is_that_of_its_score():
    taken = take(FOUND, np.array([0.0, 1.5, 1.0]))
    assert taken.tags.tolist() == [0, 2]
    assert (taken.logprob, taken.logprob - taken.second) == pytest.approx((-0.9, 0.5))
    alone = path([0, 0], -0.1)
    assert take(alone, np.zeros(1)).second == alone.second


def made(n, *, tells):
    """Texts with two paths; which is right is told by whether its fields were seen, or by none."""
    rng = np.random.default_rng(0)
    right = (rng.random(n) < 0.4).astype(np.int64)
    seen = right if tells else rng.integers(0, 2, n)
    wholes = []
    for at in seen:
        whole = np.zeros((2, 6))
        whole[1, 0], whole[at, 4] = -0.5, 1.0
        wholes.append(whole)
    return wholes, right


def test_a_choice_is_learned_where_it_is_evidently_better():
    wholes, right = made(400, tells=True)
    weights, scores = learn_choice(wholes, right, np.arange(400) % 3)
    assert weights is not None
    assert np.mean([score.argmax() for score in scores] == right) > 0.99
    assert learn_choice(*made(400, tells=False), np.arange(400) % 3) == (None, [])
    assert learn_choice(wholes[:60], right[:60], np.arange(60) % 3) == (None, [])
    assert learn_choice([], right[:0], right[:0]) == (None, [])

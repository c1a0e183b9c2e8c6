"""Mixed logs of real data, through the benchmark's own mixing and scoring."""

import random

import pytest

import tasks as benchmark
from openwheel.tasks import find_tasks, infer_form
from task_styles import _prompt


@pytest.fixture(scope="module")
def sets(shared_data):
    return benchmark.data_sets(shared_data)


def most_are_evidence(some, rest):
    """Return cases of which only some are quick enough for `make test`."""
    return [*some, *(pytest.param(one, marks=pytest.mark.evidence) for one in rest)]


@pytest.mark.parametrize("seed", most_are_evidence([1000], [1001, 1002, 1003]))
def test_mixed_logs_are_told_apart(sets, seed):
    styles = [*benchmark.SEEN, *benchmark.HELD_OUT]
    rows, plan = benchmark.make_mix(random.Random(seed), sets, styles, 5000)
    right, recovered, _ = benchmark.score(rows, verbose=False)
    assert right >= 0.99, plan
    assert recovered >= 0.99, plan


@pytest.mark.parametrize(
    "name",
    most_are_evidence(["banking77", "xstest"], ["assetops", "snips", "slurp", "sms_spam"]),
)
def test_raw_messages_are_one_task(sets, name):
    rng = random.Random(3)
    sample = []
    for text, answer in rng.choices(sets[name], k=3000):
        sample.append((_prompt(("user", text)), answer, ""))
    tasks = find_tasks(sample)
    assert len(tasks) == 1
    assert tasks[0].template.bare


@pytest.mark.parametrize(
    ("name", "form"),
    [("banking77", "label"), ("sms_spam", "label"), ("snips", "label"), ("slurp", "label"),
     ("assetops", "label"), ("wnut17", "record"), ("maintie", "record"), ("xstest", "text"),
     ("gsm8k", "text")],
)  # fmt: skip
def test_forms_of_real_answers(sets, name, form):
    answers = [answer for _, answer in random.Random(1).choices(sets[name], k=1500)]
    evidence = infer_form(answers)
    assert evidence.form == form, evidence

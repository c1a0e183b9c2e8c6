"""The main job on the bundled sample, and on real data where it is at hand."""

import random

import pytest

from openwheel.gate import verify
from openwheel.importing import LogProblems, read_log
from openwheel.loop.offline.evaluate import evaluate
from openwheel.loop.offline.learn import learn
from openwheel.loop.serving import RegistryServing
from openwheel.loop.settings import LoopSettings


def read(path, **keys):
    return list(read_log(path, in_order=True, problems=LogProblems(), **keys))


@pytest.mark.parametrize(
    ("first", "counts", "least"),
    [
        (2_500, {"label": 1744, "record": 466, "text": 290}, 0.6),
        pytest.param(
            5_000, {"label": 3516, "record": 880, "text": 604}, 0.7, marks=pytest.mark.evidence
        ),
    ],
)
def test_the_sample_has_three_tasks_and_one_is_certified(
    store, registry, sample, first, counts, least
):
    store.append(read(sample)[:first])
    findings = learn(store, LoopSettings(), source="the sample")
    assert findings.unassigned == 0
    assert {f.form: f.n for f in findings.tasks} == counts
    route = findings.tasks[0]
    assert route.certified
    assert route.coverage > least
    # Of plant, date, shift lead, ticket number, line and ticket text only the text is read.
    assert route.variables == (6,)
    assert verify(registry.certificates()[0]).holds


@pytest.mark.parametrize(
    ("name", "answer", "least"),
    [
        ("sms_spam", "label", 0.95),
        pytest.param("snips", "intent", 0.95, marks=pytest.mark.evidence),
        pytest.param("banking77", "label", 0.75, marks=pytest.mark.evidence),
    ],
)
def test_real_data_is_certified_and_keeps_the_limit_elsewhere(
    store, registry, shared_data, name, answer, least
):
    exchanges = read(shared_data / f"{name}.jsonl.gz", output_key=answer)
    random.Random(11).shuffle(exchanges)
    cut = 4 * len(exchanges) // 5
    store.append(exchanges[:cut])
    (finding,) = learn(store, LoopSettings(), source=name).tasks
    assert finding.certified, finding.reason
    fresh = evaluate(RegistryServing(registry), exchanges[cut:]).total
    assert fresh.coverage > least
    # A certificate may be wrong once in thirty times; these are fixed draws on which it is not.
    assert fresh.disagreement <= 0.05

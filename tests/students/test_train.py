import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from openwheel.students import train
from openwheel.students.evidence import look

from .samples import traffic

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"


@pytest.mark.parametrize(
    ("rung", "said"),
    [
        ("", "rung must be one of exact, linear, encoder, lm, was ''"),
        ("lm", "no prompt template to ask with, or no engine"),
        ("encoder", "there is none"),
    ],
)
def test_an_unknown_rung_or_one_without_what_it_needs(rung, said):
    with pytest.raises(ValueError, match=said):
        train(rung, *traffic(20, 2), variables=(0,))


def test_one_long_text_among_many_short_ones():
    # A NumPy array of texts would give each the room of the longest: 12 GB here.
    inputs, answers = traffic(3_000, 3)
    inputs.append(("z" * 1_000_000,))
    answers.append("answer 0")
    fitted = train("linear", inputs, answers, variables=(0,))
    assert fitted.agrees.mean() > 0.9


def test_nearly_as_many_answers_as_examples_are_learned_without_a_warning():
    inputs = [(f"word{i // 2} again{i % 2}",) for i in range(80)]
    answers = [f"answer {i // 2}" if i < 60 else f"once {i}" for i in range(80)]
    fitted = train("linear", inputs, answers, variables=(0,))  # a warning is an error here
    assert fitted.student.answers


@pytest.mark.evidence
def test_long_texts_and_many_answers_in_bounded_memory(tmp_path):
    import subprocess
    import sys

    code = """
import numpy as np
from openwheel.students import train
rng = np.random.default_rng(0)
words = np.array(["w%x" % i for i in range(5000)])
long = [(" ".join(rng.choice(words, 10_000)),) for _ in range(60)]
train("linear", long, ["ab"[i % 2] for i in range(60)], variables=(0,))
many = [(f"t{i % 500} u{i % 500} {words[i]}",) for i in range(1_500)]
student = train("linear", many, [f"a{i % 1000}" for i in range(1_500)], variables=(0,)).student
assert len(student.answers) == 500
student.predict(many * 20)
# Not ru_maxrss: across vfork and exec Linux carries the parent's peak into it.
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM:"))
print(int(peak.split()[1]) // 1024)
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(found.stdout) < 1_600  # MiB


@pytest.mark.evidence
def test_learns_banking77_and_its_confidence_ranks():
    path = DATA / "banking77.jsonl.gz"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        rows = [row for row in map(json.loads, lines) if row["split"] == "train"]
    order = np.random.default_rng(0).permutation(len(rows))
    training, testing = ([rows[i] for i in part] for part in (order[:2_500], order[2_500:4_500]))
    fitted = train(
        "linear",
        [(row["text"],) for row in training],
        [row["label"] for row in training],
        variables=(0,),
    )
    student = fitted.student
    labels, confidence = student.predict([(row["text"],) for row in testing])
    right = np.array(
        [student.answers[i] == row["label"] for i, row in zip(labels, testing, strict=True)]
    )
    assert right.mean() > 0.78
    # Out of fold training saw a fifth less, and says a little less than the truth.
    assert right.mean() - 0.06 < fitted.agrees.mean() < right.mean() + 0.02
    texts = [row["text"] for row in testing]
    top_score = look(student.core, texts, None).features[:, 0]
    area, plain = risk_coverage(confidence, right), risk_coverage(top_score, right)
    assert area < plain + 0.002
    assert area < 0.6 * (1 - right.mean())  # ranking at random gives the error itself


def risk_coverage(confidence, right):
    """The mean error among the answered, over all coverages."""
    wrong = ~right[np.argsort(-confidence, kind="stable")]
    return (np.cumsum(wrong) / np.arange(1, len(wrong) + 1)).mean()

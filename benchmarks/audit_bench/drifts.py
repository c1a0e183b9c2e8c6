"""Real drifts: labelled texts before and after a change, and what a promoted student does then.

Banking77 throughout (CC-BY-4.0). The student is the product's linear rung, trained on three
quarters of the training split as it was before the change, and promoted by the gate on the rest.
The texts that are asked afterwards are the published test split, which neither saw. A human label
as teacher is a perfect teacher, which no real one is; GPT-4's answers are a real teacher's.
"""

import functools
import re
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from openwheel.gate import judge, make_plan, spent
from openwheel.students import train
from shared import rows

Pair = tuple[str, str]
FloatArray = npt.NDArray[np.float64]

SEED = 0

FEW = ("pending", "declined")
MANY = (*FEW, "top_up", "exchange", "virtual_card")
"""Labels that hold one of these words are one label before they split: 7 and 27 of 77."""

UNSEEN = 10
"""So many labels, drawn with a fixed seed, are new."""

WORDS = {
    "card": "plastic",
    "account": "wallet",
    "money": "funds",
    "transfer": "wire",
    "transferred": "wired",
    "payment": "checkout",
    "top": "load",
    "cash": "banknotes",
    "atm": "cashpoint",
    "pin": "secret number",
    "exchange": "conversion",
    "fee": "surcharge",
    "charged": "debited",
    "pending": "in progress",
    "refund": "reimbursement",
    "app": "application",
    "bank": "lender",
    "identity": "persona",
    "virtual": "digital",
    "withdrawal": "payout",
    "balance": "standing",
    "declined": "rejected",
    "working": "functioning",
    "phone": "handset",
    "lost": "misplaced",
}
"""Another clientele's words: chosen by reading the label names, no result looked at."""


class Drift(NamedTuple):
    """Labelled texts before and after a change."""

    name: str
    training: list[Pair]
    before: list[Pair]
    after: list[Pair]


class Promoted(NamedTuple):
    """What a promoted student did on the texts before and after.

    Attributes:
        name: Of the drift.
        certified: Coverage and mean disagreement on calibration.
        coverage, rate: Share answered, and disagreement among those, before and after.
        texts: How many were asked, before and after.
    """

    name: str
    certified: tuple[float, float]
    coverage: tuple[float, float]
    rate: tuple[float, float]
    texts: tuple[int, int]


def banking77(split: str) -> list[Pair]:
    return [(row["text"], row["label"]) for row in rows("banking77") if row["split"] == split]


def labels_split(words: tuple[str, ...]) -> Drift:
    """The teacher tells apart what was one label before."""

    def coarse(pairs: list[Pair]) -> list[Pair]:
        return [
            (text, next((word for word in words if word in label), label)) for text, label in pairs
        ]

    test = banking77("test")
    split = sum(any(word in label for word in words) for label in {label for _, label in test})
    return Drift(
        f"{split} labels split from {len(words)}", coarse(banking77("train")), coarse(test), test
    )


def new_labels() -> Drift:
    """Requests come that have labels no one saw before."""
    training, test = banking77("train"), banking77("test")
    names = sorted({label for _, label in test})
    unseen = set(np.random.default_rng(SEED).choice(names, UNSEEN, replace=False).tolist())

    def without(pairs: list[Pair]) -> list[Pair]:
        return [pair for pair in pairs if pair[1] not in unseen]

    return Drift("new labels", without(training), without(test), test)


def teacher_swapped() -> Drift:
    """The same texts by GPT-4's answers instead of human labels."""
    found = [row for row in rows("ocats_banking77_gpt") if row["split"] == "test" and row["gpt4"]]
    human = [(row["text"], row["label"]) for row in found]
    return Drift(
        "teacher swapped for GPT-4",
        banking77("train"),
        human,
        [(row["text"], row["gpt4"]) for row in found],
    )


def vocabulary() -> Drift:
    """The same requests in another clientele's words."""
    pattern = re.compile(r"\b(" + "|".join(WORDS) + r")\b", re.IGNORECASE)

    def said(text: str) -> str:
        return pattern.sub(lambda found: WORDS[found.group().lower()], text)

    test = banking77("test")
    after = [(said(text), label) for text, label in test]
    return Drift("other words", banking77("train"), test, after)


DRIFTS: tuple[Callable[[], Drift], ...] = (
    functools.partial(labels_split, FEW),
    functools.partial(labels_split, MANY),
    new_labels,
    teacher_swapped,
    vocabulary,
)


def promoted(drift: Drift, *, epsilon: float, delta: float) -> Promoted | None:
    """Train and promote a student as it was before the drift, and ask it everything once.

    Returns:
        None if the gate refuses.
    """
    order = np.random.default_rng(SEED).permutation(len(drift.training))
    shuffled = [drift.training[i] for i in order]
    cut = len(shuffled) * 3 // 4
    learned, held = shuffled[:cut], shuffled[cut:]
    fitted = train(
        "linear", [(text,) for text, _ in learned], [label for _, label in learned], variables=(0,)
    )

    def ask(pairs: list[Pair]) -> tuple[FloatArray, FloatArray]:
        found = fitted.student.answer([(text,) for text, _ in pairs])
        wrong = np.array(found.texts) != np.array([label for _, label in pairs])
        return found.confidence, wrong.astype(np.float64)

    level = spent(delta, 1)
    plan = make_plan(
        fitted.confidence,
        (~fitted.agrees).astype(np.float64),
        epsilon=epsilon,
        delta=level,
        calibration=len(held),
    )
    judgement = judge(*ask(held), np.arange(len(held)), plan, epsilon=epsilon, delta=level)
    if judgement.chosen is None:
        return None
    test = judgement.tests[judgement.chosen]
    coverage, rate = [], []
    for pairs in (drift.before, drift.after):
        confidence, wrong = ask(pairs)
        answered = confidence >= test.threshold
        coverage.append(float(answered.mean()))
        rate.append(float(wrong[answered].mean()) if answered.any() else 0.0)
    return Promoted(
        drift.name,
        (test.answered / judgement.n, test.loss / test.answered),
        (coverage[0], coverage[1]),
        (rate[0], rate[1]),
        (len(drift.before), len(drift.after)),
    )

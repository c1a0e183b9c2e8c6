"""The certificate: the record of one passed gate, from which anyone can recompute it."""

import hashlib
import math
from collections import Counter
from typing import Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from openwheel.gate.betting import STEPS, as_counts
from openwheel.gate.bounds import anytime_upper_bound, upper_bound
from openwheel.gate.judge import (
    Counted,
    Method,
    Partial,
    Test,
    bound_of,
    evidently_above,
    p_values_of,
    total_loss,
)
from openwheel.gate.selection import fallback, spent
from openwheel.gate.weighed import Weighed, are_entries, weighed_from

IntArray = npt.NDArray[np.int64]


class Slice(msgspec.Struct, frozen=True, omit_defaults=True):
    """One part of the traffic, with its counts at the certified threshold.

    ``partial``: disagreements whose loss was below 1, by their loss.
    """

    name: str
    exchanges: int
    answered: int
    disagreements: int
    partial: Partial = ()

    @property
    def loss(self) -> float:
        """Sum of the losses."""
        return total_loss(self.disagreements, self.partial)


POPULATIONS = ("new", "repeated")
"""Inputs that training never saw, and those that it did."""


class Compared(msgspec.Struct, frozen=True, omit_defaults=True):
    """How the student's answers were compared with the teacher's, where not by equality.

    Attributes:
        setting: As the user chose it.
        sha256: Of all that decides a loss: versions, limits, prompts, the encoder's weights.
        model: The model that judged, ``""`` if none did.
        measured: What was measured of the comparison before it was used, by name.
        loss: ``fields`` if the loss of a record is the share of its fields that are wrong; ``""``
            if it is what the comparison says.
        fields: How each field of a record could differ and still be right, by its name.
    """

    setting: str
    sha256: str
    model: str = ""
    measured: dict[str, float] = {}
    loss: Literal["", "fields"] = ""
    fields: dict[str, tuple[str, ...]] = {}


class ByAnswer(msgspec.Struct, frozen=True):
    """One answer in the calibration window, at the certified threshold.

    Attributes:
        answer: The canonical answer.
        teacher: How often the teacher gave it, whoever would have answered.
        student: How often the student gave it.
        agreed: How often both did.
    """

    answer: str
    teacher: int
    student: int
    agreed: int


class ByField(msgspec.Struct, frozen=True):
    """One field of records that the student answered, at the certified threshold.

    Attributes:
        field: The names that lead to it, with dots between.
        records: Calibration exchanges that the student answered and in which the teacher's record
            or the student's has the field.
        agreed: In how many of those both have the same value.
    """

    field: str
    records: int
    agreed: int


class Critical(msgspec.Struct, frozen=True):
    """What became of requests with a critical answer, a burst counted once.

    Attributes:
        answers: The canonical answers that the user named.
        teacher: Calibration exchanges to which the teacher gave one of them.
        otherwise: To how many of those the student gave another answer, at the certified threshold.
        at_most: The same at the laxest threshold that was tested. That one was fixed before any
            label was looked at, so a bound may rest on it; at the certified one it is no more.
    """

    answers: tuple[str, ...]
    teacher: int
    otherwise: int
    at_most: int


class Evidence(msgspec.Struct, frozen=True):
    """The votes among calibration exchanges, and the counts at the certified threshold."""

    n: int
    answered: int
    disagreements: int


class Window(msgspec.Struct, frozen=True):
    """One side of the split: which exchanges it holds.

    ``sha256`` is over a line for each exchange in order: its seq, its inputs as JSON and the
    teacher's answer, with tabs between.
    """

    exchanges: int
    first_seq: int
    last_seq: int
    first_time: float
    last_time: float
    sha256: str


SCHEMA = 2
"""Version of the certificate's fields. Schema 1, of before December 2026, still verifies."""

COMPUTED = (
    "id",
    "delta_spent",
    "observed",
    "bound",
    "coverage",
    "repeat_disagreement",
    "critical_bound",
)
COMPUTED_OF_TESTS = ("p_value", "level")
"""What follows from the other fields: it is recomputed and compared, and not hashed."""

DIGITS = 12
"""Significant digits of a number that are hashed: the last ones depend on the processor."""

TOLERANCE = 1e-6
"""A recomputed number may differ by this share of it."""


class Certificate(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A student's certificate.

    Fields that have a default are left out where they have it: a certificate from before there
    was such a field keeps its id.

    Attributes:
        id: sha256 of the other fields but the computed ones; see `digest`. Not a signature:
            whoever can write a certificate can write one with an id that fits.
        schema: Version of these fields.
        statement: The promise in words, with its condition.
        task, task_name: The task it was certified for.
        student, rung, files: The student; the sha256 of each of its files.
        epsilon, delta: The user's limit and risk.
        attempt, delta_spent: Which attempt on this task it was, and the share of delta it spent.
        method: ``binomial`` or ``betting`` (one look), or ``anytime`` (shadowing, looked at as it
            went).
        tests: Every threshold tried, in order, with counts.
        chosen: Index of the certified threshold among them.
        threshold, calibration, observed, bound: At the certified threshold.
        coverage: Share of the calibration exchanges that it answered there.
        repeat_disagreement: Observed mean loss on all of those.
        training, calibration_window: What each side of the split held.
        slices: Counts of each slice of the traffic; slices not listed are deferred.
        deferred_slices: Slices left to the teacher since training showed too much disagreement.
        deferred_keys: Keys of the gateway whose requests are left to the teacher, since training
            showed too much disagreement; they are not among the calibration exchanges.
        versions: Of Openwheel and the libraries that computed it.
        created: ISO 8601, UTC.
        compared: How answers were compared, None if an agreement was an equal canonical answer.
        licences: What the student was made of and what that is under, a line each.
        lineage: The sha256 of its lineage as it was when it was trained.
        weighted_disagreement: Observed mean loss at the certified threshold, repeats included,
            with each exchange standing for as many as one over the probability that the teacher
            was asked; None where all probabilities were equal.
        share: Share of the attempt's delta that these tests had; the rest was for others.
        design_effect: By how much less evidence all exchanges are than independent ones.
        populations: All calibration exchanges, by whether training had seen their input: ``new``
            and ``repeated``.
        unfinished: Those whose teacher's answer was cut, filtered, refused or of another kind. An
            answer of the student to one of them counts as a disagreement.
        answers: Counts of each answer, for labels.
        fields: Counts of each field, for records; those that differ most often first.
        critical: What became of requests with a critical answer, None if the user named none.
        critical_bound: Upper bound of the share of them that the student answers otherwise. It
            holds with probability 1 - delta for itself: it is no part of the promise, nor of what
            that spends.
        deferred_window: Requests that students deferred, and that were evidence by their weight.
            They are not among the calibration exchanges. None if there were none.
        matcher: The sha256 of what decides which prompts are its task's: the template, and those
            of other tasks that come first.
    """

    id: str = ""
    schema: int
    statement: str
    task: str
    task_name: str
    student: str
    rung: str
    files: dict[str, str]
    epsilon: float
    delta: float
    attempt: int
    delta_spent: float
    method: Method
    tests: tuple[Test, ...]
    chosen: int
    threshold: float
    calibration: Evidence
    observed: float
    bound: float
    coverage: float
    repeat_disagreement: float
    training: Window
    calibration_window: Window
    slices: tuple[Slice, ...]
    deferred_slices: tuple[str, ...]
    versions: dict[str, str]
    created: str
    compared: Compared | None = None
    licences: tuple[str, ...] = ()
    lineage: str = ""
    weighted_disagreement: float | None = None
    share: float = 1.0
    design_effect: float = 1.0
    populations: tuple[Slice, ...] = ()
    unfinished: Slice | None = None
    answers: tuple[ByAnswer, ...] = ()
    fields: tuple[ByField, ...] = ()
    critical: Critical | None = None
    critical_bound: float | None = None
    deferred_window: Window | None = None
    matcher: str = ""
    deferred_keys: tuple[str, ...] = ()

    @property
    def by_fields(self) -> bool:
        """Whether its losses are shares of wrong fields."""
        return self.compared is not None and self.compared.loss == "fields"

    @property
    def never_given(self) -> tuple[str, ...]:
        """The answers that the teacher gave in the calibration window and the student never.

        But for those that it is to leave to the teacher.
        """
        critical = self.critical.answers if self.critical else ()
        return tuple(
            part.answer
            for part in self.answers
            if part.teacher and not part.student and part.answer not in critical
        )

    def sealed(self) -> "Certificate":
        """Return the same certificate with its id."""
        return msgspec.structs.replace(self, id=self.digest())

    def digest(self) -> str:
        """Return the sha256 of what the certificate rests on, as JSON with sorted keys.

        Counts, hashes, settings and texts; what is computed from them is left out, and numbers are
        rounded to `DIGITS` digits, so that the id does not depend on the last bit of a float.
        """
        fields = msgspec.to_builtins(self)
        fields.pop("id", None)
        if self.schema > 1:
            for name in COMPUTED:
                fields.pop(name, None)
            for test in fields["tests"]:
                for name in COMPUTED_OF_TESTS:
                    test.pop(name, None)
            fields = _rounded(fields)
        return hashlib.sha256(msgspec.json.encode(fields, order="sorted")).hexdigest()


def _rounded(value: Any) -> Any:
    """Return a JSON value with each float rounded to `DIGITS` significant digits."""
    if isinstance(value, dict):
        return {key: _rounded(child) for key, child in value.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(child) for child in value]
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


class Verification(msgspec.Struct, frozen=True):
    """What recomputing a certificate found: whether it holds, the bound, and each thing wrong."""

    holds: bool
    bound: float
    problems: tuple[str, ...]


def verify(certificate: Certificate) -> Verification:
    """Recompute a certificate from its recorded counts.

    Checks that it is unaltered, that its delta was the attempt's share, that each p-value, level
    and outcome follows from the counts, that the certified threshold passed, and that the summary
    is that of the counts. It cannot check that the counts are those of the exchanges, nor that the
    thresholds were fixed and the attempts counted before: that takes the store they came from.
    """
    problems = []
    if certificate.id != certificate.digest():
        problems.append("its id is not the hash of its content: it was altered")
    if certificate.schema not in {1, SCHEMA}:
        problems.append(f"its schema is {certificate.schema}, this checks schemas 1 and {SCHEMA}")
    if not (0 < certificate.epsilon < 1 and 0 < certificate.delta < 1):
        problems.append("epsilon and delta must lie between 0 and 1")
    if certificate.attempt < 1 or not 0 <= certificate.chosen < len(certificate.tests):
        problems.append("its attempt or its chosen threshold is not one there can be")
    if not 0 < certificate.share <= 1 or not 1 <= certificate.design_effect < math.inf:
        problems.append("its share of delta or its design effect is not one there can be")
    if problems:
        return Verification(False, 1.0, tuple(problems))
    allowed = spent(certificate.delta, certificate.attempt) * certificate.share
    if not math.isclose(certificate.delta_spent, allowed, rel_tol=TOLERANCE):
        problems.append(
            f"{certificate.share:.3g} of what attempt {certificate.attempt} may spend of delta is "
            f"{allowed:.6g}, it says {certificate.delta_spent:.6g}"
        )
    problems += _impossible_counts(certificate)
    if problems:
        return Verification(False, 1.0, tuple(problems))
    problems += _recount(certificate) + _summary(certificate) + _slices(certificate)
    problems += _parts(certificate)
    test = certificate.tests[certificate.chosen]
    bound = 1.0
    if test.level > 0:
        bound = bound_of(test, certificate.method, certificate.design_effect)
    if not math.isclose(bound, certificate.bound, rel_tol=TOLERANCE):
        problems.append(f"its bound is {certificate.bound:.6g}, the counts give {bound:.6g}")
    # The tolerance is for the rounding of the bound's inverse, not for the test, which was redone.
    weighted = certificate.weighted_disagreement
    if weighted is not None and not weighted <= certificate.epsilon:  # not a number fails, too
        problems.append(
            f"its weighted disagreement {weighted:.6g} is above epsilon {certificate.epsilon:.6g}"
        )
    if bound > certificate.epsilon * (1 + 1e-9):
        problems.append(f"the bound {bound:.6g} is above epsilon {certificate.epsilon:.6g}")
    return Verification(not problems, bound, tuple(problems))


def _impossible_counts(certificate: Certificate) -> list[str]:
    """Return what in the counts and weights no judgement could have left there."""
    problems = []
    tests = certificate.tests
    if (np.diff([test.threshold for test in tests]) >= 0).any():
        problems.append("its thresholds are not in order from strict to lax")
    most = certificate.epsilon if certificate.method == "anytime" else 0.0
    if not all(0 <= test.rate <= most for test in tests):
        problems.append("it bets on rates that are not ones to bet on")
    weights = np.array([test.weight for test in tests])
    if not (weights >= 0).all() or weights.sum() > 1 + 1e-9:
        problems.append("its weights share out more than delta")
    if not all(_is_partial(part) for t in tests for part in (t.partial, t.partial_with_repeats)):
        return [*problems, "its losses between 0 and 1 are not those of a gate"]
    first, repeated = _counts(tests)
    partial = {step for t in tests for step, _ in (*t.partial, *t.partial_with_repeats)}
    columns = [0, *sorted(partial), STEPS]
    by_loss, repeated_by_loss = _by_loss(first, columns), _by_loss(repeated, columns)
    for counts in (by_loss, repeated_by_loss):
        # What is answered at one threshold is answered at every laxer one, with the same loss.
        if (np.diff(counts, axis=0, prepend=0) < 0).any():
            problems.append("its counts are not those of thresholds from strict to lax")
    answered, all_answered = first.answered, repeated.answered
    if (by_loss > repeated_by_loss).any():
        problems.append("it counts less with repeats than without")
    independent, exchanges = certificate.calibration.n, certificate.calibration_window.exchanges
    if answered[-1] > independent or all_answered[-1] > exchanges or independent > exchanges:
        problems.append("it has more answers than calibration exchanges")
    return problems + _impossible_weights(certificate)


def _impossible_weights(certificate: Certificate) -> list[str]:
    """Return what in the weighed counts no judgement could have left there."""
    tests, window = certificate.tests, certificate.deferred_window
    rows = [entries for test in tests for entries in (test.weighed, test.weighed_with_repeats)]
    if not any(rows):
        return [] if window is None else ["it has deferred requests, and did not count them"]
    if certificate.method != "anytime" or not all(map(are_entries, rows)):
        return ["its weighed counts are not those of a gate"]
    votes, exchanges = _weighed(tests)
    most = certificate.calibration_window.exchanges + (window.exchanges if window else 0)
    if (
        any(
            (np.diff(weighed.counts, axis=0, prepend=0) < 0).any() for weighed in (votes, exchanges)
        )
        or (votes.counts > exchanges.counts).any()
        or exchanges.counts[-1].sum() > most
    ):
        return ["its weighed counts are not those of thresholds from strict to lax"]
    return []


def _weighed(tests: tuple[Test, ...]) -> tuple[Weighed, Weighed]:
    """Return the weighed counts: first members of bursts, and with repeats, in the same columns."""
    votes = [test.weighed for test in tests]
    both = weighed_from([*votes, *(test.weighed_with_repeats for test in tests)])
    return (
        both._replace(counts=both.counts[: len(votes)]),
        both._replace(counts=both.counts[len(votes) :]),
    )


def _recount(certificate: Certificate) -> list[str]:
    """Return what in the tests does not follow from the counts."""
    problems = []
    tests = certificate.tests
    counts = _counts(tests)
    if certificate.method == "binomial" and any(counted.losses is not None for counted in counts):
        return ["its method is for losses of 0 and 1, and it has others"]
    if certificate.method == "binomial" and certificate.by_fields:
        return ["its method is for losses of 0 and 1, and a share of wrong fields may be another"]
    expected = p_values_of(
        *counts,
        certificate.epsilon,
        certificate.method,
        certificate.design_effect,
        rates=np.array([test.rate for test in tests]),
        weighed=_weighed(tests) if any(test.weighed_with_repeats for test in tests) else None,
    )
    recorded = [test.p_value for test in tests]
    # Versions of SciPy differ in how they round what is nearly too small for a float.
    if not np.allclose(recorded, expected, rtol=TOLERANCE, atol=1e-250):
        problems.append("its p-values are not those of its counts")
    weights = np.array([test.weight for test in tests])
    passed, levels = fallback(expected, weights, certificate.delta_spent)
    if not np.allclose([test.level for test in tests], levels, rtol=TOLERANCE, atol=0):
        problems.append("its levels are not those of the fallback procedure")
    if [test.passed for test in tests] != passed.tolist():
        problems.append("what it says passed is not what passes")
    if not passed[certificate.chosen]:
        problems.append("its threshold did not pass the gate")
    return problems


def _summary(certificate: Certificate) -> list[str]:
    """Return what in the summary is not that of the threshold it chose."""
    chosen, counts = certificate.tests[certificate.chosen], certificate.calibration
    expected = {
        "threshold": (certificate.threshold, chosen.threshold),
        "answered": (counts.answered, chosen.answered),
        "disagreements": (counts.disagreements, chosen.disagreements),
        "observed": (certificate.observed, _share(chosen.loss, chosen.answered)),
        "coverage": (
            certificate.coverage,
            _share(chosen.answered, counts.n)
            if certificate.schema == 1
            else _share(chosen.answered_with_repeats, certificate.calibration_window.exchanges),
        ),
        "repeat_disagreement": (
            certificate.repeat_disagreement,
            _share(chosen.loss_with_repeats, chosen.answered_with_repeats),
        ),
    }
    return [
        f"its {name} is {recorded:.6g}, at the threshold it chose it is {recomputed:.6g}"
        for name, (recorded, recomputed) in expected.items()
        if not math.isclose(recorded, recomputed, rel_tol=TOLERANCE)
    ]


def _slices(certificate: Certificate) -> list[str]:
    """Return what in the slices does not add up to the counts."""
    slices, counts = certificate.slices, certificate.calibration
    if not slices:
        return []
    adds_up = (
        sum(part.exchanges for part in slices) <= counts.n
        and sum(part.answered for part in slices) == counts.answered
        and sum(part.disagreements for part in slices) == counts.disagreements
        and all(0 <= part.disagreements <= part.answered <= part.exchanges for part in slices)
        and all(_is_partial(part.partial) for part in slices)
        and _together(slices) == dict(certificate.tests[certificate.chosen].partial)
        and not any(part.answered for part in slices if part.name in certificate.deferred_slices)
    )
    return [] if adds_up else ["its slices do not add up to its counts"]


def _parts(certificate: Certificate) -> list[str]:
    """Return what in the counts by population and by answer cannot be."""
    problems = []
    chosen = certificate.tests[certificate.chosen]
    exchanges = certificate.calibration_window.exchanges
    answered, wrong = chosen.answered_with_repeats, chosen.disagreements_with_repeats
    populations = certificate.populations
    if certificate.schema > 1 and not (
        [part.name for part in populations] == [*POPULATIONS]
        and sum(part.exchanges for part in populations) == exchanges
        and sum(part.answered for part in populations) == answered
        and sum(part.disagreements for part in populations) == wrong
        and all(0 <= part.disagreements <= part.answered <= part.exchanges for part in populations)
        and all(_is_partial(part.partial) for part in populations)
        and _together(populations) == dict(chosen.partial_with_repeats)
    ):
        problems.append("its new and repeated inputs do not add up to its counts")
    elif populations and evidently_above(
        populations[0].loss, populations[0].answered, certificate.epsilon
    ):
        problems.append("on new inputs it disagrees evidently more than epsilon")
    tail = certificate.unfinished
    if (
        tail is not None
        and not 0 <= tail.disagreements == tail.answered <= tail.exchanges <= exchanges
    ):
        problems.append("its unfinished answers are not ones there can be")
    if (
        not all(0 <= part.agreed <= min(part.teacher, part.student) for part in certificate.answers)
        or sum(part.student for part in certificate.answers) > answered
    ):
        problems.append("its counts by answer do not add up to its counts")
    if not all(0 <= part.agreed <= part.records <= answered for part in certificate.fields):
        problems.append("its counts by field are not ones there can be")
    return problems + _critical(certificate)


def _critical(certificate: Certificate) -> list[str]:
    """Return what in the counts of critical answers cannot be."""
    critical, recorded = certificate.critical, certificate.critical_bound
    if critical is None or recorded is None:
        together = critical is None and recorded is None
        return [] if together else ["its critical answers and their bound go together"]
    votes = certificate.calibration.n
    if not 0 <= critical.otherwise <= critical.at_most <= critical.teacher <= votes:
        return ["its counts of critical answers are not ones there can be"]
    bound = critical_bound(critical, certificate.delta, certificate.method)
    if not math.isclose(bound, recorded, rel_tol=TOLERANCE):
        return [f"its bound for critical answers is {recorded:.6g}, the counts give {bound:.6g}"]
    return []


def critical_bound(critical: Critical, delta: float, method: Method) -> float:
    """Return an upper bound of the share of critical requests that a student answers otherwise.

    Args:
        critical: The counts.
        delta: The probability that the bound may be wrong.
        method: How the student was judged: looked at again and again, or once.
    """
    if not critical.teacher:
        return 1.0
    bound = anytime_upper_bound if method == "anytime" else upper_bound
    return float(bound(float(critical.at_most), float(critical.teacher), delta))


def _together(slices: tuple[Slice, ...]) -> dict[int, int]:
    """Return how often each loss between 0 and 1 came up in all slices."""
    total: Counter[int] = Counter()
    for part in slices:
        total.update(dict(part.partial))
    return total


def _is_partial(partial: Partial) -> bool:
    """Whether these are losses strictly between 0 and 1, in order, that came up at all."""
    steps = [step for step, _ in partial]
    return steps == sorted({step for step in steps if 0 < step < STEPS}) and all(
        count > 0 for _, count in partial
    )


def _counts(tests: tuple[Test, ...]) -> tuple[Counted, Counted]:
    """Return what the tests counted: first members of clusters, and with repeats."""
    return (
        _counted([(t.answered, t.disagreements, t.partial) for t in tests]),
        _counted(
            [
                (t.answered_with_repeats, t.disagreements_with_repeats, t.partial_with_repeats)
                for t in tests
            ]
        ),
    )


def _by_loss(counted: Counted, columns: list[int]) -> IntArray:
    """Return how many answers had each of these losses, the first 0 and the last 1."""
    if counted.losses is not None:
        return counted.losses[:, columns]
    counts = np.zeros((len(counted.answered), len(columns)), np.int64)
    counts[:, 0] = counted.answered - counted.disagreements
    counts[:, -1] = counted.disagreements
    return counts


def _counted(rows: list[tuple[int, int, Partial]]) -> Counted:
    answered, wrong = np.array([row[:2] for row in rows], np.int64).T
    losses = np.array([as_counts(*row) for row in rows]) if any(row[2] for row in rows) else None
    return Counted(answered, wrong, losses)


def _share(part: float, whole: int) -> float:
    return part / whole if whole else 0.0

"""The certificate: the record of one passed gate, from which anyone can recompute it."""

import hashlib
import math

import msgspec
import numpy as np

from openwheel.gate.bounds import anytime_p_value, binomial_p_value
from openwheel.gate.judge import Method, Test, bound_of
from openwheel.gate.selection import fallback, spent


class Slice(msgspec.Struct, frozen=True):
    """One part of the traffic, with its counts at the certified threshold."""

    name: str
    exchanges: int
    answered: int
    disagreements: int


class Evidence(msgspec.Struct, frozen=True):
    """The calibration counts at the certified threshold."""

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


class Certificate(msgspec.Struct, frozen=True, kw_only=True):
    """A student's certificate.

    Attributes:
        id: sha256 of all the other fields as JSON with sorted keys.
        statement: The promise in words, with its condition.
        task, task_name: The task it was certified for.
        student, rung, files: The student; the sha256 of each of its files.
        epsilon, delta: The user's limit and risk.
        attempt, delta_spent: Which attempt on this task it was, and the share of delta it spent.
        method: ``binomial`` (one look) or ``anytime`` (shadowing, looked at as it went).
        tests: Every threshold tried, in order, with counts.
        chosen: Index of the certified threshold among them.
        threshold, calibration, observed, bound, coverage: At the certified threshold.
        repeat_disagreement: Observed disagreement when repeats of an input count again.
        training, calibration_window: What each side of the split held.
        slices: Counts of each slice of the traffic; slices not listed are deferred.
        deferred_slices: Slices left to the teacher since training showed too much disagreement.
        versions: Of Openwheel and the libraries that computed it.
        created: ISO 8601, UTC.
    """

    id: str = ""
    schema: int = 1
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

    def sealed(self) -> "Certificate":
        """Return the same certificate with its id."""
        return msgspec.structs.replace(self, id=self.digest())

    def digest(self) -> str:
        """Return the sha256 of all fields but the id."""
        fields = msgspec.to_builtins(self)
        del fields["id"]
        return hashlib.sha256(msgspec.json.encode(fields, order="sorted")).hexdigest()


class Verification(msgspec.Struct, frozen=True):
    """What recomputing a certificate found: whether it holds, the bound, and each thing wrong."""

    holds: bool
    bound: float
    problems: tuple[str, ...]


def verify(certificate: Certificate) -> Verification:
    """Recompute a certificate from its recorded counts.

    Checks that it is unaltered, that its delta was the attempt's share, that each p-value, level
    and outcome follows from the counts, and that the certified threshold passed. It cannot check
    that the counts are those of the exchanges: that takes the store they came from.
    """
    problems = []
    if certificate.id != certificate.digest():
        problems.append("its id is not the hash of its content: it was altered")
    if not (0 < certificate.epsilon < 1 and 0 < certificate.delta < 1):
        problems.append("epsilon and delta must lie between 0 and 1")
    if certificate.attempt < 1 or not 0 <= certificate.chosen < len(certificate.tests):
        problems.append("its attempt or its chosen threshold is not one there can be")
    if problems:
        return Verification(False, 1.0, tuple(problems))
    allowed = spent(certificate.delta, certificate.attempt)
    if certificate.delta_spent > allowed * (1 + 1e-9):
        problems.append(
            f"attempt {certificate.attempt} may spend {allowed:.6g} of delta, "
            f"it spent {certificate.delta_spent:.6g}"
        )
    problems += _recount(certificate)
    test = certificate.tests[certificate.chosen]
    bound = bound_of(test, certificate.method) if test.level > 0 else 1.0
    if not math.isclose(bound, certificate.bound, rel_tol=1e-4, abs_tol=1e-6):
        problems.append(f"its bound is {certificate.bound:.6g}, the counts give {bound:.6g}")
    if bound > certificate.epsilon * (1 + 1e-4):
        problems.append(f"the bound {bound:.6g} is above epsilon {certificate.epsilon:.6g}")
    if certificate.repeat_disagreement > certificate.epsilon:
        problems.append("with repeats counted again, the observed disagreement is above epsilon")
    return Verification(not problems, bound, tuple(problems))


def _recount(certificate: Certificate) -> list[str]:
    """Return what in the tests does not follow from the counts."""
    problems = []
    tests = certificate.tests
    columns = np.array(
        [[t.threshold, t.weight, t.answered, t.disagreements, t.p_value, t.level] for t in tests]
    )
    threshold, weight, answered, disagreements, p_value, level = columns.T
    if (np.diff(threshold) >= 0).any() or (np.diff(answered) < 0).any():
        problems.append("its thresholds are not in order from strict to lax")
    if (disagreements > answered).any() or (disagreements < 0).any():
        problems.append("it has more disagreements than answers")
    if answered[-1] > certificate.calibration.n:
        problems.append("it has more answers than calibration exchanges")
    if (weight < 0).any() or weight.sum() > 1 + 1e-9:
        problems.append("its weights share out more than delta")
        return problems
    compute = binomial_p_value if certificate.method == "binomial" else anytime_p_value
    expected = compute(disagreements, answered, certificate.epsilon)
    if not np.allclose(expected, p_value, rtol=1e-4, atol=1e-9):
        problems.append("its p-values are not those of its counts")
    passed, levels = fallback(expected, weight, certificate.delta_spent)
    if not np.allclose(levels, level, rtol=1e-6, atol=1e-12):
        problems.append("its levels are not those of the fallback procedure")
    if not passed[certificate.chosen]:
        problems.append("its threshold did not pass the gate")
    chosen = tests[certificate.chosen]
    recorded = certificate.calibration
    same = (chosen.answered, chosen.disagreements) == (recorded.answered, recorded.disagreements)
    if not same or chosen.threshold != certificate.threshold:
        problems.append("its summary is not that of the threshold it chose")
    return problems

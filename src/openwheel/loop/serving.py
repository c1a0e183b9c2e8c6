"""Decides for each prompt whether a promoted student or the teacher answers."""

import logging
from collections.abc import Callable, Mapping
from typing import Literal, Protocol

import msgspec

from openwheel.errors import EngineError, OpenwheelError, StoreError, StudentFileError
from openwheel.loop.audit.records import coverage_now
from openwheel.loop.probabilities import given, spelled
from openwheel.loop.records import Accepted, AuditPlan, Candidate, Promotion, Slicer, asked
from openwheel.loop.registry import Registry
from openwheel.loop.resources import NO_RESOURCES, Resources
from openwheel.students import LabelStudent, Student, rungs
from openwheel.students.screen import ScreenedStudent
from openwheel.students.tools import offered
from openwheel.tasks import FORMS, Form, Inputs, TaskMatcher, answer_in, canonical_answer
from openwheel.tasks.compare import Comparison, ExactComparison
from openwheel.wire import Probabilities, Request

_log = logging.getLogger("openwheel.serving")


SHADOW_AUDIT = 0.5
"""Share of a task's requests that is audited while a much better student waits for evidence.

Evidence costs the same number of teacher calls at any share: each is a request that the promoted
student could have answered. A larger share brings the better student sooner; half leaves half of
the savings meanwhile. It is done where the calls are won back before the traffic has doubled.
"""


_UNKNOWN = (-1,)
"""The version of a table that has to be loaded again."""


class Decision(msgspec.Struct, frozen=True):
    """The decision on who answers one prompt.

    Attributes:
        answer: The student's answer, exactly as the teacher would have written it, a call of a
            tool as a record (`answer_in` reads it); None to defer.
        probabilities: Of the answers that ``answer`` or ``below_threshold_answer`` could have been,
            spelled alike; empty where the student gives none.
        below_threshold_answer: The answer it would have given, if it defers for a low confidence or
            because the request is unlike its training.
        task: Name of the task the prompt belongs to, ``""`` if it belongs to none.
        student: Id of the promoted student that was asked, ``""`` if the task has none.
        confidence: The student's confidence, None if none was asked.
        audit_probability: The chance (0 to 1) that the teacher is asked, whatever the student would
            answer, because the request is held back or audited. 1.0 where no student is promoted.
        canary: The share of requests that the student may answer; the rest is held back for the
            teacher, by a coin that is flipped before it is known who could answer.
        reason: Why it deferred, in a word or two (``no task``, ``no student``, ``confidence``,
            ``unlike training``, ``critical``, ``key``, ``slice``, ``settings``, ``not plain``,
            ``busy``, ``tools``, ``stopped``); ``""`` if it answered.
        form: The answer form of the task.
        comparison: How its answers are compared, as its student was certified; where that costs
            money or needs what is not there, they are equal or not. None without a student.
    """

    answer: str | None = None
    task: str = ""
    student: str = ""
    confidence: float | None = None
    audit_probability: float = 1.0
    reason: str = ""
    canary: float = 1.0
    form: Form = "label"
    comparison: Comparison | None = None
    below_threshold_answer: str | None = None
    probabilities: Probabilities = ()

    @property
    def why_not(self) -> str:
        """Why no student answers, in a few words for a client."""
        if self.reason in {"no task", "no student"}:
            return "no student is certified for it"
        if self.reason == "confidence" and self.confidence is not None:
            return "the student is not sure enough"
        return f"it is left to a teacher ({self.reason or 'held back'})"


class Pending(msgspec.Struct, frozen=True):
    """A decision still to be made, by a student that takes milliseconds.

    Attributes:
        decide: Makes the decision; call it in a thread if others would wait.
        busy: The decision if there is no time for that: the teacher answers.
        remote: Whether deciding mostly waits for another process.
    """

    decide: Callable[[], Decision]
    busy: Decision
    remote: bool = False


def settled(decision: Decision | Pending) -> Decision:
    """Return the decision, waiting for a student that takes milliseconds."""
    return decision if isinstance(decision, Decision) else decision.decide()


class Serving(Protocol):
    """The gateway's view of students: who answers a request."""

    def refresh(self) -> bool:
        """Load what was promoted or demoted since; return whether anything changed."""

    def decide(self, request: Request, task: str = "", key: str = "") -> Decision | Pending:
        """Decide who answers ``request``, whose client may have named a ``task`` and has a ``key``.

        The key is given by its name; ``""`` if clients need none.
        """


def audit_share(
    registry: Registry, plan: AuditPlan, shadow: Candidate | None, promotion: Promotion
) -> float:
    """Return the share of a promoted student's requests to audit now.

    It is more than its plan says while a shadow of its task waits that is worth its evidence.
    """
    if shadow is None:
        return plan.audit
    covered = coverage_now(registry, promotion)
    won = (shadow.coverage - covered) * shadow.training.exchanges
    return max(plan.audit, SHADOW_AUDIT) if won >= covered * shadow.enough else plan.audit


class _Promoted(msgspec.Struct, frozen=True):
    """A student in front of its task's traffic."""

    id: str
    student: Student
    threshold: float
    slicer: Slicer
    accepted: Accepted
    surfaces: dict[str, str]
    asked: float
    canary: float
    form: Form
    folds: tuple[str, ...]
    comparison: Comparison
    asked_how: Literal["at once", "thread", "remote"]
    outside: frozenset[str]
    question: bool


class _Table(msgspec.Struct, frozen=True):
    """The promoted students at one moment; replaced whole, so no request sees half a change."""

    version: tuple[int, ...]
    matcher: TaskMatcher
    promoted: dict[str, _Promoted]
    names: dict[str, str]
    stopped: bool = False


class RegistryServing:
    """Serves the students that are promoted in the registry."""

    def __init__(
        self, registry: Registry, resources: Resources = NO_RESOURCES, *, at_once: bool = True
    ) -> None:
        """Load what is promoted now.

        Args:
            at_once: Whether to wait for students that another process runs; else the next
                refresh does, and their tasks go to the teacher until then. Also whether to wait
                for files that are fetched; else they come beside, while promotions, demotions and
                stops are picked up.
        """
        self._registry = registry
        self._resources = resources
        self._wait = self._fetches_at_once = at_once
        self._problems: dict[str, str] = {}
        self._broken: dict[str, str] = {}
        self._table = _Table(_UNKNOWN, TaskMatcher(()), {}, {})
        self.refresh()
        self._wait = True

    def refresh(self) -> bool:
        """Load what was promoted or demoted since; return whether anything changed.

        A student that cannot be loaded is left out and logged: its task goes to the teacher. If the
        store cannot be read, everything stays as it was.
        """
        try:
            version = self._registry.version()
            if version == self._table.version:
                return False
            self._table = self._load(version)
            if not self._fetches_at_once:
                self._registry.files.sweep(self._registry.in_use())
        except StoreError as error:
            _log.error("what is promoted could not be read, nothing changes: %s", error)
            return False
        return True

    def _load(self, version: tuple[int, ...]) -> _Table:
        records = self._registry.tasks()
        names = {record.task.id: record.task.name for record in records}
        promoted: dict[str, _Promoted] = {}
        problems: dict[str, str] = {}
        broken: dict[str, str] = {}
        waiting = {
            shadow.task_id: shadow for shadow, _, _ in self._registry.candidates(state="shadow")
        }
        matcher = TaskMatcher([record.task for record in records])
        questions = {record.task.id: record.task.question for record in records}
        promotions, plans = self._registry.promotions(), self._registry.plans()
        stopped = self._registry.stopped()
        for record in records:
            promotion = promotions.get(record.task.id)
            if promotion is None or promotion.certificate is None:
                continue
            certified_matcher = self._registry.candidate(promotion.certificate.student).matcher
            if certified_matcher and certified_matcher != matcher.fingerprint(record.task):
                # The next turn takes it off; until then it is not served, since it was not
                # certified for this.
                reason = "it takes other prompts than its student was certified for"
                self._trouble(problems, record.task.id, names, reason)
                del promotions[record.task.id]
        self._take_off(promotions, plans, stopped=stopped)
        for task_id, promotion in promotions.items():
            certificate = promotion.certificate
            if certificate is None:
                continue
            plan = plans.get(promotion.since, AuditPlan(audit=promotion.audit))
            loaded = self._table.promoted.get(task_id)
            try:
                candidate = self._registry.candidate(certificate.student)
                if loaded is not None and loaded.id == candidate.id:
                    student = loaded.student
                elif not self._may_load(candidate):
                    version = _UNKNOWN
                    continue
                else:
                    student = self._registry.load(candidate, self._resources)
            except OpenwheelError as error:
                self._trouble(problems, task_id, names, str(error))
                if isinstance(error, StudentFileError | StoreError):
                    broken[names[task_id]] = str(error)
                if isinstance(error, EngineError | StoreError):
                    version = _UNKNOWN  # tried again until the engine, or the store, answers
                continue
            promoted[task_id] = _Promoted(
                candidate.id,
                student,
                certificate.threshold,
                candidate.slicer.without(plan.deferred),
                candidate.accepted,
                candidate.surfaces,
                asked(
                    audit_share(self._registry, plan, waiting.get(task_id), promotion),
                    plan.canary,
                ),
                plan.canary,
                candidate.form,
                candidate.folds,
                candidate.comparison(self._resources.encoder, questions.get(task_id))
                or ExactComparison(candidate.form, candidate.folds),
                rungs()[candidate.rung].asked,
                frozenset(candidate.outside),
                questions.get(task_id) is not None,
            )
        self._problems, self._broken = problems, broken
        return _Table(version, matcher, promoted, names, stopped)

    def _may_load(self, candidate: Candidate) -> bool:
        """Return whether a student is to be loaded now, and not at one of the next refreshes.

        Raises:
            StoreError: Its files could not be fetched so far.
        """
        if not self._wait and rungs()[candidate.rung].asked == "remote":
            return False
        files = self._registry.files
        return self._fetches_at_once or files.at_hand(candidate.id, candidate.files)

    def _trouble(
        self, problems: dict[str, str], task_id: str, names: Mapping[str, str], reason: str
    ) -> None:
        """Note why a task goes to the teacher, and log it once, not every second."""
        problems[task_id] = reason
        if self._problems.get(task_id) != reason:
            _log.error("task %s goes to the teacher: %s", names[task_id], reason)

    def _take_off(
        self,
        promotions: Mapping[str, Promotion],
        plans: Mapping[int, AuditPlan],
        *,
        stopped: bool,
    ) -> None:
        """Take off demoted students at once: loading a student of another task takes seconds."""
        remaining: dict[str, _Promoted] = {}
        for task_id, entry in self._table.promoted.items():
            promotion = promotions.get(task_id)
            if promotion is None or promotion.certificate is None:
                continue
            plan = plans.get(promotion.since)
            if plan is not None and promotion.certificate.student == entry.id:
                slicer = entry.slicer.without(plan.deferred)
                remaining[task_id] = msgspec.structs.replace(entry, slicer=slicer)
            else:
                remaining[task_id] = entry
        self._table = msgspec.structs.replace(self._table, promoted=remaining, stopped=stopped)

    def students(self) -> dict[str, str]:
        """Return the promoted student of each task that has one, by the task's name.

        None while a person has stopped all students.
        """
        table = self._table
        if table.stopped:
            return {}
        return {table.names[task]: promoted.id for task, promoted in table.promoted.items()}

    def broken(self) -> dict[str, str]:
        """Return why promoted students cannot be used, by the name of their task."""
        return self._broken

    def decide(self, request: Request, task: str = "", key: str = "") -> Decision | Pending:
        """Decide who answers a request, as `Serving.decide`."""
        table = self._table
        match = table.matcher.match(request.prompt, task)
        if match is None:
            return Decision(reason="no task")
        matched, inputs = match
        promoted = table.promoted.get(matched.id)
        if promoted is None:
            return Decision(task=matched.name, reason="no student")
        if table.stopped:
            return Decision(task=matched.name, reason="stopped")

        def decided() -> Decision:
            answer, confidence, reason, own = _ask(promoted, inputs, request, key)
            return Decision(
                answer=None if reason else answer,
                task=matched.name,
                student=promoted.id,
                confidence=confidence,
                audit_probability=promoted.asked,
                canary=promoted.canary,
                reason=reason,
                form=promoted.form,
                comparison=promoted.comparison,
                below_threshold_answer=answer if reason else None,
                probabilities=own,
            )

        if promoted.asked_how != "at once":
            busy = Decision(
                task=matched.name,
                student=promoted.id,
                audit_probability=promoted.asked,
                canary=promoted.canary,
                reason="busy",
                form=promoted.form,
                comparison=promoted.comparison,
            )
            return Pending(decided, busy, remote=promoted.asked_how == "remote")
        return decided()


def _left(promoted: _Promoted, inputs: Inputs, request: Request, key: str) -> str:
    """Return why a request is left to the teacher without asking a student, ``""`` if it is not."""
    if not request.prompt.answerable:
        return "not plain"
    if not promoted.accepted.accepts(request.settings):
        return "settings"
    if key in promoted.outside:
        return "key"
    return "slice" if promoted.slicer.defers(inputs) else ""


def _ask(
    promoted: _Promoted, inputs: Inputs, request: Request, key: str
) -> tuple[str | None, float | None, str, Probabilities]:
    """Return a student's answer, its confidence, why it defers, and its probabilities.

    It does not defer where the reason is ``""``. If it defers after it was asked, the answer that
    it would have given is returned too, if any.
    """
    if reason := _left(promoted, inputs, request, key):
        return None, None, reason, ()
    try:
        answer, confidence, own = _answer(promoted, inputs)
    except (ArithmeticError, LookupError, RuntimeError, ValueError) as error:
        # The teacher can answer; the gateway counts this and logs it.
        raise StudentFileError(f"Student {promoted.id} failed on an input: {error!r}") from error
    if answer and FORMS[promoted.form].calls and not _is_offered(promoted, answer, request):
        return None, confidence, "tools", ()
    if confidence <= 0:
        student = promoted.student
        text = canonical_answer(
            answer_in(answer or "", promoted.form), promoted.form, promoted.folds
        )
        critical = isinstance(student, ScreenedStudent) and student.holds(inputs, text)
        return answer, confidence, "critical" if critical else "unlike training", own
    if confidence < promoted.threshold:
        return answer, confidence, "confidence", own
    return answer, confidence, "", own


def _is_offered(promoted: _Promoted, answer: str, request: Request) -> bool:
    """Whether a request offers the tools that an answer calls, for the arguments that it has."""
    calls = answer_in(answer, promoted.form).tool_calls
    if len(calls) > 1 and (request.settings or {}).get("parallel_tool_calls") == "false":
        return False
    return offered(request.prompt.tools).take_all(calls)


def _answer(promoted: _Promoted, inputs: Inputs) -> tuple[str | None, float, Probabilities]:
    """Return a student's answer, if any, as the teacher would have written it; its confidence.

    And the probabilities of its answers, where a question asks for them.
    """
    student, surfaces = promoted.student, promoted.surfaces
    if promoted.question and isinstance(student, LabelStudent):
        text, confidence, chances = student.weigh_one(inputs)
        own = spelled(student, chances, surfaces)
    else:
        text, confidence = student.answer_one(inputs)
        own = given(student, [inputs], surfaces)[0] if promoted.question and text else ()
    return surfaces.get(text, text) or None, confidence, own if text else ()

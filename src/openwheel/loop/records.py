"""The records of the registry: tasks, candidates, promotions, plans of audits, events and turns."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import msgspec

from openwheel.errors import SettingError
from openwheel.gate import Certificate, Compared, Plan, Window
from openwheel.gate.judge import Method
from openwheel.loop.layouts import Layout, layout_of
from openwheel.tasks import Form, Task
from openwheel.tasks.compare import (
    EXACT,
    PLAIN,
    Comparison,
    Encoder,
    FieldSettings,
    Given,
    make_comparison,
    read_comparison,
)
from openwheel.trust import Lineage
from openwheel.wire import Question

State = Literal["shadow", "refused", "certified", "replaced"]
Kind = Literal[
    "promoted",
    "demoted",
    "deferred",
    "shadowing",
    "waiting",
    "left",
    "vetoed",
    "changed",
    "trouble",
]


MOST_VALUES = 100
"""A setting with more values than this differs from request to request: any value is accepted."""

_decoder = msgspec.json.Decoder(dict[str, str])
_encoder = msgspec.json.Encoder(order="sorted")
_number = msgspec.json.Decoder(float)

ABSENT = ""


class Accepted(msgspec.Struct, frozen=True):
    """The settings seen in training, each one separately.

    Attributes:
        values: For each setting its values as canonical JSON, `ABSENT` where a request had none.
        ranges: For each setting with numbers among its values, the least and the largest:
            numbers between them count as seen.
        free: Settings that take any value.
        unknown: Whether no training request had settings, so that all are accepted.
    """

    values: dict[str, tuple[str, ...]] = {}
    ranges: dict[str, tuple[float, float]] = {}
    free: tuple[str, ...] = ()
    unknown: bool = False

    def accepts(self, settings: Mapping[str, str] | None) -> bool:
        """Return whether a request with these settings is like those seen.

        Unknown settings are accepted.
        """
        if self.unknown or settings is None:
            return True
        for name, value in settings.items():
            if name not in self.values:
                if name not in self.free:
                    return False
            elif value not in self.values[name] and not self._between(name, value):
                return False
        return all(name in settings or ABSENT in seen for name, seen in self.values.items())

    def _between(self, name: str, value: str) -> bool:
        limits = self.ranges.get(name)
        number = _as_number(value)
        return limits is not None and number is not None and limits[0] <= number <= limits[1]


def accepted(seen: Iterable[str]) -> Accepted:
    """Return the accepted settings, from requests' settings as the store keeps them."""
    different = {encoded for encoded in seen if encoded}
    if not different:
        return Accepted(unknown=True)
    requests = [_decoder.decode(encoded) for encoded in different]
    names = sorted({name for settings in requests for name in settings})
    values: dict[str, tuple[str, ...]] = {}
    ranges: dict[str, tuple[float, float]] = {}
    free = []
    for name in names:
        choices = sorted({settings.get(name, ABSENT) for settings in requests})
        if len(choices) > MOST_VALUES:
            free.append(name)
            continue
        values[name] = tuple(choices)
        numbers = [n for n in map(_as_number, choices) if n is not None]
        if numbers:
            ranges[name] = min(numbers), max(numbers)
    return Accepted(values, ranges, tuple(free))


def encode_settings(settings: Mapping[str, str] | None) -> str:
    """Return settings as the store keeps them, ``""`` for unknown ones."""
    return "" if settings is None else _encoder.encode(settings).decode()


def decode_settings(encoded: str) -> dict[str, str] | None:
    """Undo `encode_settings`."""
    return _decoder.decode(encoded) if encoded else None


def _as_number(value: str) -> float | None:
    try:
        return _number.decode(value)
    except msgspec.DecodeError:
        return None


class TaskRecord(msgspec.Struct, frozen=True):
    """A task as the registry knows it.

    Attributes:
        task: The task.
        form: The form of its answers.
        folds: How these may differ and still be one, as `read_folds` returns it.
        form_reason: The reason for that form, in a sentence.
        attempts: How many students were ever judged.
        trained_on: Labelled exchanges at the last training, 0 if there was none.
    """

    task: Task
    form: Form
    form_reason: str
    attempts: int = 0
    trained_on: int = 0
    folds: tuple[str, ...] = ()


class Slicer(msgspec.Struct, frozen=True):
    """How a task's traffic is cut into slices.

    Attributes:
        variable: Index of the input whose value names the slice, None for one slice.
        known: Values seen in training; others are deferred.
        deferred: Values left to the teacher, since training showed too much disagreement.
        layouts: If there are any, the layout of that input names the slice.
    """

    variable: int | None = None
    known: tuple[str, ...] = ()
    deferred: tuple[str, ...] = ()
    layouts: tuple[Layout, ...] = ()

    def slice_of(self, inputs: Sequence[str]) -> str:
        """Return the slice of an exchange, ``"all"`` where there is only one."""
        if self.variable is None or self.variable >= len(inputs):
            return "all"
        value = inputs[self.variable]
        return layout_of(value, self.layouts) if self.layouts else value

    def defers(self, inputs: Sequence[str]) -> bool:
        """Whether the slice is unknown or left to the teacher."""
        if self.variable is None:
            return False
        name = self.slice_of(inputs)
        return name not in self.known or name in self.deferred

    def without(self, slices: Sequence[str]) -> "Slicer":
        """Return the slicer with more slices left to the teacher."""
        return msgspec.structs.replace(self, deferred=(*self.deferred, *slices))


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """A trained student with all that judging and serving it need.

    Attributes:
        id: Of the student; its folder's name.
        task_id: Its task.
        rung: Its rung.
        files: sha256 of each of its files.
        attempt: The number of its attempt on its task; 0 if it was refused before it
            was judged.
        epsilon, delta, delta_spent: The limit, the risk, and its attempt's share of the risk.
        plan: The thresholds to test.
        slicer: How its traffic is cut into slices.
        variables: Which of the task's variables it reads.
        surfaces: For each canonical answer the teacher's usual spelling, byte for byte.
        trained_until: The newest exchange it may have seen; evidence comes after it.
        judged_after: Evidence comes after this exchange too: the teacher was another one before
            it, or the task took other prompts.
        coverage: What training predicts it will be certified at.
        enough: Votes among calibration exchanges that should be enough for that.
        training: Hash and extent of what it was trained on.
        method: ``binomial`` if it is judged once (``betting`` where losses may lie between 0 and
            1), ``anytime`` if it shadows.
        accepted: The settings it may be asked with.
        form: The task's answer form when it was trained.
        folds: How answers could differ and still be one then.
        compare: The comparison, as a certificate names it.
        compared: The comparison as a certificate has it, with hashes; None for plain equality.
        lineage: Its lineage; None for students from before there were lineages.
        share: Share of ``delta_spent`` that its tests have; the rest is for others.
        matcher: `TaskMatcher.fingerprint` of its task, which identifies the prompts it is for;
            ``""`` for students from before that was kept.
        critical: The canonical answers that it leaves to the teacher where they may be due.
        outside: The keys whose requests it leaves to the teacher, and has not learned from.
        refused: Why it was refused, ``""`` if it was not.
        inherited: The task that it was trained on, if that is another one; else ``""``.
    """

    id: str
    task_id: str
    rung: str
    files: dict[str, str]
    attempt: int
    epsilon: float
    delta: float
    delta_spent: float
    plan: Plan
    slicer: Slicer
    variables: tuple[int, ...]
    surfaces: dict[str, str]
    trained_until: int
    coverage: float
    enough: int
    training: Window
    method: Method
    accepted: Accepted = Accepted(unknown=True)
    form: Form = "label"
    folds: tuple[str, ...] = ()
    compare: str = "exact"
    compared: Compared | None = None
    lineage: Lineage | None = None
    judged_after: int = 0
    share: float = 1.0
    matcher: str = ""
    critical: tuple[str, ...] = ()
    outside: tuple[str, ...] = ()
    refused: str = ""
    inherited: str = ""

    @property
    def by_field(self) -> FieldSettings:
        """How its records are compared."""
        if self.compared is None:
            return PLAIN
        return FieldSettings(self.compared.loss or PLAIN.loss, self.compared.fields)

    def compares(self, record: TaskRecord, by_field: FieldSettings) -> bool:
        """Whether its answers are compared as those of its task are now.

        Args:
            record: The task.
            by_field: How its records are compared.
        """
        form_and_folds = (self.form, self.folds) == (record.form, record.folds)
        return form_and_folds and self.by_field == by_field

    def comparison(
        self, encoder: Encoder | None = None, question: Question | None = None
    ) -> Comparison | None:
        """Return the comparison that it was registered with.

        None if a teacher judges, if what it needs is not given, or if the comparison has changed.

        Args:
            encoder: A sentence encoder.
            question: The typed question that its task is.
        """
        context = Given(self.form, self.folds, encoder, question=question, by_field=self.by_field)
        compared = self.compared
        try:
            chosen = EXACT
            if compared is not None and self.by_field.plain and not self.folds:
                chosen = read_comparison(compared.setting)
            comparison = make_comparison(chosen, context)
        except SettingError:
            return None
        known = compared is None or comparison.fingerprint == compared.sha256
        return comparison if known else None

    def as_certified(self, record: TaskRecord) -> TaskRecord:
        """Return its task as it was when it was trained, since its promise is about that task."""
        return msgspec.structs.replace(record, form=self.form, folds=self.folds)

    def made_of(self) -> Lineage:
        """Return its lineage, or the parts of it that were kept."""
        if self.lineage is not None:
            return self.lineage
        return Lineage(student=self.id, task=self.task_id, rung=self.rung, complete=False)


class Beyond(msgspec.Struct, frozen=True):
    """Tasks that were left out: there was no room, or too few exchanges name them.

    Attributes:
        room: How many tasks there was room for.
        tasks: How many were found beyond that.
        exchanges: Exchanges of theirs, among those that were looked at.
        displaced: How many tasks without a student gave way to others.
        keys: The keys that sent most of them, and how many each.
        names: How many names are too rare to be tasks.
        named: How many exchanges have such a name.
    """

    room: int = 0
    tasks: int = 0
    exchanges: int = 0
    displaced: int = 0
    keys: tuple[tuple[str, int], ...] = ()
    names: int = 0
    named: int = 0


class Event(msgspec.Struct, frozen=True):
    """An event of a turn or an audit about one task."""

    task: str
    kind: Kind
    reason: str


class Turn(msgspec.Struct, frozen=True):
    """One turn with its events.

    Attributes:
        looked_at: The newest exchange it has seen; pass it to the next turn.
        events: What it did, in no order of importance; each event is about one task.
        number: The turn's number, 0 if its tasks could not be found.
    """

    looked_at: int
    events: tuple[Event, ...]
    number: int = 0


By = Literal["turn", "audit", "user", "override", "policy", "teacher", "traffic"]
"""``override``: a person, against evidence that is newer than the certificate."""


class AuditPlan(msgspec.Struct, frozen=True, kw_only=True):
    """How a promotion is audited now.

    It depends on the past alone, so the choice of audited requests does not depend on them.

    Attributes:
        audit: The share of the requests it may answer that are audited, in (0, 1].
        canary: The share of its task's requests that it may answer, in (0, 1]; the rest is held
            back for the teacher, by a coin.
        deferred: Slices that audits took off; the rest of the task goes on.
        reason: The reason, in a few words.
    """

    audit: float
    canary: float = 1.0
    deferred: tuple[str, ...] = ()
    reason: str = ""

    @property
    def asked(self) -> float:
        """The probability that the teacher is asked, whatever the student would answer."""
        return asked(self.audit, self.canary)


def asked(audit: float, canary: float) -> float:
    """Return the probability that the teacher is asked, whatever the student would answer.

    Examples:
        >>> round(asked(0.05, 1.0), 12), round(asked(0.05, 0.2), 12)
        (0.05, 0.81)
    """
    return audit + (1.0 - canary) * (1.0 - audit)


class Promotion(msgspec.Struct, frozen=True):
    """A task's latest promotion or demotion.

    Attributes:
        task_id: The task.
        certificate: The promoted student's; None if a student was taken off.
        by, reason: Who did it, and why.
        after_seq: The newest exchange when this student was first promoted: its audits come after.
        audit: The share of requests to audit, at first.
        time: Seconds since 1970.
        id: Its row.
        since: The row that first put this student there, without a demotion in between.
    """

    task_id: str
    certificate: Certificate | None
    by: str
    reason: str
    after_seq: int
    audit: float
    time: float
    id: int = 0
    since: int = 0

    @property
    def by_hand(self) -> bool:
        """Whether a person did it."""
        return self.by in {"user", "override"}

    @property
    def against_evidence(self) -> bool:
        """Whether a person did it although evidence had taken the student off."""
        return self.by == "override"

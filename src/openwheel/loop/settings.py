"""What the user decides about the loop."""

from typing import Literal

import msgspec

from openwheel.errors import SettingError
from openwheel.loop.drift.versions import Kind
from openwheel.settings import LmSection, Settings, TaskSection, teacher_names
from openwheel.students import RUNGS
from openwheel.students.tune.order import Tune
from openwheel.tasks import Form
from openwheel.tasks.compare import FOR_TEXT, Chosen, read_comparison
from openwheel.tasks.folds import read_folds
from openwheel.trust import Policy


class LoopSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of a turn.

    Attributes:
        epsilon: The most disagreement allowed among answered requests, in (0, 1).
        delta: The probability allowed for that promise to be wrong, in (0, 1), for each task.
        floor: The most that an answer's own chance to disagree may be, in epsilons; 0: no floor.
        rungs: Which rungs may be tried, of ``exact``, ``linear``, ``encoder`` and ``lm``.
        encoder: Hub id or folder of a sentence encoder; needed by the rung ``encoder``.
        tune_encoder: ``never``, ``always``, or ``auto`` where that pays: whether the encoder is
            trained on each task.
        tune_time: Seconds that may take; 0: no end.
        lm: The base of the rung ``lm``, and how it is trained and served.
        audit: Share of a promoted task's requests sent to the teacher as well, in (0, 1].
        audit_least: The share that good evidence brings that down to.
        audit_dollars: What a task's audits may cost a day, 0 for no limit.
        audit_run_length: Audited answers until a false alarm of the detector of changes, at least
            on average.
        canary: The share of its task's requests that a student may answer at first, in (0, 1].
        recertify_on: Changes of the teacher after which a student has to be certified anew; others
            are told.
        answer: How answers may differ and still be one, as `read_folds` returns it.
        ask_twice: Share of a promoted task's answers of the teacher for which it is asked again.
        turn_every: Seconds after the last turn at which the learner takes one if anything new
            came; 0: it waits for evidence.
        prices: What a million tokens cost, read and written, in dollars, by the teacher's name.
        policy: What may be learned from, built on and promoted.
        tasks: What the user decided about single tasks, by their names.
    """

    epsilon: float = 0.05
    delta: float = 0.05
    floor: float = 6.0
    rungs: tuple[str, ...] = ("exact", "linear")
    encoder: str = ""
    tune_encoder: Literal["auto", "always", "never"] = "auto"
    tune_time: float = 3600.0
    lm: LmSection = LmSection()
    audit: float = 0.05
    audit_least: float = 0.02
    audit_dollars: float = 0.0
    audit_run_length: float = 1_000_000.0
    canary: float = 0.2
    recertify_on: tuple[Kind, ...] = ("model", "fingerprint", "disagreement")
    answer: tuple[str, ...] = ()
    ask_twice: float = 0.01
    turn_every: float = 0.0
    prices: dict[str, tuple[float, float]] = {}
    policy: Policy = Policy()
    tasks: dict[str, TaskSection] = {}

    @classmethod
    def of(cls, settings: Settings) -> "LoopSettings":
        """Return what ``openwheel.toml`` and the options say of the loop, checked.

        Raises:
            SettingError: It does not go together.
            PolicyError: Students may not be built on what it names.
        """
        loop, lm = settings.loop, settings.lm
        default = ["exact", "linear"]
        default += ["encoder"] * bool(loop.encoder) + ["lm"] * bool(lm.base)
        return cls(
            epsilon=loop.epsilon,
            delta=loop.delta,
            floor=loop.floor,
            rungs=loop.rungs or tuple(default),
            encoder=loop.encoder,
            tune_encoder=loop.tune_encoder,
            tune_time=loop.tune_time,
            lm=lm,
            audit=loop.audit,
            audit_least=loop.audit_least,
            audit_dollars=loop.audit_dollars,
            audit_run_length=loop.audit_run_length,
            canary=loop.canary,
            recertify_on=loop.recertify_on,
            answer=read_folds(loop.answer),
            ask_twice=loop.ask_twice,
            turn_every=loop.turn_every,
            prices={
                name: (section.price_input, section.price_output)
                for section, name in zip(
                    settings.teachers, teacher_names(settings.teachers), strict=True
                )
            },
            policy=Policy.of(settings),
            tasks=dict(settings.tasks),
        ).checked()

    @property
    def tune(self) -> Tune | None:
        """How an encoder is trained on a task, None if it is left as it is."""
        if self.tune_encoder == "never":
            return None
        return Tune(always=self.tune_encoder == "always", deadline_s=self.tune_time)

    def rungs_for(self, form: Form) -> tuple[str, ...]:
        """Return the rungs that may be tried on a task whose answers have a form."""
        if form == "label":
            return self.rungs
        if form in {"record", "text"}:
            return tuple(rung for rung in self.rungs if rung in {"exact", "lm"})
        return ()

    def task(self, name: str) -> TaskSection:
        """Return what the user decided about a task."""
        return self.tasks.get(name, TaskSection())

    def worst(self, name: str) -> float:
        """Return the most that an answer's own chance to disagree may be in a task; 1: any."""
        own = self.task(name).floor
        floor = self.floor if own is None else own
        return min(floor * self.epsilon, 0.5) if floor else 1.0

    def dollars(self, name: str) -> float:
        """Return what the audits of a task may cost a day, 0 for no limit."""
        own = self.task(name).audit_dollars
        return self.audit_dollars if own is None else own

    def comparison(self, name: str) -> Chosen | None:
        """Return the comparison that the user chose for a task, None if none was chosen.

        Raises:
            SettingError: There is no such comparison.
        """
        setting = self.task(name).compare
        if not setting:
            return None
        try:
            return read_comparison(setting)
        except SettingError as error:
            raise SettingError(f"tasks.{name}: {error}") from None

    def folds(self, name: str) -> tuple[str, ...]:
        """Return how a task's answers may differ and still be one.

        Raises:
            SettingError: There is no such fold, or the task's comparison takes none.
        """
        own, chosen = self.task(name).answer, self.comparison(name)
        try:
            folds = read_folds(self.answer if own is None else own)
        except SettingError as error:
            raise SettingError(str(error) if own is None else f"tasks.{name}: {error}") from None
        if chosen is None or chosen.kind not in FOR_TEXT:
            return folds
        if own:
            raise SettingError(
                f"tasks.{name}: answer is for answers that are compared by exact or fields, "
                f"compare was {chosen.setting!r}"
            )
        return ()

    def checked(self) -> "LoopSettings":
        """Return these settings if they can be used.

        Raises:
            SettingError: One is not what it must be; the message names it.
            PolicyError: Students may not be built on the encoder or the base.
        """
        for name in ("epsilon", "delta"):
            value = getattr(self, name)
            if not 0 < value < 1:
                raise SettingError(f"{name} must be between 0 and 1, was {value}")
        for name in ("audit", "audit_least", "canary", "ask_twice"):
            value, may_be_0 = getattr(self, name), name == "ask_twice"
            if not 0 <= value <= 1 or (value == 0 and not may_be_0):
                least = "at least" if may_be_0 else "above"
                raise SettingError(f"{name} must be {least} 0 and at most 1, was {value}")
        for name in self.tasks:
            self.folds(name)
        read_folds(self.answer)
        for rung in self.rungs:
            if rung not in RUNGS:
                raise SettingError(f"rungs must be of {', '.join(RUNGS)}; one was {rung!r}")
        if not self.rungs:
            raise SettingError(f"rungs must name at least one of {', '.join(RUNGS)}")
        if "encoder" in self.rungs and not self.encoder:
            raise SettingError("the rung encoder needs an encoder: a hub id or a folder")
        if "encoder" in self.rungs:
            self.policy.may_train(self.encoder).require()
        if "lm" in self.rungs and not self.lm.base:
            raise SettingError("the rung lm needs a base in [lm]: a hub id or a folder")
        if "lm" in self.rungs:
            self.policy.may_train(self.lm.base).require()
        return self

"""The user's settings of the loop."""

from collections.abc import Collection, Iterable, Mapping
from typing import Literal

import msgspec

from openwheel.errors import SettingError
from openwheel.machine import processors
from openwheel.settings import (
    EngineSection,
    LmSection,
    LoopSection,
    Settings,
    TaskSection,
    teacher_prices,
)
from openwheel.students import rungs
from openwheel.students.tune.order import Tune
from openwheel.tasks import Form
from openwheel.tasks.compare import KINDS, Chosen, FieldSettings, read_comparison, read_fields
from openwheel.tasks.folds import read_folds
from openwheel.trust import Policy


class LoopSettings(LoopSection, frozen=True, kw_only=True):
    """Settings of the loop: those of ``[loop]``, and those that it needs of the other tables.

    Attributes:
        rungs: Which rungs may be tried.
        rungs_named: Whether the user named them; else dear ones are tried where cheap ones fail.
        answer: How answers may differ and still be one, as `read_folds` returns it.
        lm: The base of the rung ``lm``, and how it is trained and served.
        engine: How models are served on this machine.
        prices: See `teacher_prices`.
        policy: Decides what may be learned from, built on and promoted.
        tasks: The settings of single tasks, by their names.
    """

    rungs: tuple[str, ...] = ("exact", "linear")
    rungs_named: bool = True
    lm: LmSection = LmSection()
    engine: EngineSection = EngineSection()
    prices: Mapping[str, tuple[float, float]] = msgspec.field(default_factory=dict)
    policy: Policy = Policy()
    tasks: Mapping[str, TaskSection] = msgspec.field(default_factory=dict)

    @classmethod
    def of(cls, settings: Settings) -> "LoopSettings":
        """Return the loop's settings from ``openwheel.toml`` and the options, checked.

        Raises:
            SettingError: Settings contradict each other.
            PolicyError: Students may not be built on what it names.
        """
        loop, lm = settings.loop, settings.lm
        bases = {"": "none", "encoder": loop.encoder, "lm": lm.base}
        default = [name for name, rung in rungs().items() if bases[rung.base]]
        derived = {
            "rungs": loop.rungs or tuple(default),
            "rungs_named": bool(loop.rungs),
            "answer": read_folds(loop.answer),
        }
        return cls(
            **(msgspec.structs.asdict(loop) | derived),
            lm=lm,
            engine=settings.engine,
            prices=teacher_prices(settings.teachers),
            policy=Policy.of(settings),
            tasks=settings.tasks,
        ).checked()

    @property
    def tune(self) -> Tune | None:
        """How an encoder is trained on a task, None if it is left as it is."""
        if self.tune_encoder == "never":
            return None
        return Tune(always=self.tune_encoder == "always", deadline_s=self.tune_time)

    def rungs_for(self, form: Form) -> tuple[str, ...]:
        """Return the rungs that may be tried on a task whose answers have a form."""
        return tuple(rung for rung in self.rungs if form in rungs()[rung].forms)

    @property
    def bases(self) -> dict[str, str]:
        """The bases of rungs: an encoder and a language model, ``""`` where none is named."""
        return {"encoder": self.encoder, "lm": self.lm.base}

    def builds_on(self, kind: Literal["encoder", "lm"]) -> bool:
        """Return whether a rung that may be tried is built on an encoder, or a language model."""
        return any(rungs()[rung].base == kind for rung in self.rungs)

    def task(self, name: str) -> TaskSection:
        """Return the settings of a task."""
        return self.tasks.get(name, TaskSection())

    def of_task(self, name: str) -> "LoopSettings":
        """Return these settings as they are for a task: with its own epsilon, if it has one."""
        override = self.task(name).epsilon
        return self if override is None else msgspec.structs.replace(self, epsilon=override)

    def worst(self, name: str) -> float:
        """Return the most that an answer's own chance to disagree may be in a task; 1: any."""
        override = self.task(name).floor
        floor = self.floor if override is None else override
        return min(floor * self.epsilon, 0.5) if floor else 1.0

    def dollars(self, name: str) -> float:
        """Return the limit of a task's audit costs a day, in dollars; 0 for no limit."""
        override = self.task(name).audit_dollars
        return self.audit_dollars if override is None else override

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
        override, chosen = self.task(name).answer, self.comparison(name)
        try:
            folds = read_folds(self.answer if override is None else override)
        except SettingError as error:
            raise SettingError(
                str(error) if override is None else f"tasks.{name}: {error}"
            ) from None
        if chosen is None or KINDS[chosen.kind].folds:
            return folds
        if override:
            raise SettingError(
                f"tasks.{name}: answer is for answers that are compared by "
                f"{' or '.join(kind.name for kind in KINDS.values() if kind.folds)}, compare was "
                f"{chosen.setting!r}"
            )
        return ()

    def by_field(self, name: str) -> FieldSettings:
        """Return how records of a task are compared.

        Raises:
            SettingError: A field or a word is not one, or answers are not compared by fields.
        """
        task, chosen = self.task(name), self.comparison(name)
        try:
            by_field = FieldSettings(task.loss, read_fields(task.fields))
        except SettingError as error:
            raise SettingError(f"tasks.{name}: {error}") from None
        if not by_field.plain and chosen is not None and not KINDS[chosen.kind].folds:
            raise SettingError(
                f"tasks.{name}: loss and fields compare answers field by field, and compare = "
                f"{chosen.setting!r} compares whole ones: choose one of these"
            )
        return by_field

    def beside_gateway(self) -> "LoopSettings":
        """Return these settings for a machine where a gateway serves: one core is left to it."""
        threads = self.lm.threads or max(1, int(processors()) - 1)
        return msgspec.structs.replace(self, lm=msgspec.structs.replace(self.lm, threads=threads))

    def checked(self) -> "LoopSettings":
        """Return these settings if they can be used.

        Raises:
            SettingError: They contradict each other; the message names which.
            PolicyError: Students may not be built on the encoder or the base.
        """
        for name in self.tasks:
            self.folds(name)
            self.by_field(name)
        read_folds(self.answer)
        for rung in self.rungs:
            if rung not in rungs():
                raise SettingError(f"loop.rungs must be of {', '.join(rungs())}; one was {rung!r}")
            kind = rungs()[rung].base
            if not kind:
                continue
            if not self.bases[kind]:
                model = "an encoder" if kind == "encoder" else "a base in [lm]"
                raise SettingError(f"the rung {rung} needs {model}: a hub id or a folder")
            self.policy.may_train(self.bases[kind]).require()
        if not self.rungs:
            raise SettingError(f"loop.rungs must name at least one of {', '.join(rungs())}")
        return self


def of_no_task(named: Iterable[str], names: Collection[str]) -> list[str]:
    """Say in a sentence each which tasks have settings and do not exist.

    Args:
        named: The tasks that have settings.
        names: All tasks that there are.
    """
    found = ", ".join(sorted(names)) or "none yet"
    return [
        f"tasks.{name}: no task has this name, so its settings change nothing; the tasks are: "
        f"{found}"
        for name in sorted(named)
        if name not in names
    ]

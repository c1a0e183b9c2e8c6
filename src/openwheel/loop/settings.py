"""What the user decides about the loop."""

from collections.abc import Mapping
from typing import Literal

import msgspec

from openwheel.errors import SettingError
from openwheel.settings import LoopSection, TaskSection
from openwheel.students import RUNGS
from openwheel.tasks.compare import Chosen, read_comparison
from openwheel.trust import Policy


class LoopSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of a turn.

    Attributes:
        epsilon: The most disagreement allowed among answered requests, in (0, 1).
        delta: The probability allowed for that promise to be wrong, in (0, 1), for each task.
        rungs: Which rungs may be tried, of ``exact``, ``linear`` and ``encoder``.
        encoder: Hub id or folder of a sentence encoder; needed by the rung ``encoder``.
        tune_encoder: ``never``, ``always``, or ``auto`` where that pays: whether the encoder is
            trained on each task.
        tune_time: Seconds that may take; 0: no end.
        audit: Share of a promoted task's requests sent to the teacher as well, in (0, 1].
        policy: What may be learned from, built on and promoted.
        tasks: What the user decided about single tasks, by their names.
    """

    epsilon: float = 0.05
    delta: float = 0.05
    rungs: tuple[str, ...] = ("exact", "linear")
    encoder: str = ""
    tune_encoder: Literal["auto", "always", "never"] = "auto"
    tune_time: float = 3600.0
    audit: float = 0.05
    policy: Policy = Policy()
    tasks: dict[str, TaskSection] = {}

    @classmethod
    def of(
        cls,
        section: LoopSection,
        policy: Policy | None = None,
        *,
        tasks: Mapping[str, TaskSection] | None = None,
    ) -> "LoopSettings":
        """Return the settings that ``openwheel.toml`` and the options gave, checked.

        Raises:
            SettingError: They do not go together.
            PolicyError: Students may not be built on what they name.
        """
        default = ("exact", "linear", "encoder") if section.encoder else ("exact", "linear")
        return cls(
            epsilon=section.epsilon,
            delta=section.delta,
            rungs=section.rungs or default,
            encoder=section.encoder,
            tune_encoder=section.tune_encoder,
            tune_time=section.tune_time,
            audit=section.audit,
            policy=policy or Policy(),
            tasks=dict(tasks or {}),
        ).checked()

    def task(self, name: str) -> TaskSection:
        """Return what the user decided about a task."""
        return self.tasks.get(name, TaskSection())

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

    def checked(self) -> "LoopSettings":
        """Return these settings if they can be used.

        Raises:
            SettingError: One is not what it must be; the message names it.
            PolicyError: Students may not be built on the encoder.
        """
        for name in ("epsilon", "delta"):
            value = getattr(self, name)
            if not 0 < value < 1:
                raise SettingError(f"{name} must be between 0 and 1, was {value}")
        if not 0 < self.audit <= 1:
            raise SettingError(f"audit must be above 0 and at most 1, was {self.audit}")
        for name in self.tasks:
            self.comparison(name)
        for rung in self.rungs:
            if rung not in RUNGS:
                raise SettingError(f"rungs must be of {', '.join(RUNGS)}; one was {rung!r}")
        if not self.rungs:
            raise SettingError(f"rungs must name at least one of {', '.join(RUNGS)}")
        if "encoder" in self.rungs and not self.encoder:
            raise SettingError("the rung encoder needs an encoder: a hub id or a folder")
        if "encoder" in self.rungs:
            self.policy.may_train(self.encoder).require()
        return self

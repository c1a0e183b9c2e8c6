"""What the user decides about the loop."""

from typing import Literal

import msgspec

from openwheel.errors import SettingError
from openwheel.settings import LoopSection
from openwheel.students import RUNGS


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
    """

    epsilon: float = 0.05
    delta: float = 0.05
    rungs: tuple[str, ...] = ("exact", "linear")
    encoder: str = ""
    tune_encoder: Literal["auto", "always", "never"] = "auto"
    tune_time: float = 3600.0
    audit: float = 0.05

    @classmethod
    def of(cls, section: LoopSection) -> "LoopSettings":
        """Return the settings that ``openwheel.toml`` and the options gave, checked.

        Raises:
            SettingError: They do not go together.
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
        ).checked()

    def checked(self) -> "LoopSettings":
        """Return these settings if they can be used.

        Raises:
            SettingError: One is not what it must be; the message names it.
        """
        for name in ("epsilon", "delta"):
            value = getattr(self, name)
            if not 0 < value < 1:
                raise SettingError(f"{name} must be between 0 and 1, was {value}")
        if not 0 < self.audit <= 1:
            raise SettingError(f"audit must be above 0 and at most 1, was {self.audit}")
        for rung in self.rungs:
            if rung not in RUNGS:
                raise SettingError(f"rungs must be of {', '.join(RUNGS)}; one was {rung!r}")
        if not self.rungs:
            raise SettingError(f"rungs must name at least one of {', '.join(RUNGS)}")
        if "encoder" in self.rungs and not self.encoder:
            raise SettingError("the rung encoder needs an encoder: a hub id or a folder")
        return self

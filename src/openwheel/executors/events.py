"""Defines what the process of a job tells."""

import msgspec

from openwheel.job import Failed


class Said(msgspec.Struct, frozen=True, tag="said"):
    """How far it is: see `openwheel.progress.Progress`."""

    step: str
    done: float | None = None
    total: float | None = None
    unit: str = ""
    about: str = ""


class Done(msgspec.Struct, frozen=True, tag="done"):
    """The files of the result are written."""


Event = Said | Done | Failed
EVENTS: msgspec.json.Decoder[Event] = msgspec.json.Decoder(Event)

"""Defines the messages between a learner and the process through which it uses a Ray cluster."""

import msgspec

from openwheel.executors.needs import Needs
from openwheel.job import Failed


class Connect(msgspec.Struct, frozen=True):
    """The order to the process: use a cluster.

    Attributes:
        address: As Ray takes it.
    """

    address: str


class Start(msgspec.Struct, frozen=True, tag="start"):
    """Start a job.

    Attributes:
        folder: Its files, on the learner's machine.
        module: See `Computation`.
        name: See `Computation`.
        needs: See `Computation`.
    """

    folder: str
    module: str
    name: str
    needs: Needs


class Drop(msgspec.Struct, frozen=True, tag="drop"):
    """Stop the job of a folder."""

    folder: str


Message = Start | Drop
MESSAGES: msgspec.json.Decoder[Message] = msgspec.json.Decoder(Message)


class Connected(msgspec.Struct, frozen=True, tag="connected"):
    """The cluster can be used."""


class Warned(msgspec.Struct, frozen=True, tag="warned"):
    """Something that a person should know, in a sentence."""

    text: str


class Ended(msgspec.Struct, frozen=True, tag="ended"):
    """A job has ended.

    Attributes:
        folder: Where its result is.
        problem: Why there is none, ``""`` if there is one.
        died: Whether its process was killed or crashed, twice.
    """

    folder: str
    problem: str = ""
    died: bool = False


Event = Connected | Warned | Ended | Failed
EVENTS: msgspec.json.Decoder[Event] = msgspec.json.Decoder(Event)

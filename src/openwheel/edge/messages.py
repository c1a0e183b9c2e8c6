"""Defines what edges and their upstream gateway say to each other over HTTP."""

from typing import Final

import msgspec

from openwheel.store import Exchange

STATE_PATH: Final = "/v1/edge/state"
BUNDLE_PATH: Final = "/v1/edge/bundle"
EXCHANGES_PATH: Final = "/v1/edge/exchanges"

MOST_SENT: Final = 500
"""The most exchanges of a batch."""

MOST_BYTES: Final = 32 << 20
"""The most bytes of a batch, packed."""

MOST_UNPACKED: Final = 96 << 20
"""The most bytes of a batch once it is unpacked."""


class Batch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Exchanges of an edge, oldest first."""

    exchanges: tuple[Exchange, ...]


class Refused(msgspec.Struct, frozen=True):
    """An exchange that the upstream does not take, however often it is sent."""

    id: str
    reason: str


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a batch; all of it is settled, and what was stored is on disk.

    Attributes:
        stored: How many exchanges were new.
        repeated: How many it had already.
        refused: Those that it does not take.
    """

    stored: int
    repeated: int
    refused: tuple[Refused, ...] = ()

"""Which settings a student was certified for: those that its training requests were sent with."""

from collections.abc import Iterable, Mapping

import msgspec

MOST_VALUES = 100
"""A setting with more values than this differs from request to request: any value is accepted."""

_decoder = msgspec.json.Decoder(dict[str, str])
_encoder = msgspec.json.Encoder(order="sorted")
_number = msgspec.json.Decoder(float)

ABSENT = ""


class Accepted(msgspec.Struct, frozen=True):
    """The settings seen in training, each by itself.

    Attributes:
        values: For each setting its values as canonical JSON, `ABSENT` where a request had none.
        ranges: For each setting with numbers among its values, the least and the largest: what
            lies between was as good as seen.
        free: Settings that take any value.
        unknown: Whether no training request told its settings, so that all are accepted.
    """

    values: dict[str, tuple[str, ...]] = {}
    ranges: dict[str, tuple[float, float]] = {}
    free: tuple[str, ...] = ()
    unknown: bool = False

    def accepts(self, settings: Mapping[str, str] | None) -> bool:
        """Return whether a request with these settings is like those seen.

        Settings that are not known are not held against a request.
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
        found = self.ranges.get(name)
        number = _as_number(value)
        return found is not None and number is not None and found[0] <= number <= found[1]


def accepted(seen: Iterable[str]) -> Accepted:
    """Return what was seen, from requests' settings as the store keeps them."""
    different = {encoded for encoded in seen if encoded}
    if not different:
        return Accepted(unknown=True)
    requests = [_decoder.decode(encoded) for encoded in different]
    names = sorted({name for settings in requests for name in settings})
    values: dict[str, tuple[str, ...]] = {}
    ranges: dict[str, tuple[float, float]] = {}
    free = []
    for name in names:
        found = sorted({settings.get(name, ABSENT) for settings in requests})
        if len(found) > MOST_VALUES:
            free.append(name)
            continue
        values[name] = tuple(found)
        numbers = [n for n in map(_as_number, found) if n is not None]
        if numbers:
            ranges[name] = min(numbers), max(numbers)
    return Accepted(values, ranges, tuple(free))


def encode_settings(settings: Mapping[str, str] | None) -> str:
    """Return settings as the store keeps them, ``""`` for those not known."""
    return "" if settings is None else _encoder.encode(settings).decode()


def decode_settings(encoded: str) -> dict[str, str] | None:
    """Undo `encode_settings`."""
    return _decoder.decode(encoded) if encoded else None


def _as_number(value: str) -> float | None:
    try:
        return _number.decode(value)
    except msgspec.DecodeError:
        return None

"""Puts the exchanges of logs in the order of their times."""

import itertools
import tempfile
from array import array
from collections.abc import Iterator

import msgspec

from openwheel.importing.problems import LogProblems
from openwheel.store.exchange import Exchange

HEAD = 1_000
"""Exchanges by which it is told whether a log is in the order of its times."""

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Exchange)


def in_time_order(
    exchanges: Iterator[Exchange], problems: LogProblems, *, several: bool
) -> Iterator[Exchange]:
    """Yield exchanges in the order of their times, if all have one; else as they come.

    One log whose first `HEAD` times ascend passes through. Others, and several logs, are written
    to a temporary file, and read in order from it; memory is 16 bytes an exchange.
    """
    head = list(itertools.islice(exchanges, HEAD))
    times = [exchange.time for exchange in head]
    ascending = all(a <= b for a, b in itertools.pairwise(times))
    if not all(times) or (ascending and not several):
        yield from head
        yield from exchanges
        return
    newest_first = not ascending and all(a >= b for a, b in itertools.pairwise(times))
    yield from _sorted(itertools.chain(head, exchanges), problems, newest_first=newest_first)


def _sorted(
    exchanges: Iterator[Exchange], problems: LogProblems, *, newest_first: bool
) -> Iterator[Exchange]:
    times, starts = array("d"), array("q", [0])
    with tempfile.TemporaryFile(prefix="openwheel-log-") as file:
        for exchange in exchanges:
            starts.append(starts[-1] + file.write(_encoder.encode(exchange)))
            times.append(exchange.time)
        order = list(range(len(times)))
        if all(times):
            if newest_first:  # of equal times, the lower line is the earlier
                order.reverse()
            order.sort(key=times.__getitem__)
            moved = sum(1 for place, index in enumerate(order) if place != index)
            problems.reordered += moved
        for index in order:
            file.seek(starts[index])
            yield _decoder.decode(file.read(starts[index + 1] - starts[index]))

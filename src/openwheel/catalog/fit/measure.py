"""Measuring this machine's processor: bytes it reads a second, and what it multiplies."""

import threading
import time
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_BLOCK = 64 << 20
"""Bytes of an array: beyond the caches of most processors, so that memory is measured."""


class Speed(msgspec.Struct, frozen=True):
    """What was measured.

    Attributes:
        bandwidth: Bytes read and written a second.
        flops: Operations a second of float32 matrix products.
        seconds: How long the measurement took.
    """

    bandwidth: float
    flops: float
    seconds: float


def measure_cpu(threads: int, *, budget: float = 1.0) -> Speed:
    """Measure memory bandwidth and matrix products, in about ``budget`` seconds.

    Bandwidth is the better of copying (a byte read and one written count as two) and of summing
    (reads alone), as STREAM counts (McCalpin 1995), with NumPy's loops, which let other threads
    run. Products are of 768 by 768 float32 matrices, with as many threads as NumPy's library
    takes by itself.

    Args:
        threads: How many threads copy at once.
        budget: Seconds, for all of it.
    """
    import numpy as np  # noqa: PLC0415 - commands that measure nothing should not wait for it

    started = time.perf_counter()
    pairs = [
        (np.ones(_BLOCK // 4, np.float32), np.zeros(_BLOCK // 4, np.float32))
        for _ in range(max(threads, 1))
    ]
    copied = _rate(pairs, "copy", budget * 0.3)
    read = _rate(pairs, "sum", budget * 0.2)
    del pairs
    size = 768
    left = np.ones((size, size), np.float32)
    done, begun = 0, time.perf_counter()
    while (now := time.perf_counter()) - begun < budget * 0.25 or done == 0:
        left @ left
        done += 1
    now = time.perf_counter()
    flops = done * 2 * size**3 / (now - begun)
    return Speed(max(copied, read), flops, time.perf_counter() - started)


def _rate(
    pairs: "list[tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]]", how: str, seconds: float
) -> float:
    """Return bytes a second that all threads moved together."""
    import numpy as np  # noqa: PLC0415

    moved = [0] * len(pairs)
    end = time.perf_counter() + seconds
    begun = time.perf_counter()

    def work(i: int) -> None:
        source, target = pairs[i]
        while time.perf_counter() < end or moved[i] == 0:
            if how == "copy":
                np.copyto(target, source)
                moved[i] += 2 * source.nbytes
            else:
                np.add.reduce(source)
                moved[i] += source.nbytes

    workers = [threading.Thread(target=work, args=(i,)) for i in range(len(pairs))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sum(moved) / (time.perf_counter() - begun)

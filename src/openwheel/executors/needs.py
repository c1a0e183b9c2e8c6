"""Defines what a job needs of the machine that it runs on."""

import msgspec


class Needs(msgspec.Struct, frozen=True):
    """What a job needs of a machine; Ray reserves it.

    Attributes:
        cpus: Processors, and the threads that compute at once.
        memory: Bytes.
        gpus: GPUs, or a share of one.
    """

    cpus: float = 1.0
    memory: int = 0
    gpus: float = 0.0

    @property
    def threads(self) -> int:
        """How many threads compute at once."""
        return max(1, int(self.cpus))

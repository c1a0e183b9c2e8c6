"""Tells the parts of a worker that the gateway is about to stop."""


class Drain:
    """Whether the gateway is about to stop: it still takes requests, and wants no more.

    Attributes:
        begun: Set once, from a signal's handler.
    """

    def __init__(self) -> None:
        self.begun = False

    def begin(self) -> None:
        """Have clients and balancers turn elsewhere."""
        self.begun = True

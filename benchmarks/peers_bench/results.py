"""What a side answers on test rows, and tables of it."""

from typing import NamedTuple

OF_ANSWERED = "answered"
OF_ALL = "all"


class Result(NamedTuple):
    """One student on the test rows of one repeat.

    Attributes:
        side: Whose it is.
        stated: Whether the budget is of `OF_ANSWERED` requests or `OF_ALL`.
        budget: The most disagreement allowed.
        answered: Test rows answered; 0 where the side refuses.
        wrong: Of those, rows where the teacher said something else.
        test: Test rows.
        seconds: CPU to train.
    """

    side: str
    stated: str
    budget: float
    answered: int
    wrong: int
    test: int
    seconds: float

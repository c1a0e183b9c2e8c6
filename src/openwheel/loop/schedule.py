"""When the next turn is due."""

FEWEST_NEW = 200
MOST_NEW = 2_000
SHARE_NEW = 0.1


def next_turn(exchanges: int) -> int:
    """Return at how many exchanges the next turn is due, after one at ``exchanges``.

    A tenth more, within bounds: early on there is too little to learn from anything less, and later
    a student that waits to be certified should not wait for long.

    Examples:
        >>> next_turn(0), next_turn(5_000), next_turn(100_000)
        (200, 5500, 102000)
    """
    return exchanges + int(min(max(SHARE_NEW * exchanges, FEWEST_NEW), MOST_NEW))

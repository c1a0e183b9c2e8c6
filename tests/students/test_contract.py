from collections.abc import Callable

import pytest

from .contract import CHECKS, Rung, check_hundreds_of_answers, check_threads


def _name(check: Callable[[Rung], None]) -> str:
    return check.__name__.removeprefix("check_")


@pytest.mark.parametrize("check", CHECKS, ids=_name)
@pytest.mark.parametrize("rung", [Rung("exact", False), Rung("linear", True)], ids=lambda r: r.name)
def test_rung(rung: Rung, check: Callable[[Rung], None]) -> None:
    check(rung)


LONG = {check_hundreds_of_answers, check_threads}  # with an encoder in torch


@pytest.mark.parametrize(
    "check",
    [pytest.param(c, marks=pytest.mark.evidence if c in LONG else ()) for c in CHECKS],
    ids=_name,
)
def test_encoder_rung(tiny_encoder, check: Callable[[Rung], None]) -> None:
    check(Rung("encoder", True, tiny_encoder))

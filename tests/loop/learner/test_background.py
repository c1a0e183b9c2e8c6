import logging
import threading

import pytest

from openwheel.errors import StoreError
from openwheel.loop.learner.background import in_background


@pytest.mark.parametrize(
    ("error", "said"),
    [(StoreError("the store is locked"), "locked"), (MemoryError(), "has taken all memory")],
)
def test_a_look_that_fails_is_told_of_once_and_looks_go_on(error, said, caplog):
    looks, enough = [], threading.Event()

    def look(over):
        looks.append(over())
        if len(looks) < 4:
            raise error
        enough.set()

    with (
        caplog.at_level(logging.ERROR),
        in_background(look, name="x", every=0.001, failed="No look"),
    ):
        assert enough.wait(10)
    assert not any(looks)
    assert [record.message.startswith("No look: ") for record in caplog.records] == [True]
    assert said in caplog.text

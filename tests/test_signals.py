import os
import signal

import pytest

from openwheel.signals import finishing


def test_a_block_that_must_be_whole_ends_before_a_signal_does_what_it_does():
    done = []

    def work():
        with finishing():
            os.kill(os.getpid(), signal.SIGINT)
            done.append("whole")
        done.append("after")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == ["whole"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler

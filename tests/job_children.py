"""Work for the tests of `openwheel.job`: ``python -m job_children ORDER.json``."""

import ctypes
import os
import signal
import sys
import time
from pathlib import Path

import msgspec

from openwheel.errors import ModelError
from openwheel.job import Failed, run_job


class Order(msgspec.Struct, frozen=True):
    """What to do, in which folder."""

    do: str
    folder: str


class Said(msgspec.Struct, frozen=True, tag="said"):
    """Something to tell."""

    text: str


EVENTS: msgspec.json.Decoder[Said | Failed] = msgspec.json.Decoder(Said | Failed)


def work(order, tell):
    if order.do == "talk":
        print("what a library prints")
        ctypes.CDLL(None).puts(b"what one in C prints")
        tell(Said(os.environ["OMP_NUM_THREADS"]))
        tell(Said(os.environ["OMP_WAIT_POLICY"]))
    elif order.do == "fail":
        raise ModelError("There is nothing to learn")
    elif order.do == "no memory":
        raise MemoryError
    elif order.do == "die":
        sys.stderr.write("before\nthe last words\n")
        sys.stderr.flush()
        os.kill(os.getpid(), signal.SIGKILL)
    elif order.do == "wait":
        tell(Said(str(os.getpid())))
        while True:
            time.sleep(0.02)
            tell(Said("still there"))


def clear_up(order):
    Path(order.folder, "cleared").touch()


if __name__ == "__main__":
    sys.exit(run_job(Order, work, alone=clear_up))

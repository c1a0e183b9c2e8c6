"""A model on this machine as a process: llama.cpp behind a socket of the supervisor's.

The socket outlives the process. While the model is loaded, or loaded again after the process has
died, requests wait instead of being refused.
"""

import socket
import sys

from openwheel.errors import OpenwheelError, SettingError
from openwheel.inference.front import LEAST_CONTEXT
from openwheel.inference.local import make_front
from openwheel.inference.server import FrontServer
from openwheel.job import when_alone
from openwheel.logs import escaped, set_up_logs
from openwheel.processes.order import Order, end_as_wrong, read_order, say_ready


def run_engine(order: Order) -> None:
    """Answer requests until told to stop.

    Raises:
        OperatorError: The model cannot be loaded.
    """
    if order.local is None:
        raise SettingError("An engine needs a model to run")
    local, section = order.local, order.settings.engine
    # What students need, their adapters say.
    context = LEAST_CONTEXT if local.adapters and not local.teaches else 0
    front = make_front(
        local.source, section, name=local.name, revision=local.revision, context=context
    )
    with socket.socket(fileno=order.descriptor) as sock:
        server = FrontServer(front, sock, changes=local.adapters, ready=say_ready)
        when_alone(server.stop)
        server.run()


def main() -> None:
    """Run an engine as its supervisor says."""
    order = read_order()
    log = order.settings.log
    set_up_logs(log.level, log.format)
    try:
        run_engine(order)
    except OpenwheelError as error:
        sys.stderr.write(f"openwheel: {escaped(str(error))}\n")
        sys.stderr.flush()
        end_as_wrong(error)


if __name__ == "__main__":
    main()

"""An engine as a process: a model on this machine that answers on a socket of the supervisor's.

The socket outlives the process. While the model is loaded, or loaded again after the process has
died, requests wait instead of being refused.
"""

import socket
import sys

from openwheel.errors import OpenwheelError, SettingError
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
    local = order.local
    try:
        from openwheel.inference.checkpoint import find_checkpoint  # noqa: PLC0415

        find_checkpoint(local.source, revision=local.revision)  # one that is not there is told now
        from openwheel.engine.engine import EngineLimits  # noqa: PLC0415 - seconds of imports
        from openwheel.engine.open import open_engine  # noqa: PLC0415
        from openwheel.engine.server import EngineServer  # noqa: PLC0415
    except ImportError as error:
        raise SettingError(
            f"A local model needs the extra `lm` (pip install 'openwheel[lm]'): {error}"
        ) from None
    section = order.settings.engine
    limits = EngineLimits(
        max_batch=section.max_batch, max_queue=section.max_queue, context=section.context
    )
    with (
        socket.socket(fileno=order.descriptor) as sock,
        open_engine(
            local.source,
            name=local.name,
            revision=local.revision,
            precision=section.precision,
            device=section.device,
            limits=limits,
        ) as engine,
    ):
        server = EngineServer(engine, sock, adapters=local.adapters, ready=say_ready)
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

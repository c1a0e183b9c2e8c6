"""Loading a monitor from what its ``state`` returned."""

from typing import Any

import msgspec

from openwheel.gate.monitors.confidence import ConfidenceSequence
from openwheel.gate.monitors.edetector import EDetector
from openwheel.gate.monitors.eprocess import EProcess
from openwheel.gate.monitors.jump import JumpDetector

AnyMonitor = EProcess | EDetector | ConfidenceSequence | JumpDetector


def load_monitor(state: Any) -> AnyMonitor:
    """Return the monitor that was saved, as it was.

    Args:
        state: What :meth:`Monitor.state` returned, or the same after a trip through JSON.

    Raises:
        ValueError: It is not a monitor's state.

    Examples:
        >>> monitor = EProcess(0.05, 0.05).update([1.0, 0.0])
        >>> load_monitor(msgspec.json.decode(msgspec.json.encode(monitor.state()))) == monitor
        True
    """
    try:
        loaded: AnyMonitor = msgspec.convert(state, AnyMonitor)
    except msgspec.ValidationError as error:
        raise ValueError(f"a monitor's state must be what a monitor saved: {error}") from error
    return loaded

"""Sequential tests of audited answers, which may be looked at after every one.

Monitors are frozen structs of plain numbers: an update returns another, and a state is JSON. They
know nothing of where audits come from; NumPy and SciPy only.
"""

from openwheel.gate.monitors.confidence import ConfidenceSequence
from openwheel.gate.monitors.edetector import EDetector
from openwheel.gate.monitors.eprocess import EProcess
from openwheel.gate.monitors.jump import JumpDetector
from openwheel.gate.monitors.monitor import Counts, Monitor

__all__ = [
    "ConfidenceSequence",
    "Counts",
    "EDetector",
    "EProcess",
    "JumpDetector",
    "Monitor",
]

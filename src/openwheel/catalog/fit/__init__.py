"""What this machine can run: its memory and speed, and what a checkpoint takes of both.

Pure functions from the shape of an architecture to bytes and seconds, and readers of what the
operating system and the vendors' tools say of the hardware. Knows nothing of torch.
"""

from openwheel.catalog.fit.config import from_config
from openwheel.catalog.fit.devices import Device
from openwheel.catalog.fit.hardware import find_devices, find_system
from openwheel.catalog.fit.known import Folder, from_folder, from_row
from openwheel.catalog.fit.memory import Use, cache_bytes, serving_memory, weight_bytes, work_bytes
from openwheel.catalog.fit.precision import PRECISIONS, Precision, precision
from openwheel.catalog.fit.shape import Architecture
from openwheel.catalog.fit.speed import Rate, expected_rate
from openwheel.catalog.fit.training import Training, training_memory
from openwheel.catalog.fit.verdict import Verdict, Wish, judge

__all__ = [
    "PRECISIONS",
    "Architecture",
    "Device",
    "Folder",
    "Precision",
    "Rate",
    "Training",
    "Use",
    "Verdict",
    "Wish",
    "cache_bytes",
    "expected_rate",
    "find_devices",
    "find_system",
    "from_config",
    "from_folder",
    "from_row",
    "judge",
    "precision",
    "serving_memory",
    "training_memory",
    "weight_bytes",
    "work_bytes",
]

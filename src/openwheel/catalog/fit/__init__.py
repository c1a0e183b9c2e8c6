"""Estimates what this machine can run: its memory and speed, and what a checkpoint takes of both.

Weights are those of the files' headers or of the catalogue, caches those of the configuration.
Knows nothing of torch, and nothing of training but its weights: a step of it is measured
(`openwheel.students.lm.step`).
"""

from openwheel.catalog.fit.devices import Device, find_devices
from openwheel.catalog.fit.verdict import PRECISIONS, Fit, Verdict, Wish, judge, judge_rows
from openwheel.catalog.fit.weights import Weights, cache_bytes, of_folder, of_row

__all__ = [
    "PRECISIONS",
    "Device",
    "Fit",
    "Verdict",
    "Weights",
    "Wish",
    "cache_bytes",
    "find_devices",
    "judge",
    "judge_rows",
    "of_folder",
    "of_row",
]

"""Serves requests over HTTP: admits them, routes them to students or teachers, captures exchanges.

Knows nothing of training. No module here imports a model; students come in through `Serving`.
"""

from openwheel.gateway.app import create_app
from openwheel.gateway.capture import Capture, CaptureStats, CaptureWriter
from openwheel.gateway.server import Server, gateway_thread, run_gateway, spare_collector

__all__ = [
    "Capture",
    "CaptureStats",
    "CaptureWriter",
    "Server",
    "create_app",
    "gateway_thread",
    "run_gateway",
    "spare_collector",
]

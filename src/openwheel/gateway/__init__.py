"""The HTTP server: route a request to a student or the teacher, stream, capture.

Knows nothing of training. Nothing here imports a model; students come in through `Serving`.
"""

from openwheel.gateway.app import create_app
from openwheel.gateway.capture import Capture, CaptureStats, CaptureWriter
from openwheel.gateway.server import gateway_thread, run_gateway

__all__ = [
    "Capture",
    "CaptureStats",
    "CaptureWriter",
    "create_app",
    "gateway_thread",
    "run_gateway",
]

"""HTML for people: the report on what a turn found.

Knows nothing of training, the gate's tests or the store; it shows findings that others computed.
"""

from openwheel.web.report import render_report, write_report

__all__ = ["render_report", "write_report"]

"""The metrics of an edge, read from what ``GET /healthz`` says of it."""

from collections.abc import Mapping
from typing import Any, Final

from openwheel.gateway.metric import Metric

# fmt: off
METRICS: Final[tuple[Metric[Mapping[str, Any]], ...]] = (
    Metric("openwheel_edge_link_up", "Whether the upstream gateway answers: 1 or 0.",
           lambda report: float(report["link"] == "up")),
    Metric("openwheel_edge_unheard",
           "Whether students stopped since the upstream was not heard for too long: 1 or 0.",
           lambda report: float(report["unheard"])),
    Metric("openwheel_edge_unsent", "Exchanges that the upstream does not have yet.",
           lambda report: report["exchanges"]),
    Metric("openwheel_edge_waiting", "Requests that the upstream is still to be asked.",
           lambda report: report["waiting"]),
    Metric("openwheel_edge_spool_bytes", "What the spool takes on the disk.",
           lambda report: report["bytes"]),
    Metric("openwheel_edge_spool_most_bytes", "What the spool may take on the disk.",
           lambda report: report["most_bytes"]),
    Metric("openwheel_edge_sent_total", "Exchanges that the upstream has taken.",
           lambda report: report["sent"]),
    Metric("openwheel_edge_refused_total", "Exchanges and requests that it does not take.",
           lambda report: report["refused"]),
    Metric("openwheel_edge_deleted_total",
           "Exchanges that were deleted for want of room before they were sent, by kind.",
           lambda report: [((kind,), report[f"deleted_{kind}"])
                           for kind in ("student", "teacher", "audits")],
           ("kind",)),
    Metric("openwheel_edge_lost_audits_total", "Audits for which there was no room at all.",
           lambda report: report["lost_audits"]),
    Metric("openwheel_edge_given_up_total", "Requests that waited and were given up.",
           lambda report: report["given_up"]),
)
# fmt: on

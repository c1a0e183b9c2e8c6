"""Runs certified students on small machines with intermittent links, and serves such machines.

An edge is a gateway whose teacher is another gateway, upstream: it answers what is certified,
forwards the rest, and keeps what it cannot send. Knows nothing of training.
"""

from openwheel.edge.bundle import Bundle, make_bundle, read_bundle
from openwheel.edge.run import run_edge
from openwheel.edge.signing import new_keys
from openwheel.edge.upstream import edge_routes

__all__ = ["Bundle", "edge_routes", "make_bundle", "new_keys", "read_bundle", "run_edge"]

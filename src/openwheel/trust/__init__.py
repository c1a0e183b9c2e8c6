"""Decides what may be sent, learned from, trained, promoted and exported, and keeps lineages.

Knows nothing of HTTP, of the store or of how students work. No legal advice: it applies the
catalogue's entries on licences, and shows where they were read.
"""

from openwheel.trust.card import model_card
from openwheel.trust.decision import Condition, Decision, Point
from openwheel.trust.folders import Folder, recognise
from openwheel.trust.lineage import (
    Base,
    Certified,
    DataWindow,
    LeftOut,
    Lineage,
    TaughtBy,
    licence_summary,
)
from openwheel.trust.policy import Policy
from openwheel.trust.terms import Terms

__all__ = [
    "Base",
    "Certified",
    "Condition",
    "DataWindow",
    "Decision",
    "Folder",
    "LeftOut",
    "Lineage",
    "Point",
    "Policy",
    "TaughtBy",
    "Terms",
    "licence_summary",
    "model_card",
    "recognise",
]

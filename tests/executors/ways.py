"""Ways to learn from exchanges, and what they come to."""

import re

from many_tasks import learned, promoted
from openwheel.loop.offline.learn import learn
from openwheel.loop.resources import Resources
from openwheel.loop.settings import LoopSettings
from openwheel.loop.turn.turn import turn
from openwheel.store import Store
from openwheel.students.onnx_encoder import Encoders

SETTINGS = LoopSettings(job_least=0)
"""Have every training be a job: these are small."""


def run(how, folder, executor, exchanges, settings=SETTINGS, encoder=None):
    """Learn in a new store in a folder; return what was told, the students and certificates."""
    folder.mkdir()
    with Store.open(folder / "openwheel.db") as store:
        store.append(exchanges)
        found = how(store, settings, Resources(encoder, encoders=Encoders(), executor=executor))
        return found, learned(store), promoted(store)


def in_a_turn(store, settings, resources):
    events = turn(store, settings, resources=resources).events
    # The ids of students are made at random.
    return [(e.task, e.kind, re.sub(r"-[0-9a-f]{12}\b", "", e.reason)) for e in events]


def offline(store, settings, resources):
    found = learn(store, settings, source="made up", resources=resources)
    return [(t.task, t.n, t.certified, t.trade_off, t.expected, t.warnings) for t in found.tasks]

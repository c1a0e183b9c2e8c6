"""Ways to learn from exchanges, and what they come to."""

from many_tasks import learned, promoted
from openwheel.loop.offline.learn import learn
from openwheel.loop.resources import Resources
from openwheel.loop.settings import LoopSettings
from openwheel.loop.turn.turn import turn
from openwheel.store import Store

SETTINGS = LoopSettings()


def run(how, folder, executor, exchanges, settings=SETTINGS):
    """Learn in a new store in a folder; return what was told, the students and certificates."""
    folder.mkdir()
    with Store.open(folder / "openwheel.db") as store:
        store.append(exchanges)
        found = how(store, settings, Resources(executor=executor))
        return found, learned(store), promoted(store)


def in_a_turn(store, settings, resources):
    events = turn(store, settings, resources=resources).events
    return [(event.task, event.kind, event.reason) for event in events]


def offline(store, settings, resources):
    found = learn(store, settings, source="made up", resources=resources)
    return [(t.task, t.n, t.certified, t.trade_off, t.expected, t.warnings) for t in found.tasks]

"""Finds what there is to tell: what happened to tasks, trouble with the store, spent budgets."""

import time
from collections.abc import Callable, Iterable
from typing import Final

import msgspec

from openwheel.access import Key, KeyStore, Ledger, dollars
from openwheel.loop.happenings import happenings_of
from openwheel.loop.registry import Registry
from openwheel.settings import AlertKind
from openwheel.store import Store

NEAR: Final = 0.9
"""A budget is near its end once this share of it is spent."""
TURNS_BACK: Final = 50
_DAY: Final = 86_400.0


class Alert(msgspec.Struct, frozen=True):
    """Something to tell.

    Attributes:
        kind: What it is about.
        ident: What identifies it among those of its kind, so that it is told once.
        time: When it happened, in seconds since 1970.
        task: The task's name, ``""`` for none.
        text: In a sentence or two; it quotes no request and no answer.
        path: Where the console shows more of it.
    """

    kind: AlertKind
    ident: str
    time: float
    task: str
    text: str
    path: str = "/console"


def read_news(store: Store, trouble: Callable[[], str], *, now: float | None = None) -> list[Alert]:
    """Return what there is to tell, oldest first.

    Args:
        store: Only read.
        trouble: Returns what is wrong with storing exchanges, ``""`` if nothing is.
        now: Seconds since 1970.
    """
    now = time.time() if now is None else now
    registry = Registry(store)
    alerts = [
        Alert(
            happening.kind,
            f"{happening.time:.3f} {happening.task_id}",
            happening.time,
            happening.task,
            happening.text,
            f"/console/tasks/{happening.task_id}" if happening.task_id else "/console",
        )
        for happening in happenings_of(registry, registry.latest_events(turns_back=TURNS_BACK))
    ]
    if problem := trouble():
        # Told once a day for as long as it lasts.
        alerts.append(Alert("store", f"day {int(now // _DAY)}", now, "", problem))
    ledger = Ledger(store)
    ledger.flush()
    alerts += _budgets(KeyStore(store).list(), ledger, now)
    return sorted(alerts, key=lambda alert: alert.time)


def _budgets(keys: Iterable[Key], ledger: Ledger, now: float) -> list[Alert]:
    alerts = []
    for key in keys:
        if key.budget is None or key.state(now) != "live":
            continue
        spent = ledger.spent(key).micro_dollars / 1e6
        if spent >= NEAR * key.budget:
            period = ledger.period(key.budget_period)
            text = (
                f"The key {key.name!r} has spent {dollars(spent)} of its {dollars(key.budget)} "
                f"for this {key.budget_period}."
            )
            alerts.append(Alert("budget", f"{key.id} {period}", now, "", text))
    return alerts

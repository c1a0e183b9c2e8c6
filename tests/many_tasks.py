"""Made-up traffic of many tasks, and what learning from it comes to, wherever it is computed."""

import json
from typing import Any

import msgspec

from made_up import tickets
from made_up_records import orders
from openwheel.loop.registry import Registry
from openwheel.store import Exchange, Store
from openwheel.wire import Answer


def exchanges_of(name: str, rows: list[dict[str, str]], *, start: int = 0) -> list[Exchange]:
    """Return exchanges of the task that its system prompt names."""
    made = []
    for i, row in enumerate(rows, start):
        messages = [
            {"role": "system", "content": f"You are the desk {name}. Do its work."},
            {"role": "user", "content": row["input"]},
        ]
        made.append(
            Exchange(
                id=f"{name}-{i}",
                task=name,
                time=1.7e9 + 60 * i,
                request=json.dumps({"model": "m", "messages": messages}).encode(),
                answer=Answer(row["output"]),
                source="teacher",
                model="m",
                teacher="big",
                key="odd" if i % 40 == 0 else "desk",
            )
        )
    return made


def traffic(tasks: int, n: int, *, records: bool = True) -> list[Exchange]:
    """Return exchanges of tasks with labels, some of them odd, and of one with records."""
    made = []
    for task in range(tasks):
        rows = tickets(n, seed=task, noise=0.02 * (task % 2))
        made += exchanges_of(f"queue-{task}", rows)
    if records:
        made += exchanges_of("orders", orders(n))
    return made


def learned(store: Store) -> list[Any]:
    """Return what there is of each student, in the order in which they were written."""
    registry = Registry(store)
    return [
        (
            candidate.task_id,
            candidate.rung,
            candidate.attempt,
            candidate.files,  # the sha256 of each
            candidate.plan,
            candidate.slicer,
            candidate.coverage,
            candidate.enough,
            candidate.training.sha256,
            candidate.outside,
            state,
        )
        for candidate, state, _ in registry.candidates()
    ]


def promoted(store: Store) -> list[Any]:
    """Return the certificates in front of traffic, without what differs by chance or by time."""
    found = []
    for task, promotion in Registry(store).promotions().items():
        certificate = promotion.certificate
        assert certificate is not None
        unlike: Any = {"id": "", "student": "", "created": "", "lineage": None}
        found.append((task, msgspec.structs.replace(certificate, **unlike)))
    return found

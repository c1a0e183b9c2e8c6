"""Traffic of several tasks, and what must hold of a store whoever learned from it."""

from collections import Counter
from typing import Any

from made_up import tickets
from openwheel.gate import spent, verify
from openwheel.loop.registry import Registry
from openwheel.store import Store

PROMPTS = (
    "Sort the ticket.",
    "Name the department that answers this mail.",
    "Which of our four queues is this letter for?",
    "You route calls. Answer with one word: the team.",
    "Classify what the customer writes about.",
    "Tag this chat with its topic, nothing else.",
    "A complaint follows; say who has to handle it.",
    "Choose the folder for the following note.",
    "What is this review about? One label.",
    "Forward to: (one name)",
)


def of_tasks(tasks: int, n: int, *, seed: int = 0) -> list[Any]:
    """Return traffic of some tasks, told apart by their prompts, ``n`` exchanges of each."""
    rows: list[Any] = []
    for task, prompt in enumerate(PROMPTS[:tasks]):
        for row in tickets(n, seed=100 * seed + task):
            messages = [
                {"role": "system", "content": prompt},
                {"role": "user", "content": row["input"]},
                {"role": "assistant", "content": row["output"]},
            ]
            rows.append({"messages": messages})
    return rows


def is_well(store: Store) -> Registry:
    """Assert that each attempt was counted once and had its share of delta."""
    registry = Registry(store)
    records = {record.task.id: record for record in registry.tasks()}
    tried = [one for one, _, _ in registry.candidates() if one.attempt]
    for (task, attempt), students in Counter((one.task_id, one.attempt) for one in tried).items():
        assert students == 1, f"{students} students spent attempt {attempt} of {task}"
        assert attempt <= records[task].attempts
    for candidate in tried:
        assert candidate.delta_spent == spent(candidate.delta, candidate.attempt)
        registry.load(candidate)  # its files are those that were saved
    for promotion in registry.promotions().values():
        assert promotion.certificate is None or verify(promotion.certificate).holds
    for task in records:
        shadows = registry.candidates(task_id=task, state="shadow")
        assert len(shadows) <= 1
    return registry

import random

from made_up import QUEUES, ticket, tickets
from openwheel.loop.turn.curate import curate


def chat(system: str, user: str, answer: str) -> dict:
    return {
        "messages": [
            {"role": "system", "content": system},
            {"role": "user", "content": user},
            {"role": "assistant", "content": answer},
        ]
    }


def urgency(n: int, seed: int = 0) -> list[dict]:
    rng = random.Random(seed)
    return [
        chat(
            "Say whether the ticket is urgent. Answer urgent or can-wait and nothing else.",
            ticket(rng, rng.choice(list(QUEUES))),
            rng.choice(["urgent", "can-wait"]),
        )
        for _ in range(n)
    ]


def test_tasks_are_found_assigned_and_their_form_inferred(store, registry, fill):
    fill(tickets(200) + urgency(200))
    curate(store, registry)
    records = registry.tasks()
    assert len(records) == 2
    assert [record.form for record in records] == ["label", "label"]
    assert sorted(store.task_counts().values()) == [200, 200]


def test_what_a_task_that_is_gone_was_given_is_looked_for_again(store, registry, fill):
    fill(urgency(100))
    store.assign((seq, "gone", "[]", "") for seq in range(1, 101))
    curate(store, registry)
    (record,) = registry.tasks()
    assert store.task_counts() == {record.task.id: 100}


def test_what_arrives_later_joins_its_task(store, registry, fill):
    fill(urgency(100))
    looked_at = curate(store, registry)
    fill(urgency(50, seed=1))
    curate(store, registry, after=looked_at)
    (count,) = store.task_counts().values()
    assert count == 150
    assert len(registry.tasks()) == 1


def test_a_new_task_is_found_behind_one_that_matches_everything(store, registry, fill):
    fill(tickets(200))
    looked_at = curate(store, registry)
    assert len(registry.tasks()) == 1
    rng = random.Random(2)
    fill(
        [
            {
                "input": "Decide whether this ticket is urgent. Answer urgent or can-wait.\n\n"
                f"Ticket: {ticket(rng, rng.choice(list(QUEUES)))}\n\nVerdict:",
                "output": rng.choice(["urgent", "can-wait"]),
            }
            for _ in range(150)
        ]
    )
    curate(store, registry, after=looked_at)
    assert len(registry.tasks()) == 2
    assert sorted(store.task_counts().values()) == [150, 200]


def test_a_named_task_is_kept_apart(store, registry, fill):
    fill([*tickets(100), *({**row, "task": "second desk"} for row in tickets(100, seed=1))])
    curate(store, registry)
    assert {record.task.explicit for record in registry.tasks()} == {"", "second desk"}
    assert sorted(store.task_counts().values()) == [100, 100]


def test_images_and_unreadable_requests_belong_to_no_task(store, registry, fill):
    image = {"type": "image_url", "image_url": {"url": "data:,"}}
    text = {"type": "text", "text": "Say whether the ticket is urgent."}
    fill(urgency(100))
    fill(
        [
            {
                "messages": [
                    {"role": "user", "content": [text, image]},
                    {"role": "assistant", "content": "urgent"},
                ]
            }
        ]
        * 30
    )
    curate(store, registry)
    assert store.task_counts()[None] == 30


def test_tasks_hidden_by_two_words_that_they_share_come_apart_once_there_are_more(
    store, registry, fill
):
    # Names make every system text another one, so that too few prompts look like one task.
    rng = random.Random(3)

    def some(n: int, instruction: str, labels: list[str]) -> list[dict]:
        return [
            chat(
                f"{rng.choice('ABCDEFGH')}{rng.randrange(10**6)} asks: {instruction}",
                ticket(rng, rng.choice(list(QUEUES))),
                rng.choice(labels),
            )
            for _ in range(n)
        ]

    urgent = "is this urgent, or can it wait until the next shift comes in?"
    mood = "how does whoever wrote this feel, calm or cross or pleased?"
    fill(some(12, urgent, ["urgent", "can-wait"]) + some(12, mood, ["calm", "cross", "pleased"]))
    looked_at = curate(store, registry)
    fill(some(90, urgent, ["urgent", "can-wait"]) + some(90, mood, ["calm", "cross", "pleased"]))
    curate(store, registry, after=looked_at)
    assert sorted(store.task_counts().values())[-2:] == [102, 102]

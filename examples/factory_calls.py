"""Write sample traffic with calls of tools: the assistant of the synthetic maintenance desk.

People tell the assistant what they need, and a chat model calls the desk's tools: it reserves spare
parts, plans work, looks a machine up, or hands something over to the next shift. One in six asks
for two things at once, and some say what needs no tool. The "teacher" is no model: the grammar
knows the calls that it writes each text for. The note of a handover is in the teacher's own words,
which no student can know: such requests stay with the teacher.

    python examples/factory_calls.py                     # rewrites factory-calls.jsonl.gz

The words are those of ``factory_desk.py``; the same seed gives the same lines on every machine.
"""

import argparse
import gzip
import json
import random
from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from factory_desk import arrival_times, encode, load_words, type_like_people

OUTPUT = Path(__file__).resolve().parent / "factory-calls.jsonl.gz"
EXCHANGES = 1200
SEED = 7
SHARES = {"reserve": 0.34, "plan": 0.26, "look up": 0.20, "hand over": 0.10, "talk": 0.10}
TWO_SHARE = 0.17  # of requests: two that need a tool, one after the other
SHIFTS = ("early", "late", "night")

SYSTEM = (
    "You are the assistant of the maintenance desk. Call the tools that the message needs; where "
    "it needs none, answer in a sentence."
)
SCHEMAS: dict[str, dict[str, Any]] = {
    "reserve_part": {
        "part": {"type": "string"},
        "quantity": {"type": "integer"},
        "machine": {"type": "string"},
    },
    "plan_work": {
        "machine": {"type": "string"},
        "date": {"type": "string"},
        "shift": {"type": "string", "enum": list(SHIFTS)},
    },
    "machine_status": {"machine": {"type": "string"}},
    "hand_over": {"machine": {"type": "string"}, "note": {"type": "string"}},
}
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": name,
            "parameters": {
                "type": "object",
                "properties": properties,
                "required": list(properties),
                "additionalProperties": False,
            },
        },
    }
    for name, properties in SCHEMAS.items()
]
PARTS = (
    *("seal kit", "drive roller", "inverter", "proximity switch", "gripper finger", "coolant pump"),
    *("control card", "bearing set", "valve", "belt", "filter element", "hose", "relay", "encoder"),
)
RESERVE = (
    "reserve {q} {p} for {m}",
    "need {q} {p} at {m}",
    "put aside {q} x {p}, they are for {m}",
    "{m} needs {q} {p} from the store",
)
PLAN = (
    "plan the repair of {m} for the {s} shift on {d}",
    "book {m} for service on {d}, {s} shift",
    "work on {m} can be done on {d} in the {s} shift",
)
LOOK_UP = ("what is the state of {m}", "is {m} running", "show me {m}", "how is {m} doing")
HAND_OVER = (
    "tell the next shift about {m}: {w}",
    "hand over {m} to the others, {w}",
    "leave a note on {m} for tonight: {w}",
)
TALK = (
    "thanks, that is all for {d}",
    "good morning, it is {n} from line {l}",
    "sorry, wrong chat, {n}",
)
NOTES = (
    "Colleagues, please keep an eye on {m} and call the desk at once if it stops again.",
    "{m} was looked at during our shift; it may run, but somebody should check it every hour.",
    "On {m} the cause is not clear yet. Do not restart it without asking the shift lead.",
)


def request(words: dict[str, Any], rng: random.Random, kind: str) -> tuple[str, list[Any], str]:
    """Return what somebody says, the calls that it needs, and an answer if it needs none."""
    data = words["record"]
    machine = rng.choice(data["systems"]).replace("{n}", str(rng.randint(1, 9)))
    day = date(2026, 3, 2) + timedelta(days=rng.randint(0, 60))
    said_day = rng.choice((day.isoformat(), f"{day:%d.%m.%Y}"))
    if kind == "reserve":
        part, quantity = rng.choice(PARTS), rng.randint(1, 24)
        text = rng.choice(RESERVE).format(q=quantity, p=part, m=machine)
        return (
            text,
            [("reserve_part", {"part": part, "quantity": quantity, "machine": machine})],
            "",
        )
    if kind == "plan":
        shift = rng.choice(SHIFTS)
        text = rng.choice(PLAN).format(m=machine, s=shift, d=said_day)
        return (
            text,
            [("plan_work", {"machine": machine, "date": day.isoformat(), "shift": shift})],
            "",
        )
    if kind == "look up":
        return (
            rng.choice(LOOK_UP).format(m=machine),
            [("machine_status", {"machine": machine})],
            "",
        )
    if kind == "hand over":
        symptom = rng.choice(rng.choice(list(data["symptoms"].values())))
        said = type_like_people(symptom, rng).lower()
        note = rng.choice(NOTES).format(m=machine)
        text = rng.choice(HAND_OVER).format(m=machine, w=said)
        return text, [("hand_over", {"machine": machine, "note": note})], ""
    name = rng.choice(words["reply"]["people"])
    text = rng.choice(TALK).format(d=said_day, n=name, l=rng.randint(1, 12))
    return text, [], rng.choice(("You are welcome.", "Good to hear from you.", "No harm done."))


def generate(count: int = EXCHANGES, seed: int = SEED) -> Iterator[dict[str, Any]]:
    """Yield exchanges in order of arrival."""
    words, rng = load_words(), random.Random(f"{seed}:calls")
    kinds = list(SHARES)
    for time in arrival_times(count, random.Random(f"{seed}:call times")):
        chosen = rng.choices(kinds, list(SHARES.values()), k=2 if rng.random() < TWO_SHARE else 1)
        if len(chosen) > 1:
            chosen = [
                kind if kind in ("reserve", "plan", "look up") else "reserve" for kind in chosen
            ]
        said = [request(words, rng, kind) for kind in chosen]
        text = rng.choice((" and ", ", then ", ". Also ")).join(text for text, _, _ in said)
        calls = [call for _, own, _ in said for call in own]
        message: dict[str, Any] = {"role": "assistant", "content": said[0][2] or None}
        if calls:
            message["tool_calls"] = [
                {
                    "id": f"call_{rng.getrandbits(64):016x}",
                    "type": "function",
                    "function": {"name": name, "arguments": json.dumps(arguments)},
                }
                for name, arguments in calls
            ]
        tokens = (len(SYSTEM) + len(json.dumps(TOOLS)) + len(text)) // 4 + 11
        written = len(json.dumps(calls) if calls else said[0][2]) // 4 + 1
        yield {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "latency_ms": round(1100 * rng.lognormvariate(0.0, 0.35)),
            "request": {
                "model": "teacher-large",
                "temperature": 0,
                "messages": [
                    {"role": "system", "content": SYSTEM},
                    {"role": "user", "content": text},
                ],
                "tools": TOOLS,
            },
            "response": {
                "id": f"chatcmpl-{rng.getrandbits(96):024x}",
                "object": "chat.completion",
                "created": int(time.timestamp()),
                "model": "teacher-large",
                "choices": [
                    {
                        "index": 0,
                        "message": message,
                        "finish_reason": "tool_calls" if calls else "stop",
                    }
                ],
                "usage": {
                    "prompt_tokens": tokens,
                    "completion_tokens": written,
                    "total_tokens": tokens + written,
                },
            },
        }


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the log."""
    parser = argparse.ArgumentParser(description="Write the synthetic log of calls.")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="gzipped JSON lines")
    parser.add_argument("--count", type=int, default=EXCHANGES, help="number of exchanges")
    parser.add_argument("--seed", type=int, default=SEED)
    options = parser.parse_args(arguments)
    log = b"".join(encode(row) for row in generate(options.count, options.seed))
    options.output.write_bytes(gzip.compress(log, compresslevel=9, mtime=0))


if __name__ == "__main__":
    main()

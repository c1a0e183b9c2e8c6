"""How well tasks are found in mixed traffic without tags, and how fast.

Mixes logs out of several data sets of ``../shared/data`` (or ``--data``), each behind a prompt
template of a style drawn by chance, and asks for the tasks back. Human labels stand for the
teacher's answers. Half of the styles were looked at while the finder was written (``seen``); the
other half was kept aside (``--styles held-out``).

Run: ``python benchmarks/tasks.py [--styles seen|held-out|all] [--mixes 10] [--verbose]``
"""

import argparse
import datetime
import gzip
import json
import platform
import random
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from openwheel.tasks import TaskMatcher, find_tasks, infer_form
from openwheel.wire import Answer, Prompt, PromptMessage, ToolCall

Example = tuple[str, Answer]
Build = Callable[[random.Random, str], Prompt]

NAMES = ["Ana", "Ben", "Chloé", "Dmitri", "Eve", "Farid", "Grace", "Hiro", "Ines", "Jonas", "Noor"]
COMPANIES = ["Acme Corp", "Globex International", "Initech", "Umbrella Logistics GmbH", "Hooli"]
CHANNELS = ["email", "chat", "phone", "web form"]
# Data set: what it is asked, in several wordings, and the form of its answers.
QUESTIONS: dict[str, list[str]] = {
    "banking77": [
        "Which of the bank's 77 support intents does the customer express?",
        "Route the customer's question to the right intent of our banking app",
    ],
    "sms_spam": [
        "Is this SMS unwanted advertising or fraud? Say ham or spam.",
        "You filter text messages. Label as spam or ham",
    ],
    "snips": [
        "Determine what the voice assistant is being asked to do",
        "Give the name of the skill that should handle the command.",
    ],
    "slurp": [
        "Choose the domain of the smart home request: calendar, email, music, weather and so on.",
        "What is the request about? One word",
    ],
    "assetops": [
        "Assign a primary maintenance code to the chiller work order.",
        "Work order triage: find the category of the job",
    ],
    "wnut17": [
        "Extract persons, places, groups, products and creative works as JSON.",
        "Return the named entities of the tweet as a JSON object",
    ],
    "maintie": [
        "List the physical objects, states and activities of the work order as JSON.",
        "Pull all entities out of the technician's note, in JSON",
    ],
    "xstest": [
        "Respond helpfully and safely.",
        "Be a careful assistant and explain your reasoning to the reader",
    ],
    "gsm8k": [
        "Solve the word problem step by step.",
        "Work out the maths, showing every step, then state the result",
    ],
    "spam_yes_no": ["Is the text below spam? Reply yes or no.", "Decide: junk mail? yes or no"],
    "question_yes_no": [
        "Does the person want information rather than an action? Reply yes or no.",
        "Tell me whether someone is asking about weather or news, yes or no",
    ],
}


def data_sets(folder: Path) -> dict[str, list[Example]]:
    def rows(name: str) -> Iterator[dict[str, Any]]:
        with gzip.open(folder / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
            yield from map(json.loads, lines)

    def label(text: str) -> Answer:
        return Answer(text)

    sets: dict[str, list[Example]] = {
        "banking77": [(r["text"], label(r["label"])) for r in rows("banking77")],
        "sms_spam": [(r["text"], label(r["label"])) for r in rows("sms_spam")],
        "snips": [(r["text"], label(r["intent"])) for r in rows("snips")],
        "slurp": [(r["text"], label(r["scenario"])) for r in rows("slurp_dev_test")],
        "assetops": [(r["text"], label(r["label"])) for r in rows("assetops_workorders")],
        "wnut17": [(r["text"], label(json.dumps(r["slots"]))) for r in rows("wnut17_ner")],
        "maintie": [(r["text"], label(json.dumps(r["slots"]))) for r in rows("maintie_gold")],
        "xstest": [
            (r["text"], label(c["text"])) for r in rows("xstest") for c in r["completions"].values()
        ],
        "gsm8k": [
            (r.get("text") or r.get("prompt") or r["question"], label(str(r.get("gpt4") or r)))
            for r in rows("routellm_gsm8k")
        ],
    }
    sets["spam_yes_no"] = [
        (text, label("yes" if a.text == "spam" else "no")) for text, a in sets["sms_spam"]
    ]
    sets["question_yes_no"] = [
        (text, label("yes" if a.text in {"weather", "news", "qa"} else "no"))
        for text, a in sets["slurp"]
    ]
    return sets


def _date(rng: random.Random) -> datetime.datetime:
    start = datetime.datetime(2026, 11, 1, 8, tzinfo=datetime.UTC)
    return start + datetime.timedelta(minutes=rng.randrange(20 * 24 * 60))


def _prompt(*messages: tuple[str, str], tools: str = "", response_format: str = "") -> Prompt:
    return Prompt(tuple(PromptMessage(r, t) for r, t in messages), tools, response_format)


class Source:
    """What a style makes a template of: one data set and the wording drawn for it."""

    def __init__(self, name: str, examples: list[Example], rng: random.Random) -> None:
        self.name = name
        self.examples = examples
        self.ask = rng.choice(QUESTIONS[name])
        self.shots = rng.sample(examples, 4)
        self.pool = rng.sample(examples, 15)
        self.labels = ", ".join(sorted({a.text for _, a in rng.sample(examples, 200)})[:30])
        self.listed = len(self.labels) < 1500


Style = Callable[[Source], Build]


def system_plain(s: Source) -> Build:
    more = f" The choices are: {s.labels}." if s.listed else ""
    return lambda _, x: _prompt(
        ("system", f"You are a precise assistant. {s.ask}{more}"), ("user", x)
    )


def system_date(s: Source) -> Build:
    def build(rng: random.Random, x: str) -> Prompt:
        system = f"You are a helpful assistant. Today is {_date(rng):%A, %B %d, %Y}.\n{s.ask}"
        return _prompt(("system", system), ("user", x))

    return build


def system_ids(s: Source) -> Build:
    def build(rng: random.Random, x: str) -> Prompt:
        system = (
            f"You are {rng.choice(NAMES)}, who works for {rng.choice(COMPANIES)}.\n"
            f"Session {rng.getrandbits(64):016x}, started {_date(rng).isoformat()}.\n{s.ask}"
        )
        return _prompt(("system", system), ("user", x))

    return build


def user_fields(s: Source) -> Build:
    return lambda _, x: _prompt(("user", f"{s.ask}\n\nText: {x}\nAnswer:"))


def shared_system(s: Source) -> Build:
    return lambda _, x: _prompt(
        ("system", "You are a helpful assistant."), ("user", f"{s.ask}\n{x}")
    )


def shots_text(s: Source) -> Build:
    shots = "\n\n".join(f"Input: {x}\nOutput: {a.text[:200]}" for x, a in s.shots)
    return lambda _, x: _prompt(("user", f"{s.ask}\n\n{shots}\n\nInput: {x}\nOutput:"))


def shots_drawn(s: Source) -> Build:
    def build(rng: random.Random, x: str) -> Prompt:
        drawn = rng.sample(s.pool, rng.choice([2, 3, 4]))
        shots = "\n\n".join(f"Q: {text}\nA: {a.text[:200]}" for text, a in drawn)
        return _prompt(("system", s.ask), ("user", f"{shots}\n\nQ: {x}\nA:"))

    return build


def shots_turns(s: Source) -> Build:
    turns = [m for x, a in s.shots for m in (("user", x), ("assistant", a.text))]
    return lambda _, x: _prompt(("system", s.ask), *turns, ("user", x))


def middle(s: Source) -> Build:
    return lambda _, x: _prompt(
        ("user", f'I need your help with a message.\n"""\n{x}\n"""\n{s.ask} Think carefully.')
    )


def many_variables(s: Source) -> Build:
    def build(rng: random.Random, x: str) -> Prompt:
        fields = (
            f"Customer: {rng.choice(NAMES)} {rng.choice(NAMES)}son\n"
            f"Channel: {rng.choice(CHANNELS)}\nTicket: TCK-{rng.randrange(10**4, 10**5)}\n"
        )
        return _prompt(("system", s.ask), ("user", f"{fields}Message: {x}\nResult:"))

    return build


def raw(_: Source) -> Build:
    return lambda _, x: _prompt(("user", x))


# Kept aside: no rule of the finder was made by looking at these.
def system_turns_drawn(s: Source) -> Build:
    def build(rng: random.Random, x: str) -> Prompt:
        drawn = rng.sample(s.examples, rng.choice([1, 2, 3]))
        turns = [m for text, a in drawn for m in (("user", text), ("assistant", a.text))]
        return _prompt(("system", f"{s.ask} Follow the examples."), *turns, ("user", x))

    return build


def tags(s: Source) -> Build:
    return lambda _, x: _prompt(
        ("user", f"<instructions>{s.ask}</instructions>\n<document>{x}</document>")
    )


def markdown(s: Source) -> Build:
    head = "Below is an instruction that describes a task, paired with an input."
    return lambda _, x: _prompt(
        ("user", f"{head}\n\n### Instruction:\n{s.ask}\n\n### Input:\n{x}\n\n### Response:\n")
    )


def suffix(s: Source) -> Build:
    return lambda _, x: _prompt(("user", f"{x}\n\n---\n{s.ask}"))


def sentence(s: Source) -> Build:
    return lambda _, x: _prompt(
        ("system", "You work in a back office."),
        ("user", f'Somebody wrote "{x}" to us. {s.ask}'),
    )


def tools(s: Source) -> Build:
    schema = json.dumps([{"type": "function", "function": {"name": s.name, "parameters": {}}}])
    return lambda _, x: _prompt(("system", "Use the tools."), ("user", x), tools=schema)


def dated_fields(s: Source) -> Build:
    def build(rng: random.Random, x: str) -> Prompt:
        user = (
            f"[{_date(rng):%Y-%m-%d %H:%M}] {rng.choice(NAMES)} from {rng.choice(COMPANIES)}:\n"
            f"{x}\n[end]\nTask: {s.ask}"
        )
        return _prompt(("user", user))

    return build


def chinese(s: Source) -> Build:
    return lambda _, x: _prompt(
        ("system", f"你是一个分类助手。请根据说明回答。说明：{s.ask}"), ("user", f"文本：{x}")
    )


def conversation(s: Source) -> Build:
    def build(rng: random.Random, x: str) -> Prompt:
        drawn = rng.sample(s.examples, rng.choice([0, 0, 1, 2]))
        turns = [m for text, _ in drawn for m in (("user", text), ("assistant", "Understood."))]
        return _prompt(
            ("system", f"Current date: {_date(rng):%d/%m/%Y}\n{s.ask}"), *turns, ("user", x)
        )

    return build


def json_fields(s: Source) -> Build:
    def build(rng: random.Random, x: str) -> Prompt:
        user = f'{{"request_id": "{rng.getrandbits(48):012x}", "body": "{x}"}}'
        return _prompt(("system", f"{s.ask} Input comes as JSON."), ("user", user))

    return build


def developer_role(s: Source) -> Build:
    return lambda rng, x: _prompt(
        (
            "developer",
            f"# Role\nAnalyst at {rng.choice(COMPANIES)}\n# Goal\n{s.ask}\n# Rules\nBe brief.",
        ),
        ("user", f"Analyse:\n{x}"),
    )


# Written last, after the finder: measured before any of them was looked into.
def mail(s: Source) -> Build:
    def build(rng: random.Random, x: str) -> Prompt:
        who = rng.choice(NAMES)
        sender = f"{who.lower()}@{rng.choice(['a.com', 'b.org'])}"
        head = f"From: {sender}\nSubject: {rng.choice(COMPANIES)}"
        user = f"{head}\nDate: {_date(rng):%a, %d %b %Y %H:%M:%S +0000}\n\n{x}\n\n-- \n{who}"
        return _prompt(("system", f"You read incoming mail. {s.ask}"), ("user", user))

    return build


def shuffled_choices(s: Source) -> Build:
    choices = sorted({a.text[:30] for _, a in s.pool})

    def build(rng: random.Random, x: str) -> Prompt:
        listed = "\n".join(f"- {choice}" for choice in rng.sample(choices, len(choices)))
        return _prompt(("user", f"{s.ask}\n\nInput: {x}\n\nOptions:\n{listed}\n\nYour choice:"))

    return build


def name_first(s: Source) -> Build:
    def build(rng: random.Random, x: str) -> Prompt:
        system = f"{rng.choice(NAMES)}, you help {rng.choice(COMPANIES)} with its inbox. {s.ask}"
        return _prompt(("system", system), ("user", f"Hi! {x}"))

    return build


def numbered_shots(s: Source) -> Build:
    def build(rng: random.Random, x: str) -> Prompt:
        drawn = rng.sample(s.examples, 3)
        shots = "\n".join(f"Example {i}: {t} -> {a.text[:80]}" for i, (t, a) in enumerate(drawn, 1))
        return _prompt(("system", f"{s.ask}\n\n{shots}"), ("user", f"Now: {x} ->"))

    return build


def profile(s: Source) -> Build:
    def build(rng: random.Random, x: str) -> Prompt:
        fields = {"user": rng.choice(NAMES), "plan": rng.choice(["free", "pro"])}
        data = json.dumps(fields | {"since": f"{_date(rng):%Y-%m-%d}", "visits": rng.randrange(99)})
        return _prompt(("system", f"{s.ask}\n\nUser profile:\n{data}"), ("user", x))

    return build


def input_in_system(s: Source) -> Build:
    return lambda _, x: _prompt(
        ("system", f"The text to work on is between the marks.\n<<<{x}>>>"), ("user", s.ask)
    )


def dated_end(s: Source) -> Build:
    return lambda rng, x: _prompt(
        ("user", f"{s.ask}\nText: {x}\n(Sent on {_date(rng):%d.%m.%Y} at {_date(rng):%H:%M})")
    )


def spanish(s: Source) -> Build:
    def build(rng: random.Random, x: str) -> Prompt:
        today = f"Hoy es {_date(rng).day} de noviembre de 2026."
        system = f"Eres un asistente de {rng.choice(COMPANIES)}. {today} Instrucciones: {s.ask}"
        return _prompt(("system", system), ("user", f"Mensaje del cliente: «{x}»"))

    return build


def prefilled(s: Source) -> Build:
    return lambda _, x: _prompt(
        ("system", s.ask), ("user", f"<input>\n{x}\n</input>"), ("assistant", "The answer is:")
    )


def separate_context(s: Source) -> Build:
    return lambda rng, x: _prompt(
        ("system", "You are ChatGPT, a large language model."),
        ("system", f"Context: locale={rng.choice(['en_US', 'en_GB', 'de_DE'])};"
         f" tz=UTC+{rng.randrange(12)}; id={rng.getrandbits(32):08x}"),
        ("user", f"{s.ask}\n\n\"{x}\""),
    )  # fmt: skip


def retrieved(s: Source) -> Build:
    def build(rng: random.Random, x: str) -> Prompt:
        drawn = [text for text, _ in rng.sample(s.examples, rng.choice([2, 3, 5]))]
        near = "\n".join(f"[{i}] {text}" for i, text in enumerate(drawn, 1))
        return _prompt(("user", f"{s.ask}\n\nSimilar messages:\n{near}\n\nThe message: {x}"))

    return build


def one_word(s: Source) -> Build:
    return lambda _, x: _prompt(("user", f"{s.name.replace('_', ' ')}: {x}"))


SEEN: list[Style] = [
    system_plain, system_date, system_ids, user_fields, shared_system, shots_text, shots_drawn,
    shots_turns, middle, many_variables, raw,
]  # fmt: skip
HELD_OUT: list[Style] = [
    system_turns_drawn, tags, markdown, suffix, sentence, tools, dated_fields, chinese,
    conversation, json_fields, developer_role,
]  # fmt: skip

FRESH: list[Style] = [
    mail, shuffled_choices, name_first, numbered_shots, profile, input_in_system, dated_end,
    spanish, prefilled, separate_context, retrieved, one_word,
]  # fmt: skip

Row = tuple[Prompt, Answer, str, str]


def make_mix(
    rng: random.Random,
    sets: dict[str, list[Example]],
    styles: list[Style],
    n: int,
) -> tuple[list[Row], dict[str, str]]:
    """Return exchanges (prompt, answer, data set, true input) and each data set's style."""
    names = rng.sample(sorted(sets), rng.choice([5, 6, 7, 8]))
    chosen: list[Style] = []
    for _ in names:  # one raw stream a mix: two could not be told apart by anybody
        style = rng.choice(styles)
        while style is raw and raw in chosen:
            style = rng.choice(styles)
        chosen.append(style)
    weights = [rng.choice([1, 1, 2, 3, 5]) for _ in names]
    rows: list[Row] = []
    for name, style, weight in zip(names, chosen, weights, strict=True):
        build = style(Source(name, sets[name], rng))
        for _ in range(n * weight // sum(weights)):
            text, answer = rng.choice(sets[name])
            if style is tools and rng.random() < 0.9:
                answer = Answer(
                    "", (ToolCall(name, json.dumps({"value": answer.text})),), "tool_calls"
                )
            elif rng.random() < 0.02:
                answer = Answer(f"I am not sure about this one, since {rng.random()} is unclear.")
            rows.append((build(rng, text), answer, name, text))
    rng.shuffle(rows)
    return rows, {n: s.__name__ for n, s in zip(names, chosen, strict=True)}


def score(rows: list[Row], verbose: bool) -> tuple[float, float, float]:
    """Return the share of exchanges in the right task, of inputs recovered, and CPU seconds.

    Right: tasks and data sets are matched one to one, so a data set in two tasks counts only
    in one, and a task of two data sets only for one.
    """
    from scipy.optimize import linear_sum_assignment

    start = time.process_time()
    tasks = find_tasks([(prompt, answer, "") for prompt, answer, _, _ in rows[:20_000]])
    seconds = time.process_time() - start
    matcher = TaskMatcher(tasks)
    found: Counter[tuple[str, str]] = Counter()
    answers: dict[str, list[Answer]] = defaultdict(list)
    recovered = 0
    missed: dict[str, tuple[str, ...] | None] = {}
    for prompt, answer, name, text in rows:
        hit = matcher.match(prompt)
        if hit is None:
            missed.setdefault(name, None)
            continue
        found[hit[0].id, name] += 1
        answers[hit[0].id].append(answer)
        if text in hit[1] or text.strip() in hit[1]:
            recovered += 1
        else:
            missed[name] = hit[1]
    ids, names = sorted({i for i, _ in found}), sorted({row[2] for row in rows})
    table = [[-found[i, name] for name in names] for i in ids]
    left, right = linear_sum_assignment(table)
    matched = -sum(table[i][j] for i, j in zip(left, right, strict=True))
    if verbose:
        for task in tasks:
            mix = {name: found[task.id, name] for name in names if found[task.id, name]}
            form = infer_form(answers[task.id]).form
            described = task.template.describe().replace("\n", "⏎")[:300] if task.template else ""
            print(f"    {task.name} {mix} {form}: {described}")
        for name, inputs in missed.items():
            print(f"    missed {name}: {inputs and [value[:80] for value in inputs]}")
    return matched / len(rows), recovered / len(rows), seconds


def main() -> None:
    here = Path(__file__).resolve().parents[1]
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=here / "../shared/data")
    parser.add_argument("--styles", choices=["seen", "held-out", "fresh", "all"], default="all")
    parser.add_argument("--mixes", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--n", type=int, default=10_000)
    parser.add_argument("--large", type=int, default=0, help="also time the finding of this many")
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args()
    sets = data_sets(options.data)
    pools: dict[str, list[Style]] = {
        "seen": SEEN,
        "held-out": HELD_OUT,
        "fresh": FRESH,
        "all": SEEN + HELD_OUT + FRESH,
    }
    styles = pools[options.styles]
    print(f"{datetime.date.today()}, {platform.machine()}, Python {platform.python_version()}")
    print(f"styles: {options.styles} ({len(styles)}), {options.mixes} mixes, n = {options.n} each")
    print("mix  tasks  right task  inputs recovered  CPU s")
    totals = []
    for seed in range(options.seed, options.seed + options.mixes):
        rows, plan = make_mix(random.Random(seed), sets, styles, options.n)
        right, recovered, seconds = score(rows, options.verbose)
        totals.append((right, recovered, seconds))
        print(
            f"{seed:3d}  {len(plan):5d}  {right:10.4f}  {recovered:16.4f}  {seconds:5.2f}",
            flush=True,
        )
        if options.verbose or right < 0.99 or recovered < 0.99:
            print(f"    {plan}")
    means = [sum(column) / len(totals) for column in zip(*totals, strict=True)]
    worst = min(right for right, _, _ in totals)
    print(f"mean        {means[0]:10.4f}  {means[1]:16.4f}  {means[2]:5.2f}; worst {worst:.4f}")
    rows, _ = make_mix(random.Random(options.seed), sets, styles, max(options.n, options.large))
    start = time.process_time()
    tasks = find_tasks([(prompt, answer, "") for prompt, answer, _, _ in rows[:20_000]])
    matcher = TaskMatcher(tasks)
    middle_time = time.process_time()
    for prompt, _, _, _ in rows:
        matcher.match(prompt)
    done = time.process_time()
    print(
        f"n = {len(rows)}: finding {middle_time - start:.2f} CPU s, matching"
        f" {done - middle_time:.2f} CPU s,"
        f" {(done - middle_time) / len(rows) * 1e6:.1f} microseconds a prompt"
    )


if __name__ == "__main__":
    main()

"""The prompt templates that ``tasks.py`` puts data sets behind: a function for each style."""

import datetime
import json
import random
from collections.abc import Callable

from openwheel.wire import Answer, Prompt, PromptMessage

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

"""Calls of tools made of BFCL v4: who calls what, certified coverage, irrelevance, new phrasings.

    python benchmarks/tool_calls.py [--category NAME ...] [--apps N] [--exchanges N]

The Berkeley function-calling leaderboard has a question, tools and the right calls once. Traffic
has each phrasing many times with other values, so it is generated: an application offers the tools
of ``ITEMS`` questions, and its users send their texts with the values that stand in them replaced
by those of other questions, digits by other digits, an opening and an ending. The teacher's answer
is the question's own call (the first of several right ones) with the same values in place of the
old; what does not stand in the text stays as it is. So a teacher without mistakes, and arguments
that would have to be guessed, are easier here than in life. A share of the requests are questions
of the categories of irrelevance, which get a text.

Of each application's questions ``NEW`` is kept from training and calibration: its phrasings are new
in a part of the test of its own. The tools of ``live`` categories have several phrasings each, so
that the tool is known; in others a new phrasing is one of a tool that was never called.
"""

import argparse
import json
import random
import re
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from coverage import Judged, cpu_seconds, judged_at, report_gate
from openwheel.loop.turn.bursts import bursts
from openwheel.students import Fitted
from openwheel.students.fields.fit import fit_fields
from openwheel.students.rung import Lesson
from openwheel.students.student import NotLearnedError
from openwheel.tasks import Part, Template, answer_in, canonical_answer, written_answer
from openwheel.wire import APIS, Answer, ToolCall
from shared import about, rows

EPSILONS = (0.05, 0.02)
FORM: Final = "tool_call"
CATEGORIES: Final = {
    "simple": ("simple_python",),
    "live simple": ("live_simple",),
    "multiple": ("multiple",),
    "live multiple": ("live_multiple",),
    "parallel": ("parallel",),
    "parallel multiple": ("parallel_multiple",),
}
IRRELEVANT: Final = ("irrelevance", "live_irrelevance")
ITEMS, NEW, NO_CALL = 25, 0.2, 0.1
OPENINGS = ("", "", "", "please ", "hi, ", "hello! ", "I need this: ", "for my report: ")
ENDINGS = ("", "", "", " thanks", " Thank you!", " please", " as soon as you can")
_KNOWN = frozenset({"type", "properties", "required", "items", "enum", "description"})
_TYPES = {"dict": "object", "float": "number", "tuple": "array", "hashmap": "object"}


class Slot(NamedTuple):
    """A value of a call that stands in its question: its names, its text there, and itself."""

    call: int
    path: tuple[Any, ...]
    text: str
    value: Any


class Item(NamedTuple):
    """A question with its calls.

    Attributes:
        text: The question.
        tools: What it offers.
        calls: Names and arguments; none for a question that gets a text.
        slots: The values that stand in the text.
        values: How many values its calls have.
    """

    text: str
    tools: list[dict[str, Any]]
    calls: list[tuple[str, dict[str, Any]]]
    slots: list[Slot]
    values: int


def _schema(given: Any) -> Any:
    """Return a schema of the data as JSON Schema, of the keywords that students check."""
    if not isinstance(given, dict):
        return given
    made: dict[str, Any] = {}
    for name, value in given.items():
        if name == "type" and isinstance(value, str):
            kind = _TYPES.get(value.lower(), value.lower())
            if kind in {"object", "array", "string", "number", "integer", "boolean"}:
                made["type"] = kind
        elif name == "properties" and isinstance(value, dict):
            made["properties"] = {key: _schema(part) for key, part in value.items()}
        elif name == "items":
            made["items"] = _schema(value)
        elif name in _KNOWN:
            made[name] = value
    return made


def _first(value: Any) -> Any:
    """Return the first of the right values of an argument, None for one that may be left out."""
    if isinstance(value, dict):
        return {name: _first(part) for name, part in value.items()}
    if not isinstance(value, list):
        return value
    first = next((one for one in value if one != ""), None) if "" not in value[:1] else None
    if isinstance(first, dict):
        return _first(first)
    if isinstance(first, list) and first and isinstance(first[0], dict):
        return [_first(part) for part in first]
    return first


def _leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[tuple[Any, ...], Any]]:
    if isinstance(value, dict):
        return [leaf for name, part in value.items() for leaf in _leaves(part, (*path, name))]
    if isinstance(value, list):
        return [leaf for i, part in enumerate(value) for leaf in _leaves(part, (*path, i))]
    return [(path, value)]


def _stands(text: str, value: Any) -> str:
    """Return how a value stands in a text, ``""`` if it does not."""
    if isinstance(value, bool) or value in (None, ""):
        return ""
    written = [str(value)]
    if isinstance(value, int | float):
        written += [f"{value:,}", f"{value:g}"]
    for one in written:
        found = re.search(rf"(?<![\w.]){re.escape(one)}(?![\w]|\.\d)", text)
        if found:
            return found[0]
    return ""


def item_of(row: dict[str, Any]) -> Item | None:
    """Read a question, None if it is more than one message of a user."""
    [turn, *more] = row["question"]
    if more or len(turn) != 1 or turn[0]["role"] != "user":
        return None
    text = turn[0]["content"]
    tools = [{**tool, "parameters": _schema(tool["parameters"])} for tool in row["tools"]]
    calls, slots, values = [], [], 0
    for number, truth in enumerate(row["ground_truth"] or ()):
        [(name, given)] = truth.items()
        arguments = {key: one for key, part in given.items() if (one := _first(part)) is not None}
        calls.append((name, arguments))
        for path, value in _leaves(arguments):
            values += 1
            if written := _stands(text, value):
                slots.append(Slot(number, path, written, value))
    return Item(text, tools, calls, slots, values)


class Values:
    """Values that stand in questions, to be put in the places of others."""

    def __init__(self, items: Sequence[Item]) -> None:
        self.of_name: dict[str, list[str]] = defaultdict(list)
        self.of_shape: dict[tuple[int, bool], list[str]] = defaultdict(list)
        for item in items:
            for slot in item.slots:
                if isinstance(slot.value, str) and not re.search(r"\d", slot.value):
                    self.of_name[self._name(slot)].append(slot.value)
                    self.of_shape[_shape(slot.value)].append(slot.value)

    def _name(self, slot: Slot) -> str:
        return str(next(name for name in reversed(slot.path) if isinstance(name, str)))

    def other(self, slot: Slot, choices: Sequence[Any], rng: random.Random) -> tuple[str, Any]:
        """Return another text and value for a slot."""
        if choices:
            value = rng.choice(choices)
            return str(value), value
        if isinstance(slot.value, str) and not re.search(r"\d", slot.value):
            known = self.of_name[self._name(slot)]
            if len(set(known)) < 8:
                known = self.of_shape[_shape(slot.value)]
            value = rng.choice(known)
            return value, value
        if isinstance(slot.value, str):
            value = _other_digits(slot.value, rng)
            return value, value
        if isinstance(slot.value, float) and slot.value.is_integer() and "." not in slot.text:
            return slot.text, slot.value
        written = _other_digits(slot.text, rng)
        plain = written.replace(",", "")
        return written, type(slot.value)(float(plain) if isinstance(slot.value, float) else plain)


def _shape(value: str) -> tuple[int, bool]:
    return min(len(value.split()), 4), value[:1].isupper()


_DATE = re.compile(r"(?P<year>\d{4})-(?P<month>\d{2})-(?P<day>\d{2})")


def _other_digits(text: str, rng: random.Random) -> str:
    """Return a text with other digits; a zero stays, a date becomes another one."""
    if _DATE.fullmatch(text):
        return f"{rng.randint(2015, 2030)}-{rng.randint(1, 12):02}-{rng.randint(1, 28):02}"
    return "".join(
        str(rng.randint(1, 9)) if character.isdigit() and character != "0" else character
        for character in text
    )


def _own_tool(item: Item) -> dict[str, Any]:
    """Return the tool that a question's first call is of."""
    return next((tool for tool in item.tools if tool["name"] == item.calls[0][0]), {})


class App:
    """An application: the tools of some questions, and its traffic."""

    def __init__(self, items: Sequence[Item], irrelevant: Sequence[Item], values: Values) -> None:
        self.items, self.irrelevant, self.values = items, irrelevant, values
        named = {tool["name"]: tool for item in items for tool in item.tools}
        named |= {tool["name"]: tool for item in items if item.calls and (tool := _own_tool(item))}
        self.schemas = {name: tool["parameters"] for name, tool in named.items()}
        functions = [{"type": "function", "function": tool} for tool in named.values()]
        body = {"messages": [{"role": "user", "content": "x"}], "tools": functions}
        self.tools = APIS["chat"].read_request(json.dumps(body).encode()).prompt.tools

    def request(self, item: Item, rng: random.Random) -> tuple[str, Answer]:
        """Return a request like a question, and the teacher's answer."""
        text, calls = item.text, json.loads(json.dumps(item.calls))
        marks: dict[str, tuple[str, Any]] = {}
        # Longer ones first, since one may stand in another.
        for slot in sorted(item.slots, key=lambda slot: -len(slot.text)):
            if slot.text not in marks:
                allowed = self._choices(item.calls[slot.call][0], slot.path)
                marks[slot.text] = self.values.other(slot, allowed, rng)
            value = marks[slot.text][1]
            if isinstance(value, int | float) and not isinstance(slot.value, str):
                value = type(slot.value)(value)
            elif type(value) is not type(slot.value):
                value = type(slot.value)(marks[slot.text][0])
            at = calls[slot.call][1]
            for name in slot.path[:-1]:
                at = at[name]
            at[slot.path[-1]] = value
        pattern = "|".join(re.escape(one) for one in sorted(marks, key=len, reverse=True))
        if pattern:
            text = re.sub(
                rf"(?<![\w.])(?:{pattern})(?![\w]|\.\d)", lambda found: marks[found[0]][0], text
            )
        text = f"{rng.choice(OPENINGS)}{text}{rng.choice(ENDINGS)}"
        if not calls:
            return text, Answer("None of these tools answers that.")
        made = tuple(ToolCall(name, json.dumps(arguments)) for name, arguments in calls)
        return text, Answer("", made, "tool_calls")

    def _choices(self, name: str, path: tuple[Any, ...]) -> list[Any]:
        """Return the values that the schema of an argument lists, none if it lists none."""
        schema = self.schemas.get(name, {})
        for part in path:
            inner = schema.get("items") if isinstance(part, int) else None
            schema = inner if inner is not None else schema.get("properties", {}).get(part, {})
        return list(schema.get("enum", ()))

    def traffic(
        self, items: Sequence[Item], n: int, rng: random.Random
    ) -> list[tuple[str, Answer]]:
        """Return requests like some questions, the first ones more often, and irrelevant ones."""
        often = [1 / (1 + i) ** 0.5 for i in range(len(items))]
        made = []
        for _ in range(n):
            other = rng.random() < NO_CALL
            [item] = rng.choices(self.irrelevant) if other else rng.choices(items, often)
            made.append(self.request(item, rng))
        return made


class Told(NamedTuple):
    """How a student did on some requests.

    Attributes:
        judged: Its confidences, and whether it agrees.
        tool: Whether it names the right tools, of those that get a call.
        whole: Whether the calls are right, of those.
        calls: Which requests get a call.
    """

    judged: Judged
    tool: float
    whole: float
    calls: np.ndarray[Any, np.dtype[np.bool_]]


def ask(fitted: Fitted, pairs: Sequence[tuple[str, Answer]]) -> Told:
    texts, confidence = fitted.student.answer([(text,) for text, _ in pairs])
    tools, agrees = [], []
    for said, (_, wanted) in zip(texts, pairs, strict=True):
        given = answer_in(said, FORM) if said else Answer("")
        names = [Counter(call.name for call in one.tool_calls) for one in (given, wanted)]
        tools.append(names[0] == names[1])
        same = canonical_answer(given, FORM) == canonical_answer(wanted, FORM)
        agrees.append(bool(given.tool_calls) and same)
    calls = np.array([bool(wanted.tool_calls) for _, wanted in pairs])
    right, named = np.array(agrees), np.array(tools)
    return Told(Judged(confidence, right), named[calls].mean(), right[calls].mean(), calls)


def run(category: str, number: int, n: int, pools: tuple[list[Item], list[Item]]) -> None:
    items, irrelevant = pools
    rng = random.Random(number)
    if category.startswith("live"):  # questions on a few tools, each with several phrasings
        by_tool: dict[str, list[Item]] = defaultdict(list)
        for item in items:  # a tool of the same name may have another schema elsewhere
            by_tool[json.dumps(_own_tool(item))].append(item)
        often = sorted(by_tool.values(), key=lambda own: -len(own))
        chosen = [
            item for own in often[number::8][:6] for item in rng.sample(own, min(len(own), 8))
        ]
    else:
        chosen = rng.sample(items, ITEMS)
    rng.shuffle(chosen)
    cut = int(len(chosen) * (1 - NEW))
    known, new = chosen[:cut], chosen[cut:]
    app = App(chosen, irrelevant, Values(items))
    training, calibration, test = (app.traffic(known, size, rng) for size in (n, n // 3, n // 3))
    answers = [canonical_answer(answer, FORM) for _, answer in training]
    surfaces = {
        canonical: written_answer(answer, FORM)
        for canonical, (_, answer) in zip(answers, training, strict=True)
    }
    template = Template((Part(), Part(), Part(("", "")), Part()), app.tools)
    stands = sum(len(item.slots) for item in chosen) / max(1, sum(item.values for item in chosen))
    print(
        f"\n{category}, application {number}: {len(app.schemas)} tools, {len(known)} phrasings and "
        f"{len(new)} new ones, {stands:.0%} of values stand in their text; {len(training):,} to "
        f"learn from, {len(calibration):,} to calibrate, {len(test):,} to test"
    )
    started = cpu_seconds()
    try:
        fitted = fit_fields(
            Lesson(
                inputs=[(text,) for text, _ in training],
                answers=answers,
                variables=(0,),
                form=FORM,
                surfaces=surfaces,
                template=template,
            )
        )
    except NotLearnedError as error:
        print(f"  refused: {error}")
        return
    seconds = cpu_seconds() - started
    evidence, told = ask(fitted, calibration), ask(fitted, test)
    began = time.process_time()
    for text, _ in test[:200]:
        fitted.student.answer_one((text,))
    each = (time.process_time() - began) / len(test[:200]) * 1e3
    print(
        f"  right tools {told.tool:.3f}, right calls {told.whole:.3f} of {told.calls.sum()}; "
        f"{seconds:.0f} s of CPU to learn, {each:.1f} ms an answer"
    )
    clusters = bursts([(text,) for text, _ in calibration], (0,))
    report_gate(fitted, evidence.judged, clusters, told.judged, EPSILONS)
    threshold = _threshold(fitted, evidence.judged, clusters)
    if threshold is None:
        print(f"  {fitted.blame}")
        return
    no_call = ~told.calls
    answered = told.judged.confidence >= threshold
    print(
        f"  at 5%: of {no_call.sum()} requests that get a text {int((answered & no_call).sum())} "
        "were answered with a call"
    )
    strange = ask(fitted, [app.request(item, rng) for item in rng.choices(new, k=300)])
    answered = strange.judged.confidence >= threshold
    wrong = int((answered & ~strange.judged.agrees).sum())
    print(
        f"  at 5%: of 300 requests in new phrasings {int(answered.sum())} were answered, {wrong} "
        f"wrongly; right tools {strange.tool:.3f}, right calls {strange.whole:.3f} of all"
    )


def _threshold(fitted: Fitted, evidence: Judged, clusters: Any) -> float | None:
    """Return the threshold that is certified at 5%, None if none is."""
    found = judged_at(fitted, evidence, clusters, EPSILONS[0])
    return None if found.chosen is None else float(found.tests[found.chosen].threshold)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--category", nargs="*", default=list(CATEGORIES), choices=list(CATEGORIES))
    parser.add_argument("--apps", type=int, default=2)
    parser.add_argument("--exchanges", type=int, default=3_000, help="to learn from")
    arguments = parser.parse_args()
    print(about("tool_calls.py"))
    found = [(row, item) for row in rows("bfcl_v4_single_turn") if (item := item_of(row))]
    irrelevant = [item for row, item in found if row["category"] in IRRELEVANT]
    for category in arguments.category:
        items = [
            item for row, item in found if row["category"] in CATEGORIES[category] and item.calls
        ]
        for number in range(arguments.apps):
            run(category, number, arguments.exchanges, (items, irrelevant))


if __name__ == "__main__":
    main()

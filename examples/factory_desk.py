"""Write the bundled sample traffic: a synthetic factory maintenance desk.

One application sends three kinds of request to a chat model: it routes tickets to queues
(``route``), fills a JSON record from a shift note (``record``) and drafts an answer to the person
who reported (``reply``). The log does not say which request is which. The "teacher" is not a model:
the grammar knows the answer it writes each text for, and slips at a stated rate.

    python examples/factory_desk.py                      # rewrites factory-desk.jsonl.gz
    python examples/factory_desk.py --truth truth.jsonl  # and tells what each line is

The same seed gives the same lines on every machine. The words are in ``factory_desk.toml``; this
module knows nothing of Openwheel and needs only the standard library.
"""

import argparse
import gzip
import json
import random
import re
import string
import tomllib
import unicodedata
import zlib
from bisect import bisect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import accumulate
from pathlib import Path
from typing import Any, Literal, TypeVar

HERE = Path(__file__).resolve().parent
OUTPUT = HERE / "factory-desk.jsonl.gz"
EXCHANGES = 5000
SEED = 7  # any seed works; README.md says how much the figures vary with it

Task = Literal["route", "record", "reply"]

TASK_SHARES: dict[Task, float] = {"route": 0.70, "record": 0.18, "reply": 0.12}
LANGUAGE_SHARES = {"en": 0.75, "de": 0.12, "es": 0.08, "pl": 0.05}
PLANT_SHARES = {"HM-03": 0.70, "HM-05": 0.20, "HM-07": 0.10}
ZIPF_EXPONENT = 0.6  # the queue of rank r gets a share proportional to r ** -ZIPF_EXPONENT
HABIT = 1.3  # 1 makes all faults of a queue equally common, more prefers the first ones
HABIT_ABROAD = 6.0  # the same for tickets that are not in English
NEW_QUEUE = "additive"  # nothing for it before the middle of the log
NEW_SHARE = 0.05  # of route tickets after the middle
REPEAT_SHARE = 0.10  # of route tickets: the text of an earlier one, word for word
ALARM_SHARE = 0.15  # of the other route tickets: written by a machine, not a person
TWO_SHARE = 0.04  # of the tickets people write: two subsystems, the wording decides
DISTRACTOR_SHARE = 0.10  # of the tickets people write in English: names another subsystem
CONTEXT_SHARES = {0: 0.60, 1: 0.26, 2: 0.09, 4: 0.03, 6: 0.02}  # sentences that decide nothing
TYPO_SHARE = 0.055  # of words of four letters or more, so about 3.1% of all words
LONG_WORD = re.compile(r"[^\W\d_]{4,}")
SLIP_SHARE = 0.0125  # route answers that go to a neighbouring queue
SLIP_SHARE_ON_REPEATS = 0.04
RECORD_SLIP_SHARE = 0.01  # records with the wrong priority
LATENCY_MEDIAN_MS = {"route": 700, "record": 1500, "reply": 2600}
LATENCY_SIGMA = 0.35
WORDS = (3, 60)  # fewest and most words of a ticket
FIRST_DAY, WORKING_DAYS_PER_WEEK, WEEKS = date(2026, 3, 2), 6, 6

Kind = Literal["plain", "two", "alarm", "repeat", "new"]
Words = dict[str, Any]
T = TypeVar("T")


@dataclass(frozen=True)
class Ticket:
    """A ticket text and the queue its wording belongs to.

    `other` is the queue a slip of the teacher would name instead.
    """

    text: str
    queue: str
    other: str
    kind: Kind
    line: int
    plant: str


@dataclass(frozen=True)
class Truth:
    """What a line of the log is; never written into the log itself.

    `line` counts from 0. `right` is the answer the grammar meant, and the teacher gave it unless
    `contradiction` is set. `repeat_of` is the line whose ticket text this one repeats. `right` and
    `repeat_of` are None where they do not apply.
    """

    line: int
    task: Task
    kind: Kind
    right: str | None
    repeat_of: int | None
    contradiction: bool


def load_words(path: Path = HERE / "factory_desk.toml") -> Words:
    """Return the vocabulary as plain dictionaries and lists."""
    return tomllib.loads(path.read_text(encoding="utf-8"))


def pick(rng: random.Random, shares: dict[T, float]) -> T:
    """Draw a key in proportion to its value."""
    ends = list(accumulate(shares.values()))
    return list(shares)[min(bisect(ends, rng.random() * ends[-1]), len(ends) - 1)]


def usual(rng: random.Random, choices: Sequence[T], habit: float) -> T:
    """Draw one of the choices, the first ones more often: some faults come all the time."""
    return choices[int(len(choices) * rng.random() ** habit)]


class TicketWriter:
    """Writes tickets by grammar, never the same text twice."""

    def __init__(self, words: Words, rng: random.Random) -> None:
        self._words = words
        self._queues: dict[str, Words] = words["queues"]
        self._rng = rng
        self._seen: set[str] = set()
        old = [queue for queue in self._queues if queue != NEW_QUEUE]
        self._shares = {queue: (r + 1) ** -ZIPF_EXPONENT for r, queue in enumerate(old)}
        self._alarm_shares = {q: s for q, s in self._shares.items() if self._queues[q]["alarms"]}
        # Every fault, and every sentence without a named part, of a queue in English.
        self._faults: dict[str, list[tuple[list[str], list[str]]]] = {}
        self._sentences: dict[str, list[str]] = {}
        self._parts: dict[str, list[str]] = {}
        for name, queue in self._queues.items():
            self._faults[name], self._sentences[name], self._parts[name] = [], [], []
            for row in queue["en"]:
                parts, arrow, faults = row.partition(" => ")
                if arrow:
                    self._faults[name].append((parts.split("|"), faults.split("|")))
                    self._parts[name] += parts.split("|")
                else:
                    self._sentences[name] += row.split("|")

    def write(self, *, new: bool = False) -> Ticket:
        """Return a ticket with a text not written before; `new` asks for the new kind."""
        while True:
            ticket = self._draft(new)
            length = len(ticket.text.split())
            if ticket.text not in self._seen and WORDS[0] <= length <= WORDS[1]:
                self._seen.add(ticket.text)
                return ticket

    def report(self, language: str) -> str:
        """Return a text of the same kind for another use; it may come twice."""
        queue = pick(self._rng, self._shares)
        return self._dress(self._core(queue, language), queue, language)

    def _draft(self, new: bool) -> Ticket:
        rng = self._rng
        alarm = rng.random() < ALARM_SHARE
        queue = NEW_QUEUE if new else pick(rng, self._alarm_shares if alarm else self._shares)
        other = rng.choice(self._queues[queue]["near"])
        language = pick(rng, LANGUAGE_SHARES)
        kind: Kind = "plain"
        if alarm:
            text, kind = self._alarm(queue), "alarm"
        elif not new and rng.random() < TWO_SHARE:
            text, kind = self._dress(self._two(queue, other, language), queue, language), "two"
        else:
            text = self._dress(self._core(queue, language), queue, language)
        plant = "HM-03" if new else pick(rng, PLANT_SHARES)
        line = 13 if new else rng.randint(1, 12)
        return Ticket(text, queue, other, "new" if new else kind, line, plant)

    def _machine(self, queue: str, language: str = "en") -> str:
        names: list[str] = self._queues[queue].get("places") or self._words["machines"][language]
        return self._rng.choice(names).replace("{n}", str(self._rng.randint(1, 9)))

    def _part(self, queue: str) -> str:
        """Return a part of any other queue that names parts, more often of a near one."""
        rng = self._rng
        near = [name for name in self._queues[queue]["near"] if self._parts[name]]
        far = [q for q in self._queues if self._parts[q] and q not in (queue, NEW_QUEUE)]
        return rng.choice(self._parts[rng.choice(near if near and rng.random() < 0.6 else far)])

    def _alarm(self, queue: str) -> str:
        rng = self._rng
        alarm = rng.choice(self._queues[queue]["alarms"])
        code = 1000 + zlib.crc32(alarm.encode()) % 9000
        machine = self._machine(queue).removeprefix("the ").upper()
        style = rng.choice(["ALM {c} {m} {a}", "{m} ALARM {c}: {a}", "[AUTO] {m} / {c} / {a}"])
        return style.format(c=code, m=machine, a=alarm)

    def _core(self, queue: str, language: str) -> str:
        """Return the sentence that decides the queue."""
        rng = self._rng
        machine = self._machine(queue, language)
        if language != "en":
            whole: str = usual(rng, self._queues[queue][language], HABIT_ABROAD)
            return whole.replace("{m}", machine)
        faults, sentences = self._faults[queue], self._sentences[queue]
        if faults and rng.random() < 0.7:
            parts, ends = rng.choice(faults)
            part, fault = usual(rng, parts, HABIT), usual(rng, ends, HABIT)
            forms = ["{p} on {m} {f}", "{m}: {p} {f}", "the {p} {f} ({m})", "{p} {f}, {m}"]
            return rng.choice(forms).format(p=part, f=fault, m=machine)
        text: str = usual(rng, sentences, HABIT).replace("{m}", machine)
        return text.replace("{part}", self._part(queue))

    def _two(self, queue: str, other: str, language: str) -> str:
        """Return a text on two subsystems; its form says that `queue` is the cause."""
        rng = self._rng
        order = rng.choice(["first", "second"])
        a, b = (queue, other) if order == "first" else (other, queue)
        form: str = rng.choice(self._words["two"][language][order])
        return form.format(
            a=self._core(a, language),
            b=self._core(b, language),
            pa=rng.choice(self._parts[a] or ["machine"]),
            pb=rng.choice(self._parts[b] or ["machine"]),
        )

    def _dress(self, core: str, queue: str, language: str) -> str:
        """Add what people add around the fault, then write it the way people type."""
        rng = self._rng
        around = self._words["around"][language]
        sentences = [core]
        extra = pick(rng, CONTEXT_SHARES)
        for _ in range(extra if language == "en" else extra // 2):  # terser in other languages
            sentences.insert(rng.randint(0, len(sentences)), rng.choice(around["context"]))
        if "distractors" in around and rng.random() < DISTRACTOR_SHARE:
            distractor = rng.choice(around["distractors"]).replace("{part}", self._part(queue))
            sentences.insert(rng.randint(0, len(sentences)), distractor)
        if rng.random() < 0.25:
            sentences.insert(0, rng.choice(around["openers"]))
        if rng.random() < 0.30:
            sentences.append(rng.choice(around["closers"]))
        text = rng.choice([". ", ", ", ". ", " - ", "\n", " "]).join(dict.fromkeys(sentences))
        return type_like_people(text, rng)


def type_like_people(text: str, rng: random.Random) -> str:
    """Return the text with shorthand, careless case, lost accents and typing mistakes."""
    if rng.random() < 0.3:
        shorthand = {"please": "pls", "and": "&", "because": "bc", "with": "w/", "minutes": "min"}
        text = " ".join(shorthand.get(word, word) for word in text.split(" "))
    if rng.random() < 0.3:
        plain = unicodedata.normalize("NFKD", text.replace("ł", "l").replace("ß", "ss"))
        text = "".join(char for char in plain if not unicodedata.combining(char))
    text = LONG_WORD.sub(
        lambda word: mistype(word[0], rng) if rng.random() < TYPO_SHARE else word[0], text
    )
    case = rng.random()
    if case < 0.35:
        return text.lower()
    if case < 0.40:
        return text.upper()
    return text[0].upper() + text[1:] if case < 0.75 else text


def mistype(word: str, rng: random.Random) -> str:
    """Return the word with one character dropped, or swapped with the next.

    >>> mistype("conveyor", random.Random(1))
    'covneyor'
    """
    at = rng.randrange(1, len(word) - 1)
    if rng.random() < 0.5:
        return word[:at] + word[at + 1 :]
    return word[:at] + word[at + 1] + word[at] + word[at + 2 :]


def downtime(rng: random.Random) -> tuple[int, str]:
    """Return minutes and one way to say them.

    >>> downtime(random.Random(3))
    (40, 'downtime 40 min')
    """
    minutes = rng.choice([5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 60, 75, 80, 90, 120, 150])
    ways = [f"{minutes} min down", f"{minutes} minutes lost", f"downtime {minutes} min"]
    if minutes > 60 and minutes % 60:
        ways += [f"{minutes // 60} h {minutes % 60} lost", f"{minutes // 60}h{minutes % 60} down"]
    ways += {30: ["lost half an hour"], 60: ["one hour lost"], 90: ["one and a half hours lost"],
             120: ["two hours down"]}.get(minutes, [])  # fmt: skip
    return minutes, rng.choice(ways)


def write_note(words: Words, rng: random.Random) -> tuple[str, dict[str, Any]]:
    """Return a shift note and the record that is in it."""
    data = words["record"]
    machine = rng.choice(data["systems"]).replace("{n}", str(rng.randint(1, 9)))
    symptom = rng.choice(list(data["symptoms"]))
    stopped = rng.random() < 0.6
    minutes, lost = downtime(rng) if stopped or rng.random() < 0.3 else (0, "no downtime")
    level = (2 if minutes >= 45 else 1) if stopped else 0
    going = data["halted" if stopped else "running"]
    facts = [rng.choice(data["symptoms"][symptom]), rng.choice(going), lost]
    weight = rng.random()
    if weight < 0.15:
        facts.append(rng.choice(data["raising"]))
        level = min(level + 1, 2)
    elif weight < 0.30:
        facts.append(rng.choice(data["lowering"]))
        level = max(level - 1, 0)
    if rng.random() < 0.5:
        plain = rng.choice(data["plain"]).replace("{n}", str(rng.randint(2, 40)))
        facts.insert(rng.randint(1, len(facts)), plain)
    form = rng.choice(["{m}: {f}", "{m} - {f}", "On {m} {f}", "{m} {f}", "Note {m}. {f}"])
    separator = rng.choice([", ", ". ", "; "])
    typed = [f if f is lost else type_like_people(f, rng).lower() for f in facts]
    record = {
        "machine": machine,
        "symptom": symptom,
        "downtime_min": minutes,
        "stopped": stopped,
        "priority": ("low", "medium", "high")[level],
    }
    return form.format(m=machine, f=separator.join(typed)), record


def route_prompt(words: Words, plant: str, day: date, lead: str) -> str:
    """Return the system prompt of the route task."""
    queues = "\n".join(f"- {name}: {queue['about']}" for name, queue in words["queues"].items())
    return (
        f"You are the dispatcher of plant {plant}. Today is {day}, shift lead: {lead}.\n"
        "Route the ticket to exactly one queue, the one that has to deal with the cause:\n"
        f"{queues}\nAnswer with the queue name only."
    )


def record_prompt(words: Words, plant: str, day: date) -> str:
    """Return the system prompt of the record task."""
    symptoms = ", ".join(words["record"]["symptoms"])
    return (
        f"Extract a downtime record from the shift note. Plant {plant}, {day}.\n"
        'Answer with JSON only: {"machine": as written in the note, "symptom": one of '
        f'[{symptoms}], "downtime_min": minutes lost (0 if none), "stopped": did production stop, '
        '"priority": "low", "medium" or "high"}.\n'
        "Priority: high if stopped for 45 minutes or more, medium if stopped for less, else low; "
        "one level up if a customer or a whole line waits, one level down if the note says it has "
        "time."
    )


def write_reply(words: Words, report: str, language: str, rng: random.Random) -> tuple[str, str]:
    """Return the user message and the answer of one reply exchange."""
    data = words["reply"]
    name, who = rng.sample(data["people"], 2)
    state = rng.choice(list(data["states"]))
    form = data[language]
    at = f"{rng.randint(6, 21):02d}:{rng.choice(['00', '15', '30', '45'])}"
    part, day = rng.randrange(len(form["parts"])), rng.randrange(len(form["days"]))
    facts = {"who": who, "at": at, "what": form["parts"][part], "day": form["days"][day]}
    # The desk's own system speaks English, whatever the reporter speaks.
    own = facts | {"what": data["en"]["parts"][part], "day": data["en"]["days"][day]}
    said = data["states"][state].format(**own)
    hello = rng.choice(form["hello"]).format(name=name)
    middle = [rng.choice(form["thanks"]), rng.choice(form[state]).format(**facts)]
    middle.append(rng.choice(form["extra"]))
    body = " ".join(sentence for sentence in middle if sentence)
    user = f"Reporter: {name}\nReport: {report}\nState: {said}\n\nDraft the answer."
    return user, f"{hello}\n\n{body}\n\n{rng.choice(form['bye'])}"


def arrival_times(count: int, rng: random.Random) -> list[datetime]:
    """Return `count` times in order: early, late and night shifts, less on Saturdays."""
    hours: dict[datetime, float] = {}
    for day in range(7 * WEEKS):
        if day % 7 >= WORKING_DAYS_PER_WEEK:
            continue
        start = datetime(FIRST_DAY.year, FIRST_DAY.month, FIRST_DAY.day, 6, tzinfo=UTC)
        for hour in range(24):
            load = 1.0 if hour < 8 else 0.75 if hour < 16 else 0.3
            saturday = 0.4 if hour < 16 else 0.0
            load *= saturday if day % 7 == 5 else 1.0
            hours[start + timedelta(days=day, hours=hour)] = load
    starts, ends = list(hours), list(accumulate(hours.values()))
    drawn = (starts[min(bisect(ends, rng.random() * ends[-1]), len(ends) - 1)]
             for _ in range(count))  # fmt: skip
    return sorted(start + timedelta(seconds=rng.randrange(3600)) for start in drawn)


def shift_lead(people: Sequence[str], plant: str, time: datetime) -> str:
    """Return who leads the shift: a weekly rota of nine people, three a plant and week."""
    shift = (time.hour - 6) % 24 // 8
    week = ((time - timedelta(hours=6)).date() - FIRST_DAY).days // 7
    return people[(shift + week + 3 * int(plant[-1])) % 9]


def exchange(
    task: Task, time: datetime, *, system: str, user: str, answer: str, rng: random.Random
) -> dict[str, Any]:
    """Return one line of the log; its fields are described in README.md."""
    latency = LATENCY_MEDIAN_MS[task] * rng.lognormvariate(0.0, LATENCY_SIGMA)
    prompt_tokens = (len(system) + len(user)) // 4 + 11
    completion_tokens = len(answer) // 4 + 1
    messages = [{"role": "system", "content": system}, {"role": "user", "content": user}]
    message = {"role": "assistant", "content": answer}
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "latency_ms": round(latency),
        "request": {"model": "teacher-large", "temperature": 0, "messages": messages},
        "response": {
            "id": "chatcmpl-" + "".join(rng.choices(string.hexdigits[:16], k=24)),
            "object": "chat.completion",
            "created": int(time.timestamp()),
            "model": "teacher-large",
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {
                "prompt_tokens": prompt_tokens,
                "completion_tokens": completion_tokens,
                "total_tokens": prompt_tokens + completion_tokens,
            },
        },
    }


def earlier(past: Sequence[tuple[int, Ticket]], rng: random.Random) -> tuple[int, Ticket]:
    """Return an earlier ticket to send again: an alarm, or something reported not long ago."""
    alarms = [entry for entry in past if entry[1].kind == "alarm"]
    if alarms and rng.random() < 0.6:
        return rng.choice(alarms)
    return rng.choice(past[-80:])


def generate(count: int = EXCHANGES, seed: int = SEED) -> Iterator[tuple[dict[str, Any], Truth]]:
    """Yield `count` exchanges in order of arrival, each with the truth about it."""
    words = load_words()
    # A stream for each purpose: changing one leaves the others as they are.
    text_rng, plan, wire = (random.Random(f"{seed}:{name}") for name in ("text", "plan", "wire"))
    writer = TicketWriter(words, text_rng)
    people: list[str] = words["reply"]["people"]
    past: list[tuple[int, Ticket]] = []
    number = 48_200
    for line, time in enumerate(arrival_times(count, random.Random(f"{seed}:time"))):
        task: Task = pick(plan, TASK_SHARES)
        kind: Kind = "plain"
        right: str | None = None
        repeat_of: int | None = None
        slip = False
        plant = pick(plan, PLANT_SHARES)
        if task == "route":
            new = line >= count // 2 and plan.random() < NEW_SHARE
            if past and not new and plan.random() < REPEAT_SHARE:
                repeat_of, ticket = earlier(past, plan)
                kind = "repeat"
            else:
                ticket = writer.write(new=new)
                kind = ticket.kind
                past.append((line, ticket))
            slip = plan.random() < (SLIP_SHARE if repeat_of is None else SLIP_SHARE_ON_REPEATS)
            right = ticket.queue
            answer = ticket.other if slip else ticket.queue
            lead = shift_lead(people, ticket.plant, time)
            system = route_prompt(words, ticket.plant, time.date(), lead)
            number += plan.randint(1, 3)
            user = f"Ticket {number} from line {ticket.line}:\n{ticket.text}\nQueue:"
        elif task == "record":
            note, record = write_note(words, text_rng)
            right = json.dumps(record, ensure_ascii=False)
            slip = plan.random() < RECORD_SLIP_SHARE
            if slip:
                record["priority"] = "low" if record["priority"] == "medium" else "medium"
            answer = json.dumps(record, ensure_ascii=False)
            system, user = record_prompt(words, plant, time.date()), f"Shift note:\n{note}"
        else:
            language = pick(text_rng, LANGUAGE_SHARES)
            user, answer = write_reply(words, writer.report(language), language, text_rng)
            system = (
                f"You answer for the maintenance desk of plant {plant}. Today is {time.date()}. "
                "Write two to four polite sentences in the language of the report. Promise "
                "nothing that the state does not say."
            )
        truth = Truth(line, task, kind, right, repeat_of, slip)
        line_of_log = exchange(task, time, system=system, user=user, answer=answer, rng=wire)
        yield line_of_log, truth


def encode(row: object) -> bytes:
    """Return a row as one line of UTF-8 JSON."""
    return json.dumps(row, ensure_ascii=False).encode() + b"\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the log and, if asked, the truth about it."""
    parser = argparse.ArgumentParser(description="Write the synthetic factory desk log.")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="gzipped JSON lines")
    parser.add_argument("--truth", type=Path, help="also write what each line is, as JSON lines")
    parser.add_argument("--count", type=int, default=EXCHANGES, help="number of exchanges")
    parser.add_argument("--seed", type=int, default=SEED)
    options = parser.parse_args(arguments)
    rows = list(generate(options.count, options.seed))
    log = b"".join(encode(row) for row, _ in rows)
    options.output.write_bytes(gzip.compress(log, compresslevel=9, mtime=0))
    if options.truth:
        options.truth.write_bytes(b"".join(encode(truth.__dict__) for _, truth in rows))


if __name__ == "__main__":
    main()

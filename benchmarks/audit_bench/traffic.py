"""A long stream of requests by applications that come, go and change, made from real texts.

Everything is fixed by a seed and the tables below, before anything is learned. Texts repeat, since
the data has fewer than a long stream needs: each is drawn with replacement, the r-th most popular
text of an application with a weight of r to the power of -0.7. Which text is how popular is drawn
too. The work orders are no draw: they come once, in their real order, with their real repetitions.
With ``once`` no text comes twice to an application, and the stream is as short as that makes it.

A human label as teacher is a perfect teacher, which no real one is. ``bank`` from its swap on, and
``desk``, have real answers of GPT-4 and GPT-3.5.
"""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from audit_bench.drifts import FEW
from openwheel.store import Exchange
from openwheel.wire import Answer
from shared import rows

Pair = tuple[str, str]

POPULARITY = 0.7
FIRST_TIME = 1_795_000_000.0
SECONDS_APART = 3.0

UNPARSED = "__unparsed__"
"""Stands for answers that the data set's authors could not read; left out."""

NEW_INTENT = "AddToPlaylist"
"""The first of SNIPS' intents in alphabetical order."""

WORDS = {
    "play": "put on",
    "music": "tunes",
    "song": "track",
    "alarm": "buzzer",
    "email": "letter",
    "weather": "sky",
    "calendar": "diary",
    "remind": "nudge",
    "reminder": "nudge",
    "meeting": "appointment",
    "lights": "lamps",
    "light": "lamp",
    "news": "headlines",
    "list": "rundown",
    "coffee": "brew",
    "traffic": "congestion",
    "train": "locomotive",
    "recipe": "instructions",
    "stock": "share",
    "joke": "gag",
    "radio": "broadcast",
    "podcast": "show",
    "restaurant": "diner",
    "takeaway": "carryout",
    "vacuum": "hoover",
    "volume": "loudness",
    "tweet": "post",
}
"""Other people's words for a voice assistant: chosen by reading the scenarios' names alone."""


class Era(NamedTuple):
    """What an application's texts and answers are, from some share of the stream on.

    Attributes:
        start: From which share of the stream on, in [0, 1].
        pairs: Texts with their answers.
        into: The same texts with the answers that they come to have by ``until``, evenly.
        until: The share of the stream by which they have.
        name: What changed, ``""`` for an application's first era.
    """

    start: float
    pairs: list[Pair]
    name: str = ""
    into: list[Pair] | None = None
    until: float = 0.0


class App(NamedTuple):
    """An application.

    Attributes:
        name: Of the application, which the loop does not know.
        system: Its system prompt.
        mix: Points ``(share of the stream, weight)``; between them the weight moves evenly.
        eras: One after the other.
        ordered: Whether its texts come as they are, each once.
    """

    name: str
    system: str
    mix: tuple[tuple[float, float], ...]
    eras: tuple[Era, ...]
    ordered: bool = False

    def weight(self, at: float) -> float:
        """Return its weight in the stream's mix."""
        places, weights = zip(*self.mix, strict=True)
        return float(np.interp(at, places, weights))

    def changes(self, requests: int) -> list[tuple[str, int, int]]:
        """Return each change with the requests at which it begins and has ended."""
        return [
            (era.name, int(era.start * requests), int(max(era.start, era.until) * requests))
            for era in self.eras
            if era.name
        ]


def bank() -> App:
    """72 intents; two of them turn out to be seven; then the teacher is another."""
    found = [(row["text"], row["label"]) for row in rows("banking77")]
    coarse = [(text, next((w for w in FEW if w in label), label)) for text, label in found]
    swapped = [
        (row["text"], row["gpt4"])
        for row in rows("ocats_banking77_gpt")
        if row.get("gpt4", UNPARSED) != UNPARSED
    ]
    return App(
        "bank",
        "You sort the messages that customers of our bank write in the app. Reply with the name "
        "of the queue that a message belongs to, in snake case, and nothing else.",
        ((0.0, 3.0), (1.0, 3.0)),
        (
            Era(0.0, coarse),
            Era(0.35, found, "labels split"),
            Era(0.65, swapped, "teacher swapped"),
        ),
    )


def snips() -> App:
    """Seven intents, one of which nobody has at first."""
    found = [(row["text"], row["intent"]) for row in rows("snips")]
    before = [pair for pair in found if pair[1] != NEW_INTENT]
    return App(
        "assistant",
        "Which intent does the user of a home assistant have? Answer with the intent's name only.",
        ((0.0, 2.0), (0.5, 2.5), (1.0, 1.0)),
        (Era(0.0, before), Era(0.45, found, "a new label")),
    )


def voice() -> App:
    """18 scenarios; other people with other words come."""
    found = [(row["text"], row["scenario"]) for row in rows("slurp_dev_test")]
    pattern = re.compile(r"\b(" + "|".join(WORDS) + r")\b", re.IGNORECASE)
    said = [
        (pattern.sub(lambda match: WORDS[match.group().lower()], text), label)
        for text, label in found
    ]
    return App(
        "voice",
        "You route what people say to a voice device. Name the scenario, one word.",
        ((0.2, 0.0), (0.3, 2.0), (1.0, 2.0)),
        (Era(0.0, found), Era(0.6, said, "other words")),
    )


def spam() -> App:
    """Spam or ham; it fades away."""
    return App(
        "messages",
        "Is this text message spam or ham? Reply with one of these two words.",
        ((0.0, 2.0), (0.35, 2.0), (0.7, 0.0)),
        (Era(0.0, [(row["text"], row["label"]) for row in rows("sms_spam")]),),
    )


def desk() -> App:
    """Real answers throughout; slowly those of GPT-3.5 in place of GPT-4's."""
    found = [row for row in rows("ocats_banking77_gpt") if row["split"] == "test"]
    found = [row for row in found if UNPARSED not in (row["gpt4"], row["gpt35_rep"])]
    before = [(row["text"], row["gpt4"]) for row in found]
    after = [(row["text"], row["gpt35_rep"]) for row in found]
    return App(
        "desk",
        "Classify the question a client asked at the help desk. Give the category's name.",
        ((0.1, 0.0), (0.2, 1.2), (1.0, 1.2)),
        (
            Era(0.0, before),
            Era(0.5, before, "teacher slowly swapped", after, 0.9),
            Era(0.9, after),
        ),
    )


def slots() -> App:
    """Records: the slots of a request, which students learn by the rung exact alone."""
    found = [
        (row["text"], json.dumps({name: values[0] for name, values in row["slots"].items()}))
        for row in rows("snips")
        if row["intent"] == "GetWeather"
    ]
    return App(
        "slots",
        "Take the slots out of the request for a weather forecast. Reply with a JSON object.",
        ((0.45, 0.0), (0.55, 1.0), (1.0, 1.0)),
        (Era(0.0, found),),
    )


def moderation() -> App:
    """Safe or unsafe; few texts."""
    return App(
        "moderation",
        "Decide whether a prompt is safe or unsafe to answer. Say safe or unsafe.",
        ((0.7, 0.0), (0.8, 0.5), (1.0, 0.5)),
        (Era(0.0, [(row["text"], row["label"]) for row in rows("xstest")]),),
    )


def workorders() -> App:
    """Work orders of a chiller plant in their real order, which may hide changes of its own."""
    return App(
        "work orders",
        "Assign a primary code to the description of a work order. Reply with the code alone.",
        ((0.0, 0.25), (1.0, 0.25)),
        (Era(0.0, [(row["text"], row["label"]) for row in rows("assetops_workorders")]),),
        ordered=True,
    )


APPS: tuple[Callable[[], App], ...] = (
    bank,
    snips,
    voice,
    spam,
    desk,
    slots,
    moderation,
    workorders,
)


class Source:
    """Draws an application's texts."""

    def __init__(self, app: App, rng: np.random.Generator, *, once: bool) -> None:
        self.app = app
        self._rng = rng
        self._once = once or app.ordered
        texts = sorted({text for era in app.eras for text, _ in era.pairs})
        popular = rng.permutation(len(texts)) + 1.0
        weights = dict(zip(texts, popular**-POPULARITY, strict=True))
        self._eras = list(app.eras)
        if app.ordered:
            self._left = [list(range(len(era.pairs)))[::-1] for era in self._eras]
        else:
            self._left = [rng.permutation(len(era.pairs)).tolist() for era in self._eras]
        self._said: set[str] = set()
        # What only a later era has answers for is left to it where texts come once.
        self._kept = {text for text, _ in self._eras[-1].pairs} if once else set()
        self._kept = self._kept if len(self._kept) < len(texts) // 2 else set()
        self._cumulative = []
        for era in self._eras:
            drawn = np.cumsum([weights[text] for text, _ in era.pairs])
            self._cumulative.append(drawn / drawn[-1])

    def draw(self, at: float) -> Pair | None:
        """Return a text and its answer at a share of the stream; None if there are no more."""
        place = max(i for i, era in enumerate(self._eras) if era.start <= at)
        era = self._eras[place]
        found = self._fresh(place) if self._once else self._popular(place)
        if found is None:
            return None
        slowly = era.into is not None and self._rng.random() * (era.until - era.start) < (
            at - era.start
        )
        return era.into[found] if slowly and era.into is not None else era.pairs[found]

    def _popular(self, place: int) -> int:
        return int(np.searchsorted(self._cumulative[place], self._rng.random(), side="right"))

    def _fresh(self, place: int) -> int | None:
        last = place == len(self._eras) - 1
        while self._left[place]:
            found = self._left[place].pop()
            text = self._eras[place].pairs[found][0]
            if self.app.ordered:
                return found
            if text not in self._said and (last or text not in self._kept):
                self._said.add(text)
                return found
        return None


def stream(
    apps: list[App], requests: int, seed: int, *, once: bool = False, named: bool = False
) -> Iterator[Exchange]:
    """Yield the requests with what their teachers say.

    Args:
        apps: Whose requests.
        requests: How many; fewer come if no application has texts left.
        seed: Of the order, the popularity and the mix.
        once: Whether no text comes twice to an application.
        named: Whether a swapped teacher has a name of its own; else the swap is silent.
    """
    rng = np.random.default_rng(seed)
    sources = [Source(app, rng, once=once) for app in apps]
    for number in range(requests):
        at = number / requests
        weights = np.array([source.app.weight(at) for source in sources])
        found = None
        while found is None and weights.sum() > 0:
            chosen = int(rng.choice(len(sources), p=weights / weights.sum()))
            found = sources[chosen].draw(at)
            if found is None:
                weights[chosen] = 0.0
        if found is None:
            return
        app = sources[chosen].app
        swapped = named and any(
            "swapped" in era.name and not era.into and era.start <= at for era in app.eras
        )
        yield exchange(app, number, *found, model="teacher-2" if swapped else "teacher-1")


def exchange(app: App, number: int, text: str, answer: str, *, model: str) -> Exchange:
    """Return a request as an application would send it, with its answer."""
    body: dict[str, Any] = {
        "model": model,
        "temperature": 0,
        "messages": [
            {"role": "system", "content": app.system},
            {"role": "user", "content": text},
        ],
    }
    return Exchange(
        id=f"{app.name}/{number}",
        time=FIRST_TIME + SECONDS_APART * number,
        request=json.dumps(body).encode(),
        answer=Answer(answer),
        source="teacher",
        model=model,
        teacher="teacher",
    )

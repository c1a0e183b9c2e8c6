"""Calls of tools on the rung linear, from a log to a certificate."""

import json
import random

from made_up_calls import SCHEMAS, call, calls, several_calls, tools_of
from made_up_records import name_of
from openwheel.loop.audit.query import Answered, losses_of
from openwheel.loop.offline.evaluate import evaluate
from openwheel.loop.offline.learn import learn
from openwheel.loop.resources import NO_RESOURCES
from openwheel.loop.serving import RegistryServing
from openwheel.loop.settings import LoopSettings
from openwheel.loop.subject import subject_of
from openwheel.loop.turn.curate import curate
from openwheel.tasks import answer_in, canonical_answer
from openwheel.wire import APIS, Answer, ToolCall

SETTINGS = LoopSettings(rungs=("exact", "linear"))
CHAT = APIS["chat"]


def request_of(text, schemas=SCHEMAS, **fields):
    said = [{"role": "user", "content": text}]
    offered = {"tools": tools_of("chat", schemas), "tool_choice": "auto"}
    return {"model": "m", "messages": said, **offered, **fields}


def rows_of(pairs, **fields):
    """Return lines of a log that holds requests and responses as they were on the wire."""
    read = CHAT.read_request(json.dumps(request_of("a", **fields)).encode())
    return [
        {"request": request_of(text, **fields), "response": json.loads(CHAT.body(answer, read))}
        for text, answer in pairs
    ]


def decide(serving, text, schemas=SCHEMAS, **fields):
    body = json.dumps(request_of(text, schemas, **fields)).encode()
    request = CHAT.read_request(body)
    return serving.decide(request, request.task)


def same(one, other):
    return canonical_answer(one, "tool_call") == canonical_answer(other, "tool_call")


def test_calls_are_learned_certified_and_given_beside_texts(store, registry, fill):
    fill(rows_of(calls(700, texts=0.15)))
    finding = learn(store, SETTINGS, source="made up").tasks[0]
    assert (finding.form, finding.rung) == ("tool_call", "linear")
    assert finding.certified, finding.reason
    assert finding.coverage > 0.6
    [certificate] = registry.certificates()
    names = {part.field for part in certificate.fields}
    assert {"name", "arguments.city", "arguments.people"} <= names
    serving = RegistryServing(registry)
    answered = texts = 0
    for text, answer in calls(80, seed=5, texts=0.3):
        decision = decide(serving, text)
        if not answer.tool_calls:
            texts += 1
            assert decision.answer is None
        elif decision.answer is not None:
            answered += 1
            given = answer_in(decision.answer, decision.form)
            assert (given.tool_calls, given.text) == (answer.tool_calls, "")  # to the byte
    assert answered > 30
    assert texts > 10
    latest = [exchange for _, exchange in store.exchanges()][-100:]
    found = evaluate(serving, latest)
    assert found.total.answered > 50
    assert found.total.disagreements == 0


def test_texts_that_cannot_be_told_from_calls_count_as_disagreement(store, fill):
    rng = random.Random(1)
    mixed = [
        (text, Answer("Which day do you mean?") if rng.random() < 0.1 else answer)
        for text, answer in calls(500)
    ]
    fill(rows_of(mixed))
    finding = learn(store, SETTINGS, source="made up").tasks[0]
    assert finding.form == "tool_call"
    assert not finding.certified
    assert "these are wrong: 'name' in" in finding.reason
    assert "order of lists" not in finding.reason


def test_several_calls_of_one_answer_are_learned_certified_and_given(store, registry, fill):
    fill(rows_of(several_calls(900)))
    finding = learn(store, SETTINGS, source="made up").tasks[0]
    assert (finding.form, finding.certified) == ("tool_call", True), finding.reason
    assert finding.coverage > 0.8
    [certificate] = registry.certificates()
    assert {"name", "arguments.city", "arguments.people"} <= {f.field for f in certificate.fields}
    serving = RegistryServing(registry)
    given = {1: 0, 2: 0}
    for text, answer in several_calls(120, seed=5):
        decision = decide(serving, text)
        if decision.answer is not None and same(answer_in(decision.answer, "tool_call"), answer):
            given[len(answer.tool_calls)] += 1
        if len(answer.tool_calls) == 2 and decision.answer is not None:
            alone = decide(serving, text, parallel_tool_calls=False)
            assert (alone.answer, alone.reason) in ((None, "settings"), (None, "tools"))
    assert min(given.values()) > 30
    latest = [exchange for _, exchange in store.exchanges()][-200:]
    found = evaluate(serving, latest).total
    assert found.answered > 150
    assert found.disagreements <= 2


def test_labels_of_several_calls_are_learned_of_each(store, registry, fill):
    rng = random.Random(0)
    switch = {"type": "object", "properties": {"room": {"type": "string"}}}
    states = {
        "switch on": (True, True),
        "it should be dark in": (False, False),
        "light for the first, none for the second:": (True, False),
        "only the last is to be lit:": (False, True),
    }
    pairs = []
    for _ in range(500):
        rooms, said = [name_of(rng).title() for _ in range(2)], rng.choice(list(states))
        made = [
            call("switch", {"room": room, "on": on, "tags": ["home"]})
            for room, on in zip(rooms, states[said], strict=True)
        ]
        both = Answer("", tuple(one.tool_calls[0] for one in made), "tool_calls")
        pairs.append((f"{said} {' and '.join(rooms)}", both))
    fill(rows_of(pairs, schemas={"switch": switch}))
    finding = learn(store, SETTINGS, source="made up").tasks[0]
    assert finding.certified, finding.reason
    assert finding.coverage > 0.9


def test_arguments_of_free_text_are_refused_with_their_name(store, fill):
    rng = random.Random(0)
    schemas = {"note": {"type": "object", "properties": {"text": {"type": "string"}}}}
    words = ["calm", "bright", "quick", "heavy", "round", "cold", "open", "late"]
    pairs = [
        (text, call("note", {"text": " ".join(rng.choices(words, k=9))})) for text, _ in calls(300)
    ]
    fill(rows_of(pairs, schemas=schemas))
    finding = learn(store, SETTINGS, source="made up").tasks[0]
    assert not finding.certified
    assert "no student could be trained" in finding.reason
    assert any(
        "'arguments.note.text' does not come out of the" in text for text in finding.warnings
    )


def test_schemas_that_cannot_be_checked_are_refused_with_the_keyword(store, fill):
    schemas = {**SCHEMAS, "list_orders": {"type": "object", "patternProperties": {"^a": {}}}}
    fill(rows_of(calls(300), schemas=schemas))
    finding = learn(store, SETTINGS, source="made up").tasks[0]
    assert not finding.certified
    assert any("patternProperties" in text for text in finding.warnings)


def test_a_named_task_is_not_answered_with_a_tool_that_its_request_does_not_offer(
    store, registry, fill
):
    """Requests of a named task need have no choice of tools in common; those of a template do."""
    named = {"metadata": {"task": "desk"}}
    pairs = calls(500)
    chosen = {**named, "tool_choice": "required"}
    rows = [rows_of(pairs[:250], **named), rows_of(pairs[250:], **chosen)]
    fill([row for both in zip(*rows, strict=True) for row in both])
    finding = learn(store, SETTINGS, source="made up").tasks[0]
    assert (finding.name, finding.template) == ("desk", "")
    assert finding.certified, finding.reason
    serving = RegistryServing(registry)
    text, answer = next(
        (text, answer)
        for text, answer in calls(60, seed=6)
        if answer.tool_calls[0].name == "get_weather"
        and decide(serving, text, **named).answer is not None
    )
    fewer = {name: schema for name, schema in SCHEMAS.items() if name != "get_weather"}
    assert decide(serving, text, fewer, **named).reason == "tools"
    city = {"type": "string", "maxLength": 1}
    narrow = {"get_weather": {"type": "object", "properties": {"city": city}}}
    assert decide(serving, text, {**SCHEMAS, **narrow}, **named).reason == "tools"
    wide = {"get_weather": {"type": "object", "properties": {}}}
    given = decide(serving, text, wide, **named)
    assert same(answer_in(given.answer, given.form), answer)
    assert decide(serving, text, tool_choice="none", **named).answer is None


def test_a_call_is_kept_with_its_spelling(store, fill):
    answer = Answer("", (ToolCall("f", '{"b":1,"a":[2]}'),), "tool_calls")
    fill(rows_of([("x", answer)]))
    [(_, exchange)] = store.exchanges()
    assert exchange.answer == answer


def test_audits_compare_calls(store, registry, fill):
    fill(rows_of(calls(60)))
    curate(store, registry, SETTINGS)
    [record] = registry.tasks()
    assert record.form == "tool_call"
    subject = subject_of(registry, record, SETTINGS, NO_RESOURCES)
    written = '{"arguments": {"b": 1, "a": 2}, "name": "f"}'
    [one] = call("f", {"a": 2, "b": 1}).tool_calls
    teachers = {
        Answer("I look it up.", (one,), "tool_calls"): 0.0,
        call("f", {"a": 2}): 1.0,
        call("g", {"a": 2, "b": 1}): 1.0,
        Answer("", (one, one), "tool_calls"): 1.0,
        Answer("", (one,), "length"): 1.0,
        Answer(written): 1.0,  # a text, though it reads as the student writes its call
    }
    rows = [Answered(("a",), teacher, written, ()) for teacher in teachers]
    assert losses_of(rows, subject) == [*teachers.values()]

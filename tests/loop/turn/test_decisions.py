"""Typed questions are found, learned, certified and served, each as a task of its own."""

import contextlib
import json
import random
import shutil

import msgspec
import pytest

from made_up import QUEUES, ticket
from openwheel.loop.audit.step import audit
from openwheel.loop.drift.reask import ask_again
from openwheel.loop.registry import Registry
from openwheel.loop.resources import NO_RESOURCES
from openwheel.loop.serving import RegistryServing
from openwheel.loop.settings import LoopSettings
from openwheel.loop.turn.curate import assign_new
from openwheel.loop.turn.turn import turn
from openwheel.settings import TaskSection
from openwheel.store import Exchange, Store
from openwheel.wire import DECISION_APIS, Answer, Reply, question_in
from openwheel.wire.question import predicate_answer, score_answer

API = DECISION_APIS["decisions"]
SETTINGS = LoopSettings()

QUEUE = {
    "type": "choice",
    "instructions": "Which queue should take this ticket?",
    "choices": [{"value": name} for name in QUEUES],
}
PAID = {"type": "predicate", "instructions": "Does the customer write about money?"}
URGENT = {
    "type": "score",
    "instructions": "How angry does the writer sound?",
    "levels": [{"label": "calm"}, {"label": "annoyed"}, {"label": "furious"}],
}
ALL = (QUEUE, PAID, URGENT)


def body(text, *questions, model="gpt-6-luna"):
    asked = {"model": model, "input": text, "questions": list(questions)}
    return json.dumps(asked).encode()


def answer_to(question, queue, rng, *, answers=None):
    """Return a teacher's answer about a ticket of a queue, with probabilities that wobble."""
    rest = rng.uniform(0.02, 0.1)
    if question["type"] == "predicate":
        return predicate_answer(round(1 - rest if queue == "billing" else rest, 4))
    if question["type"] == "score":
        level = {"delivery": 2, "product": 1}.get(queue, 0)
        return score_answer([round(1 - rest, 4) if i == level else rest / 2 for i in range(3)])
    names = [one["value"] for one in question["choices"]]
    chosen = queue if queue in names else names[0]
    shares = [(name, 1 - rest if name == chosen else rest / (len(names) - 1)) for name in names]
    return Answer(chosen, probabilities=tuple(shares))


def exchanges(n, *questions, seed=0, name="e"):
    """Return traffic of requests that ask all of the questions, an exchange for each of them."""
    rng, made = random.Random(seed), []
    for i in range(n):
        queue = rng.choice(list(QUEUES))
        text = ticket(rng, queue)
        made += [
            Exchange(
                id=f"{name}{seed}-{i}.{place}",
                time=1.7e9 + i,
                request=body(text, question),
                api="decisions",
                answer=answer_to(question, queue, rng),
                source="teacher",
                teacher="gpu",
                model="gpt-6-luna",
            )
            for place, question in enumerate(questions)
        ]
    return made


def asked(text, question):
    [request] = API.questions.split(body(text, question))
    return request


@pytest.fixture(scope="module")
def learned_once(tmp_path_factory):
    """Learn one question; return the folder and what the turn looked at."""
    folder = tmp_path_factory.mktemp("learned")
    with Store.open(folder / "openwheel.db") as store:
        store.append(exchanges(700, QUEUE))
        return folder, turn(store, SETTINGS).looked_at


@pytest.fixture
def learned(learned_once, tmp_path):
    """Open a copy of the store in which one question was learned."""
    folder, looked_at = learned_once
    shutil.copytree(folder, tmp_path / "copy")
    with Store.open(tmp_path / "copy" / "openwheel.db") as store:
        yield store, Registry(store), looked_at


def test_each_question_is_a_task_with_a_student_of_its_own(store, registry):
    store.append(exchanges(700, *ALL))
    turn(store, SETTINGS)
    records = registry.tasks()
    assert {record.task.question.type: record.task.name for record in records} == {
        "choice": "queue-should-take",
        "predicate": "does-customer-write",
        "score": "how-angry-does",
    }
    assert {record.form for record in records} == {"label"}
    certificates = {found.task_name: found for found in registry.certificates()}
    assert set(certificates) == {record.task.name for record in records}
    # A score is compared by the mean of its levels, unless the user says otherwise.
    assert certificates["how-angry-does"].compared.setting == "within:0.5"
    assert certificates["queue-should-take"].compared is None
    serving, rng = RegistryServing(registry), random.Random(9)
    said = {question["type"]: set() for question in ALL}
    for _ in range(40):
        queue = rng.choice(list(QUEUES))
        text = ticket(rng, queue)
        for question in ALL:
            decision = serving.decide(asked(text, question))
            if decision.answer is not None:
                assert decision.answer == answer_to(question, queue, rng).text
                said[question["type"]].add(decision.answer)
    assert said == {
        "choice": set(QUEUES),
        "predicate": {"true", "false"},
        "score": {"0", "1", "2"},
    }


def test_a_question_beside_others_is_the_same_task(store, registry):
    store.append(exchanges(30, QUEUE, seed=1))
    store.append(exchanges(30, PAID, QUEUE, seed=2))
    turn(store, SETTINGS)
    assert sorted(store.task_counts().values()) == [30, 60]


def test_fewer_than_twenty_are_no_task_and_a_named_one_is_its_question(store, registry):
    store.append(exchanges(19, QUEUE))
    turn(store, SETTINGS)
    assert registry.tasks() == []
    store.append(exchanges(1, QUEUE, seed=5))
    turn(store, SETTINGS)
    [record] = registry.tasks()
    assert question_in(record.task.template.response_format).answers == tuple(QUEUES)
    assert "Which queue should take" in record.task.template.describe()


WORDED_ANEW = {**QUEUE, "instructions": "Which queue is to take this ticket?"}
MORE_CHOICES = {**QUEUE, "choices": [*QUEUE["choices"], {"value": "sales"}]}
FEWER_CHOICES = {**QUEUE, "choices": QUEUE["choices"][:3]}


@pytest.mark.parametrize(
    "changed",
    [
        FEWER_CHOICES,
        pytest.param(WORDED_ANEW, marks=pytest.mark.evidence),
        pytest.param(MORE_CHOICES, marks=pytest.mark.evidence),
    ],
)
def test_a_changed_question_is_a_new_task_that_the_old_ones_student_shadows_at_once(
    learned, changed
):
    store, registry, looked_at = learned
    [before] = registry.certificates()
    store.append(exchanges(30, changed, seed=1))
    done = turn(store, SETTINGS, after=looked_at)
    [(shadow, state, _)] = registry.candidates(state="shadow")
    new = next(record.task for record in registry.tasks() if record.task.id != before.task)
    assert (shadow.task_id, state, shadow.inherited) == (new.id, "shadow", before.task)
    assert [event.task for event in done.events if event.kind == "shadowing"] == [new.name]
    # What chose the student does not judge it: nothing is certified before more has come.
    assert shadow.judged_after == done.looked_at
    assert [one.task for one in registry.certificates()] == [before.task]
    assert RegistryServing(registry).decide(asked("refund", changed)).reason == "no student"
    for seed in range(2, 8):
        store.append(exchanges(60, changed, seed=seed))
        done = turn(store, SETTINGS, after=done.looked_at)
        if len(registry.certificates()) > 1:
            break
    certificate = registry.certificates()[-1]
    assert (certificate.task, certificate.student) == (new.id, shadow.id)
    assert certificate.calibration_window.first_seq > shadow.judged_after
    assert certificate.training == before.training
    serving = RegistryServing(registry)
    rng = random.Random(4)
    said = {serving.decide(asked(ticket(rng, "product"), changed)).answer for _ in range(20)}
    # A choice that there is no more is never said.
    assert said - {None} <= {one["value"] for one in changed["choices"]} | {"product"}


@pytest.mark.parametrize(
    "other",
    [
        {**QUEUE, "instructions": "In which language is it, judged by nothing but its words?"},
        {**QUEUE, "choices": [{"value": "a"}, {"value": "b"}]},
        PAID,
    ],
)
def test_another_question_has_no_students_at_first(learned, other):
    store, registry, looked_at = learned
    store.append(exchanges(30, other, seed=1))
    turn(store, SETTINGS, after=looked_at)
    assert registry.candidates(state="shadow") == []


def test_a_student_that_is_bad_at_the_changed_question_does_not_shadow(learned):
    store, registry, looked_at = learned
    other = {"billing": "account"}
    store.append(
        [
            msgspec.structs.replace(one, answer=Answer(other.get(one.answer.text, "billing")))
            for one in exchanges(30, WORDED_ANEW, seed=1)
        ]
    )
    turn(store, SETTINGS, after=looked_at)
    assert registry.candidates(state="shadow") == []


def audits_of(question, decision, texts, teacher):
    return [
        Exchange(
            id=f"{i}-audit",
            request=body(text, question),
            api="decisions",
            answer=teacher,
            source="teacher",
            teacher="gpu",
            model="gpt-6-luna",
            audit_probability=0.05,
            student=decision.student,
            student_answer=decision.answer,
            student_probabilities=(("true", 0.9), ("false", 0.1)),
            confidence=0.99,
        )
        for i, text in enumerate(texts)
    ]


@pytest.mark.parametrize(
    ("threshold", "taken_off"),
    [pytest.param(0.5, False, marks=pytest.mark.evidence), (0.7, True)],
)
def test_an_audit_compares_by_the_applications_threshold(store, registry, threshold, taken_off):
    store.append(exchanges(800, PAID))
    name = "does-customer-write"
    settings = LoopSettings(tasks={name: TaskSection(compare=f"side:{threshold}")})
    turn(store, settings)
    [certificate] = registry.certificates()
    assert certificate.compared.setting == f"side:{threshold}"
    rng = random.Random(3)
    texts = [ticket(rng, "billing") for _ in range(200)]
    decision = RegistryServing(registry).decide(asked(texts[0], PAID))
    # The teacher has come to be less sure: 0.6 is on the same side of 0.5, not of 0.7.
    store.append(audits_of(PAID, decision, texts, predicate_answer(0.6)))
    events = audit(store, registry, settings)
    assert [event.kind == "demoted" for event in events] == [True] * taken_off


def test_a_class_that_was_never_seen_is_not_made_up(store, registry):
    rows = [one for one in exchanges(700, QUEUE) if one.answer.text != "product"]
    store.append(rows)
    turn(store, SETTINGS)
    serving = RegistryServing(Registry(store))
    decision = serving.decide(asked("broken screen battery button noise", QUEUE))
    assert decision.answer != "product"


def chats(n, *, seed=0, name="c"):
    """Return chat traffic that asks for the queue of a ticket."""
    rng, made = random.Random(seed), []
    for i in range(n):
        queue = rng.choice(list(QUEUES))
        said = [
            {"role": "system", "content": "Sort the ticket. Answer with one queue and no more."},
            {"role": "user", "content": ticket(rng, queue)},
        ]
        asked = {"model": "big", "temperature": 0, "messages": said}
        made.append(
            Exchange(
                id=f"{name}{seed}-{i}",
                time=1.7e9 + i,
                request=json.dumps(asked).encode(),
                answer=Answer(queue),
                source="teacher",
                teacher="gpu",
                model="big",
            )
        )
    return made


def names_of(registry):
    return {record.task.question is not None: record.task.name for record in registry.tasks()}


@pytest.mark.parametrize("chat_first", [True, pytest.param(False, marks=pytest.mark.evidence)])
def test_one_tasks_student_is_tried_on_another_api_where_the_user_says_so(
    store, registry, chat_first
):
    def first(n, seed):
        return chats(n, seed=seed) if chat_first else exchanges(n, QUEUE, seed=seed)

    def other(n, seed):
        return exchanges(n, QUEUE, seed=seed) if chat_first else chats(n, seed=seed)

    store.append(first(700, 0))
    looked_at = turn(store, SETTINGS).looked_at
    [before] = registry.certificates()
    store.append(other(25, 1))
    done = turn(store, SETTINGS, after=looked_at)
    assert registry.candidates(state="shadow") == []
    proposed = [event.reason for event in done.events if "same_as" in event.reason]
    # A choice is compared with tasks of labels; a chat says nothing of what may be answered.
    assert [before.task_name in reason for reason in proposed] == [True] * chat_first
    names = names_of(registry)
    new = names[chat_first]
    settings = LoopSettings(tasks={new: TaskSection(same_as=names[not chat_first])})
    store.append(other(5, 2))
    done = turn(store, settings, after=done.looked_at)
    [(shadow, _, _)] = registry.candidates(state="shadow")
    assert shadow.inherited == before.task
    for seed in range(3, 9):
        store.append(other(60, seed))
        done = turn(store, settings, after=done.looked_at)
        if len(registry.certificates()) > 1:
            break
    certificate = registry.certificates()[-1]
    assert (certificate.task_name, certificate.student) == (new, shadow.id)
    serving, rng = RegistryServing(registry), random.Random(5)
    answered = []
    for _ in range(30):
        request = other(1, rng.randrange(10**6))[0].read()
        decision = serving.decide(request)
        answered.append(decision.answer)
        if chat_first and decision.answer is not None:
            assert {text for text, _ in decision.probabilities} <= set(QUEUES)
    assert set(answered) - {None} == set(QUEUES)


def test_a_task_that_does_not_fit_is_said_to_be_none(store, registry):
    store.append(exchanges(700, PAID))
    looked_at = turn(store, SETTINGS).looked_at
    store.append(exchanges(30, QUEUE, seed=1))
    settings = LoopSettings(tasks={"queue-should-take": TaskSection(same_as="does-customer-write")})
    done = turn(store, settings, after=looked_at)
    assert any("(same_as) is good enough" in event.reason for event in done.events)
    assert registry.candidates(state="shadow") == []


def test_a_second_answer_is_compared_with_the_probabilities_of_the_first(store, registry):
    first = exchanges(800, PAID)
    store.append(first)
    sections = {"does-customer-write": TaskSection(compare="difference")}
    settings = LoopSettings(ask_twice=1.0, epsilon=0.2, tasks=sections)
    turn(store, settings)
    assert registry.certificates()
    said = {one.request: one.answer for one in first}

    @contextlib.asynccontextmanager
    async def connect():
        async def ask(api, request):
            assert api == "decisions"
            return Reply(said[request], "gpt-6-luna"), "gpu"

        yield ask

    resources = msgspec.structs.replace(NO_RESOURCES, connect_again=connect)
    ask_again(registry, settings, resources)  # counts from here on
    store.append(exchanges(10, PAID, seed=3))
    assign_new(store, registry, after=0)
    ask_again(registry, settings, resources, seed=1)
    with store.read() as connection:
        losses = connection.exec_driver_sql("SELECT loss FROM asked_twice").scalars().all()
    assert losses == [0.0] * 10

"""Typed questions through a gateway: forwarded, answered by students, mixed, refused."""

import dataclasses
import json

import pytest

from openwheel.loop.serving import Decision
from openwheel.teachers import NoTeacher
from openwheel.wire import DECISION_APIS, Answer, question_in
from teacher import hangs_up, respond
from wire.decisions import ANSWERS, NAMES, answering, asking

from .conftest import WordServing

every_api = pytest.mark.parametrize("name", list(DECISION_APIS))
PATHS = {name: api.path for name, api in DECISION_APIS.items()}
KINDS = ("predicate", "choice", "score")


@dataclasses.dataclass
class QuestionServing(WordServing):
    """Has a student that answers questions of some types."""

    sure: tuple[str, ...] = KINDS

    def decide(self, request, task="", key=""):
        question = question_in(request.prompt.response_format)
        self.asked.append((request.prompt, task))
        answer = ANSWERS[KINDS.index(question.type)]
        sure = question.type in self.sure
        return Decision(
            answer=answer.text if sure else None,
            below_threshold_answer=None if sure else answer.text,
            task=question.type,
            student=f"{question.type}-1",
            confidence=0.97 if sure else 0.25,
            audit_probability=self.audit_probability,
            canary=self.canary,
            reason="" if sure else "confidence",
            probabilities=answer.probabilities,
        )


@pytest.fixture
def teacher(upstream):
    """Answer the questions that are asked, as a vendor does."""

    async def script(asked, writer):
        [name] = [name for name, path in PATHS.items() if path == asked.path]
        found = json.loads(asked.body)["questions"]
        if name == "systemone":
            places = [NAMES.index(one) for one in found]
        else:
            places = [("predicate", "choice", "score").index(one["type"]) for one in found]
        writer.write(respond(answering(name, *places), "x-request-id: req_teacher"))

    upstream.answer = script
    return upstream


def answers_in(data, name):
    answers = json.loads(data)["answers"]
    return answers if name == "decisions" else [answers[one] for one in NAMES if one in answers]


@every_api
def test_what_no_student_answers_passes_byte_for_byte(gateway, teacher, http, name):
    running, body = gateway(), asking(name, temperature=0.0)
    reply = http("POST", running.url + PATHS[name], body)
    assert reply.data == answering(name)
    assert [one.body for one in teacher.received] == [body]
    assert reply.headers["x-openwheel-source"] == "teacher"
    assert reply.headers["x-request-id"] == "req_teacher"


@every_api
def test_each_question_is_an_exchange_of_its_own_with_all_probabilities(
    gateway, teacher, http, name
):
    running = gateway()
    http("POST", running.url + PATHS[name], asking(name))
    kept = running.exchanges(3)
    assert tuple(one.answer for one in kept) == ANSWERS
    assert {(one.api, one.source, one.model, one.unbiased) for one in kept} == {
        (name, "teacher", "big-1", True)
    }
    assert [question_in(one.prompt().response_format).type for one in kept] == list(KINDS)
    assert all(one.prompt().plain for one in kept)
    assert sum(one.usage.prompt_tokens for one in kept) == 61
    common = kept[0].id.removesuffix(".0")
    assert [one.id for one in kept] == [f"{common}.{i}" for i in range(3)]


@every_api
def test_one_question_is_kept_as_it_was_sent(gateway, teacher, http, name):
    running, body = gateway(), asking(name, 1, temperature=0.5)
    http("POST", running.url + PATHS[name], body)
    [kept] = running.exchanges(1)
    assert (kept.request, kept.request_id) == (body, "req_teacher")
    assert "." not in kept.id


@every_api
def test_students_answer_every_question(gateway, teacher, http, name):
    running = gateway(serving=QuestionServing())
    reply = http("POST", running.url + PATHS[name], asking(name))
    assert answers_in(reply.data, name) == answers_in(answering(name), name)
    assert not teacher.received
    assert json.loads(reply.data)["model"] == "m"
    assert json.loads(reply.data)["usage"]["input_tokens"] == 0
    assert reply.headers["x-openwheel-source"] == "student"
    assert reply.headers["x-openwheel-confidences"] == "0.9700, 0.9700, 0.9700"
    assert reply.headers["x-openwheel-probabilities"] == "0.9800, 0.9000, 0.7000"
    assert reply.headers["x-openwheel-tasks"] == "predicate, choice, score"
    kept = running.exchanges(3)
    assert tuple(one.answer for one in kept) == ANSWERS
    assert {(one.source, one.unbiased) for one in kept} == {("student", False)}
    identity = reply.headers[DECISION_APIS[name].id_header.decode()]
    assert [one.id for one in kept] == [f"{identity}.{i}" for i in range(3)]


@every_api
def test_one_question_has_its_own_probability_and_the_gates_confidence(
    gateway, teacher, http, name
):
    running = gateway(serving=QuestionServing())
    reply = http("POST", running.url + PATHS[name], asking(name, 1))
    assert reply.headers["x-openwheel-confidence"] == "0.9700"
    assert reply.headers["x-openwheel-probability"] == "0.9000"
    assert reply.headers["x-openwheel-task"] == "choice"


@every_api
@pytest.mark.parametrize("sure", [("predicate",), ("choice",), ("predicate", "score")])
def test_the_rest_alone_goes_to_the_teacher_and_answers_are_joined(
    gateway, teacher, http, name, sure
):
    running = gateway(serving=QuestionServing(sure=sure))
    reply = http("POST", running.url + PATHS[name], asking(name, temperature=0.0))
    assert answers_in(reply.data, name) == answers_in(answering(name), name)
    assert json.loads(reply.data)["model"] == "big-1"
    [asked] = teacher.received
    rest = [i for i, kind in enumerate(KINDS) if kind not in sure]
    assert json.loads(asked.body) == json.loads(asking(name, *rest, temperature=0.0))
    assert reply.headers["x-openwheel-source"] == "mixed"
    sources = ["student" if kind in sure else "teacher" for kind in KINDS]
    assert reply.headers["x-openwheel-sources"] == ", ".join(sources)
    kept = sorted(running.exchanges(3), key=lambda one: one.id)
    assert [one.source for one in kept] == sources
    # What students deferred is kept with what they would have said; it is no evidence.
    assert [one.student_guess for one in kept] == [
        None if kind in sure else answer.text for kind, answer in zip(KINDS, ANSWERS, strict=True)
    ]
    assert [one.student_probabilities for one in kept] == [
        () if kind in sure else answer.probabilities
        for kind, answer in zip(KINDS, ANSWERS, strict=True)
    ]
    identity = reply.headers[DECISION_APIS[name].id_header.decode()]
    assert [one.id for one in kept] == [f"{identity}.{i}" for i in range(3)]


@every_api
def test_audits_of_a_request_share_one_call_and_are_evidence(gateway, teacher, http, name):
    serving = QuestionServing(audit_probability=0.3, sure=("predicate", "score"))
    running = gateway(serving=serving, rng=lambda: 0.2)
    http("POST", running.url + PATHS[name], asking(name))
    kept = running.exchanges(5)
    audits = [one for one in kept if one.id.endswith("-audit")]
    assert [one.unbiased for one in audits] == [True, True]
    assert [one.student_answer for one in audits] == ["true", "2"]
    assert [one.student_probabilities for one in audits] == [
        ANSWERS[0].probabilities,
        ANSWERS[2].probabilities,
    ]
    assert {one.audit_probability for one in audits} == {0.3}
    # One call for what students deferred, one for what is audited.
    assert [len(json.loads(one.body)["questions"]) for one in teacher.received] == [1, 2]
    [deferred] = [one for one in kept if one.student_guess is not None]
    assert deferred.unbiased  # the coin picked the request, whatever a student would have done


@every_api
def test_what_the_canary_holds_back_goes_to_the_teacher_with_the_rest(gateway, teacher, http, name):
    serving = QuestionServing(audit_probability=0.9, canary=0.2)
    running = gateway(serving=serving, rng=lambda: 0.5)
    reply = http("POST", running.url + PATHS[name], asking(name))
    assert reply.data == answering(name)
    kept = running.exchanges(3)
    assert [one.student_answer for one in kept] == [one.text for one in ANSWERS]
    assert all(one.unbiased for one in kept)


@every_api
@pytest.mark.parametrize("status", [400, 422, 429, 500])
def test_a_teachers_error_on_the_rest_is_the_clients_answer(gateway, upstream, http, name, status):
    upstream.answers(b'{"error":{"message":"no"}}', status=status)
    running = gateway(serving=QuestionServing(sure=("predicate",)))
    reply = http("POST", running.url + PATHS[name], asking(name))
    assert (reply.status, reply.data) == (status, b'{"error":{"message":"no"}}')
    kept = running.exchanges(2 if status in {400, 422} else 0)
    assert {one.answer.finish_reason for one in kept} <= {"rejected"}


@every_api
@pytest.mark.parametrize("body", [b"{}", b'{"answers":', b"[1]"])
def test_what_cannot_be_joined_is_an_error_and_no_exchange(gateway, upstream, http, name, body):
    upstream.answers(body)
    running = gateway(serving=QuestionServing(sure=("predicate",)))
    reply = http("POST", running.url + PATHS[name], asking(name))
    assert reply.status == 502
    assert "cannot be joined" in json.loads(reply.data)["error"]["message"]
    running.exchanges(0)


@every_api
def test_a_rest_that_breaks_off_is_an_error_and_no_exchange(gateway, upstream, http, name):
    body = answering(name)
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    upstream.writes(head % len(body) + body[:20], close=True)
    running = gateway(serving=QuestionServing(sure=("predicate",)))
    reply = http("POST", running.url + PATHS[name], asking(name))
    assert (reply.status, reply.headers["content-type"]) == (502, "application/json")
    error = json.loads(reply.data)["error"]
    assert "the rest broke off" in error["message"]
    running.exchanges(0)


@every_api
def test_a_refused_question_is_no_answer_and_the_others_are(gateway, upstream, http, name):
    sent = json.loads(answering(name))
    refusal = {"type": "refusal", "name": None}
    if name == "decisions":
        sent["answers"][1] = refusal
    else:
        sent["answers"]["queue"] = refusal
    upstream.answers(json.dumps(sent).encode())
    running = gateway()
    http("POST", running.url + PATHS[name], asking(name))
    kept = running.exchanges(3)
    assert [one.answer.complete for one in kept] == [True, False, True]


@every_api
def test_students_stand_in_for_a_teacher_that_is_down_if_they_can_answer_all(
    gateway, upstream, http, name
):
    upstream.answer = hangs_up
    serving = QuestionServing(audit_probability=0.9, canary=0.2)
    running = gateway(serving=serving, rng=lambda: 0.5)
    reply = http("POST", running.url + PATHS[name], asking(name))
    assert reply.status == 200
    assert reply.headers["x-openwheel-source"] == "student"
    assert reply.headers["x-openwheel-fallback"] == "teacher_unreachable"
    assert answers_in(reply.data, name) == answers_in(answering(name), name)
    serving.sure = ("predicate", "score")
    refused = http("POST", running.url + PATHS[name], asking(name))
    assert refused.status == 502
    running.exchanges(3)


@every_api
def test_best_effort_answers_the_rest_while_the_teacher_is_down(gateway, upstream, http, name):
    upstream.answer = hangs_up
    serving = QuestionServing(sure=("predicate", "score"))
    running = gateway(serving=serving, best_effort={"choice": True})
    reply = http("POST", running.url + PATHS[name], asking(name))
    assert reply.headers["x-openwheel-source"] == "best-effort"
    assert reply.headers["x-openwheel-sources"] == "student, best-effort, student"
    assert [one.source for one in running.exchanges(3)] == ["student", "best_effort", "student"]


@every_api
@pytest.mark.parametrize("body", [b"{", b"{}", b"\xff", b'{"model":"m","input":"x","state":"x"}'])
def test_what_is_no_request_is_the_teachers_to_refuse(gateway, upstream, http, name, body):
    upstream.answers(b'{"error":{"message":"bad"}}', status=400)
    running = gateway(serving=QuestionServing())
    reply = http("POST", running.url + PATHS[name], body)
    assert reply.status == 400
    assert [one.body for one in upstream.received] == [body]
    running.exchanges(0)


@every_api
def test_an_answer_that_is_none_to_the_question_is_not_given(gateway, teacher, http, name):
    class Maybe(QuestionServing):
        def decide(self, request, task="", key=""):
            return Decision(answer="maybe", task="t", student="s", confidence=1.0)

    running = gateway(serving=Maybe())
    reply = http("POST", running.url + PATHS[name], asking(name, 0))
    assert reply.headers["x-openwheel-source"] == "teacher"


@every_api
def test_strict_capture_keeps_every_question_before_the_answer(gateway, teacher, http, name):
    running = gateway(serving=QuestionServing(sure=("predicate",)), mode="strict")
    http("POST", running.url + PATHS[name], asking(name))
    assert len(running.store.exchanges) == 3


@every_api
def test_tasks_are_counted_by_question(gateway, teacher, http, name):
    running = gateway(serving=QuestionServing(sure=("predicate",)))
    http("POST", running.url + PATHS[name], asking(name))
    page = http("GET", f"{running.url}/metrics").data.decode()
    assert f'openwheel_requests_total{{api="{name}",source="mixed",status="200"}} 1' in page
    for kind, source in (("predicate", "student"), ("choice", "teacher"), ("score", "teacher")):
        assert f'{{source="{source}",task="{kind}"}} 1' in page


@every_api
def test_many_questions_are_answered_without_headers_for_each(gateway, upstream, http, name):
    one = {"type": "predicate" if name == "decisions" else "noul", "instructions": "Is it spam?"}
    many = [{**one, "instructions": f"Is it spam {i}?"} for i in range(400)]
    if name == "decisions":
        body = json.dumps({"model": "m", "input": "x", "questions": many})
    else:
        named = {f"q{i}": question for i, question in enumerate(many)}
        body = json.dumps({"model": "m", "state": "x", "questions": named})
    running = gateway(serving=QuestionServing())
    reply = http("POST", running.url + PATHS[name], body.encode())
    assert len(json.loads(reply.data)["answers"]) == 400
    assert reply.headers["x-openwheel-source"] == "student"
    assert "x-openwheel-tasks" not in reply.headers
    assert (
        Answer("true", probabilities=ANSWERS[0].probabilities) == running.exchanges(400)[0].answer
    )


@every_api
def test_without_a_teacher_students_answer_and_the_rest_is_named(gateway, http, name):
    serving = QuestionServing(audit_probability=0.9, canary=0.2)
    running = gateway(NoTeacher(), serving=serving, rng=lambda: 0.5)
    reply = http("POST", running.url + PATHS[name], asking(name))
    assert (reply.status, reply.headers["x-openwheel-source"]) == (200, "student")
    assert reply.headers["x-openwheel-fallback"] == "no_teacher"
    serving.sure = ("predicate", "score")
    refused = http("POST", running.url + PATHS[name], asking(name))
    error = json.loads(refused.data)["error"]
    assert (refused.status, error["code"]) == (404, "no_teacher")
    assert error["message"] == (
        "There is no teacher here: certified students alone answer, and not this: choice: the "
        "student is not sure enough."
    )
    serving.student = ""
    unread = http("POST", running.url + PATHS[name], b"{}")
    assert "it is no request that a student reads" in unread.data.decode()
    running.exchanges(3)


def test_without_a_teacher_a_question_of_no_task_is_named_by_its_words(gateway, http):
    class Nobody(WordServing):
        def decide(self, request, task="", key=""):
            return Decision(reason="no task")

    running = gateway(NoTeacher(), serving=Nobody())
    refused = http("POST", running.url + PATHS["decisions"], asking("decisions", 1))
    message = json.loads(refused.data)["error"]["message"]
    assert "'Which queue?': no student is certified for it" in message

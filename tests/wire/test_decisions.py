"""The APIs for typed questions: both pass the same checks."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types import Decision

from fuzz import fuzz
from openwheel.errors import RequestError, TeacherError
from openwheel.wire import DECISION_APIS, Answer, Usage, question_in
from openwheel.wire.question import chances_of, expectation, predicate_answer, score_answer

from .decisions import ANSWERS, NAMES, QUESTIONS, TEXT, answering, asking
from .test_contract import bodies, values, words

every_api = pytest.mark.parametrize("api", DECISION_APIS.values(), ids=DECISION_APIS)
OFTEN = {"short": 50, "long": 1_000}


@every_api
def test_each_question_is_a_request_of_its_own(api):
    paid, queue, urgency = api.questions.split(asking(api.name))
    asked = [question_in(one.prompt.response_format) for one in (paid, queue, urgency)]
    assert [one.type for one in asked] == ["predicate", "choice", "score"]
    assert asked[1].answers == ("billing", "technical", "other")
    assert asked[2].answers == ("0", "1", "2")
    for request in (paid, queue, urgency):
        assert [message.text for message in request.prompt.messages] == [TEXT]
        assert request.prompt.plain
        assert (request.model, dict(request.settings)) == ("m", {"model": '"m"'})


@every_api
def test_the_same_question_is_one_wherever_it_stands(api):
    alone = api.questions.split(asking(api.name, 1))[0]
    for request in (asking(api.name, 0, 1), asking(api.name, 1, 2)):
        texts = [one.prompt.response_format for one in api.questions.split(request)]
        assert alone.prompt.response_format in texts


def test_a_choice_and_a_score_are_the_same_question_in_both_apis():
    first, other = (api.questions.split(asking(api.name)) for api in DECISION_APIS.values())
    for mine, theirs in zip(first, other, strict=True):
        assert mine.prompt == theirs.prompt


@every_api
@pytest.mark.parametrize("change", ["wording", "choice", "order", "description"])
def test_another_wording_or_choice_is_another_question(api, change):
    asked = json.loads(json.dumps(QUESTIONS[api.name][1]))
    if api.name == "decisions":
        choices = asked["choices"]
        if change == "choice":
            choices.append({"value": "sales"})
        if change == "order":
            choices.reverse()
        if change == "description":
            choices[0]["description"] = "Bills"
    else:
        criteria = asked["criteria"]
        if change == "choice":
            criteria["sales"] = None
        if change == "order":
            asked["criteria"] = dict(reversed(criteria.items()))
        if change == "description":
            criteria["billing"] = "Bills"
    if change == "wording":
        asked["instructions"] = "Which team?"
    [before] = api.questions.split(asking(api.name, 1))
    [after] = api.questions.split(asking(api.name, 0, questions=[asked]))
    assert before.prompt.response_format != after.prompt.response_format


@every_api
def test_answers_are_read_with_all_their_probabilities(api):
    requests = api.questions.split(asking(api.name))
    replies = api.questions.read_replies(answering(api.name), requests)
    assert tuple(reply.answer for reply in replies) == ANSWERS
    assert {reply.model for reply in replies} == {"big-1"}
    assert sum(reply.usage.prompt_tokens for reply in replies) == 61
    assert sum(reply.usage.completion_tokens for reply in replies) == 3
    assert api.read_reply(answering(api.name, 1)).answer == ANSWERS[1]
    assert api.read_reply(answering(api.name, 1)).usage == Usage(61, 3)


@every_api
def test_students_write_what_a_teacher_would(api):
    requests = api.questions.split(asking(api.name))
    written = json.loads(api.questions.body(ANSWERS, requests, Usage(61, 3)))
    sent = json.loads(answering(api.name))
    assert written == {**sent, "model": "m"}
    if api.name == "decisions":
        Decision.model_validate(written, strict=True)


@every_api
def test_answers_are_joined_in_order_the_teachers_as_it_sent_them(api):
    requests = api.questions.split(asking(api.name))
    body = answering(api.name, 1).replace(b'"confidence": 0.9,', b'"confidence": 9.0e-1,"new":[1],')
    joined = api.questions.join(requests, {0: ANSWERS[0], 2: ANSWERS[2]}, body, [1])
    assert b'"confidence": 9.0e-1,"new":[1],' in joined
    found = json.loads(joined)
    sent = json.loads(answering(api.name))
    answers = found["answers"] if api.name == "decisions" else list(found["answers"].values())
    expected = sent["answers"] if api.name == "decisions" else list(sent["answers"].values())
    assert answers == [expected[0], {**expected[1], "new": [1]}, expected[2]]
    assert (found["model"], found["usage"]) == (sent["model"], sent["usage"])
    if api.name == "systemone":
        assert list(found["answers"]) == list(NAMES)


@every_api
def test_a_request_is_written_with_some_of_its_questions_all_else_as_it_was(api):
    body = asking(api.name, temperature=1.0)
    some = api.questions.only(body, [0, 2])
    assert [one.prompt for one in api.questions.split(some)] == [
        one.prompt for i, one in enumerate(api.questions.split(body)) if i != 1
    ]
    assert b'"temperature":1.0' in some
    alone = api.questions.alone(body)
    assert [api.read_request(one).prompt for one in alone] == [
        one.prompt for one in api.questions.split(body)
    ]


@every_api
def test_several_questions_are_no_request_that_one_answer_answers(api):
    assert not api.read_request(asking(api.name)).prompt.plain
    assert api.read_request(asking(api.name, 0)).prompt.plain


def test_a_boolean_choice_is_not_the_string():
    api = DECISION_APIS["decisions"]
    ask = {"type": "choice", "instructions": "?", "choices": [{"value": True}, {"value": "no"}]}
    body = json.dumps({"model": "m", "input": "x", "questions": [ask]}).encode()
    [request] = api.questions.split(body)
    written = json.loads(api.body(Answer("true"), request))["answers"][0]
    assert written["choice"] is True
    assert [one["value"] for one in written["probabilities"]] == [True, "no"]
    both = json.loads(body)
    both["questions"][0]["choices"] = [{"value": True}, {"value": "true"}]
    [unclear] = api.questions.split(json.dumps(both).encode())
    assert not unclear.prompt.plain


def test_a_refusal_of_one_question_is_no_answer_to_it():
    api = DECISION_APIS["decisions"]
    sent = json.loads(answering("decisions"))
    sent["answers"][1] = {"type": "refusal", "name": None}
    requests = api.questions.split(asking("decisions"))
    paid, queue, _ = api.questions.read_replies(json.dumps(sent).encode(), requests)
    assert paid.answer == ANSWERS[0]
    assert not queue.answer.complete
    assert queue.answer.finish_reason == "refusal"


@every_api
@pytest.mark.parametrize("wrong", [1.5, -0.1, "0.5", None, True])
def test_what_is_no_probability_is_no_answer(api, wrong):
    sent = json.loads(answering(api.name, 0))
    first = sent["answers"][0] if api.name == "decisions" else sent["answers"]["paid"]
    first["probability" if api.name == "decisions" else "noul"] = wrong
    with pytest.raises(TeacherError):
        api.read_reply(json.dumps(sent).encode())


@every_api
def test_an_answer_to_other_questions_is_none(api):
    requests = api.questions.split(asking(api.name))
    with pytest.raises(TeacherError):
        api.questions.read_replies(answering(api.name, 0), requests)


@pytest.mark.parametrize(
    ("api", "text", "asked"),
    [
        ("decisions", [{"role": "user", "content": TEXT}], TEXT),
        ("decisions", [{"role": "user", "content": [{"type": "input_text", "text": TEXT}]}], TEXT),
        (
            "decisions",
            [{"role": "user", "content": [{"type": "input_json", "data": {"b": 1, "a": 2}}]}],
            '{"a":2,"b":1}',
        ),
        (
            "decisions",
            [{"role": "system", "content": "Be kind"}, {"role": "user", "content": TEXT}],
            f"<system>\nBe kind\n<user>\n{TEXT}\n",
        ),
        ("systemone", {"subject": "x", "body": "y"}, '{"body":"y","subject":"x"}'),
    ],
)
def test_the_input_is_one_text(api, text, asked):
    [request] = DECISION_APIS[api].questions.split(asking(api, 0, text=text))
    assert (request.prompt.messages[0].text, request.prompt.plain) == (asked, True)


@pytest.mark.parametrize(
    ("api", "change"),
    [
        (
            "decisions",
            {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "u"}]}]},
        ),
        ("decisions", {"input": [{"type": "function_call", "name": "f", "arguments": "{}"}]}),
        ("decisions", {"input": [{"role": {}, "content": "x"}]}),
        ("decisions", {"input": [{"role": "user", "content": [{"type": {}, "text": "x"}]}]}),
        ("decisions", {"input": [{"role": "user", "content": [{"type": ["input_text"]}, 1]}]}),
        ("decisions", {"questions": [{"type": "essay", "instructions": "?"}]}),
        ("systemone", {"assets": {"a": {"type": "image", "data_base64": "AA=="}}}),
        ("systemone", {"questions": [{"type": "box", "instructions": "the dog"}]}),
    ],
)
def test_only_a_teacher_answers_what_text_does_not_say(api, change):
    [request] = DECISION_APIS[api].questions.split(asking(api, 0, **change))
    assert not request.prompt.plain


@given(chance=st.floats(0, 1))
def test_a_predicate_is_true_from_one_half_on(chance):
    answer = predicate_answer(chance)
    assert answer.text == ("true" if chance >= 0.5 else "false")
    assert sum(dict(answer.probabilities).values()) == pytest.approx(1)


def test_an_answer_without_probabilities_is_certain():
    request = DECISION_APIS["decisions"].questions.split(asking("decisions"))[1]
    question = question_in(request.prompt.response_format)
    assert chances_of(Answer("other"), question) == [0.0, 0.0, 1.0]
    gone = Answer("billing", probabilities=(("billing", 0.6), ("other", 0.2), ("sales", 0.2)))
    assert chances_of(gone, question) == [0.75, 0.0, 0.25]
    assert expectation(score_answer([0.25, 0.5, 0.25]).probabilities) == 1.0


@fuzz(change=st.dictionaries(words, values, max_size=4), asked=values, **OFTEN)
@every_api
def test_any_request_is_read_or_refused(api, change, asked):
    for body in (asking(api.name, **change), asking(api.name, questions=[asked, asked, asked])):
        try:
            requests = api.questions.split(body)
        except RequestError:
            continue
        # Whatever could be read can be written, asked in part, and answered.
        assert len(api.questions.alone(body)) == len(requests)
        for place, request in enumerate(requests):
            [again] = api.questions.split(api.questions.only(body, [place]))
            assert again.prompt == request.prompt
            question = question_in(request.prompt.response_format)
            if request.prompt.plain:
                answer = Answer(question.answers[0])
                read = api.read_reply(api.body(answer, request)).answer
                assert read.text == question.answers[0]


@fuzz(body=bodies, answer=values, **OFTEN)
@every_api
def test_bytes_that_are_anything_are_read_or_refused(api, body, answer):
    requests = api.questions.split(asking(api.name))
    with contextlib.suppress(RequestError):
        api.read_request(body)
    sent = json.loads(answering(api.name))
    sent["answers"] = [answer] * 3 if api.name == "decisions" else dict.fromkeys(NAMES, answer)
    for reply in (body, json.dumps(sent).encode()):
        with contextlib.suppress(TeacherError):
            api.read_reply(reply)
        with contextlib.suppress(TeacherError):
            api.questions.read_replies(reply, requests)


@every_api
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b"null",
        b"\xff",
        b"[" * 100_000,
        b'{"input":"x","state":"x","questions":[]}',
        b'{"input":"x","state":"x","questions":{}}',
    ],
)
def test_what_is_no_request_is_refused(api, body):
    with pytest.raises(RequestError, match="request body"):
        api.read_request(body)
    with pytest.raises(TeacherError):
        api.read_reply(body)
    with pytest.raises(TeacherError):
        api.read_stream([b"{}"])
    assert not api.ends(b"data: [DONE]\n\n")

"""Recognises one record of a log, a JSON object or a row of a table, as an exchange."""

from typing import Final

import msgspec

from openwheel.errors import RequestError
from openwheel.importing.assistant import read_usage
from openwheel.importing.exported import MARK, NAME, exchange_in
from openwheel.importing.formats import FORMATS, Entry, Format, Keys
from openwheel.importing.formats.conversations import RESPONSE_KEYS
from openwheel.importing.formats.pairs import INPUT_KEYS, OUTPUT_KEYS, pair
from openwheel.importing.times import time_keys, time_of
from openwheel.importing.values import (
    JsonObject,
    SkippedRecordError,
    UnreadableRecordError,
    embedded,
    first_object,
    first_text,
    is_set,
    milliseconds,
    one_of,
    squeezed,
)
from openwheel.store.exchange import Exchange
from openwheel.wire import APIS, Answer, ApiName, ChatRequest, Request, read_fingerprint
from openwheel.wire.chat import tokens_of
from openwheel.wire.logprobs import read_logprobs

MOST_KEY_SETS: Final = 1_000
"""Different sets of keys whose formats are remembered."""

LATENCY_KEYS: Final = ("latency_ms", "latency", "duration_ms", "delay_ms")
_encode = msgspec.json.Encoder().encode


class Understood(msgspec.Struct, frozen=True):
    """A record that is an exchange, and how it was read.

    Attributes:
        exchange: The exchange.
        format: The name of the format.
        time_read: False if it has a time that is in no form known.
        wrapped: Whether its answer is JSON that looks like the envelope of an answer.
    """

    exchange: Exchange
    format: str
    time_read: bool
    wrapped: bool


class _Plan(msgspec.Struct, frozen=True):
    """What a set of keys says: the formats that it may be, where its time and its latency are, and
    whether it may name a task; for a span, where its kind is.
    """

    formats: tuple[Format, ...]
    times: tuple[str, ...]
    latencies: tuple[str, ...]
    named: bool
    kind: str


class RecordReader:
    """Reads records; remembers which formats a set of keys may be of."""

    def __init__(self, keys: Keys, *, in_order: bool) -> None:
        self._keys = keys
        self._in_order = in_order
        self._own = bool(keys.input or keys.output)
        self._plans: dict[tuple[str, ...], _Plan] = {}

    def read(self, record: JsonObject, raw: bytes, identity: str) -> Understood:
        """Return the exchange that a record holds.

        Args:
            record: The record.
            raw: The bytes that it was decoded from.
            identity: The id that the exchange gets.

        Raises:
            SkippedRecordError: It holds nothing to learn from.
            UnreadableRecordError: It has none of the known shapes, or breaks the one it has.
        """
        if MARK in record and "exchange" in record:
            exchange = exchange_in(raw)
            _read(exchange.request, exchange.api)
            return Understood(exchange, NAME, time_read=True, wrapped=False)
        if is_set(record.get("error")):
            raise SkippedRecordError("the answer is an error")
        plan = self._plan(record)
        if plan.kind and one_of(kind := str(record[plan.kind]).lower(), _NO_CALLS):
            raise SkippedRecordError(f"a span of the application ({kind})")
        entry, name = self._entry(record, plan)
        body, api, holder = entry.asked.body, entry.asked.api, entry.opened.holder
        encoded = _encoded(body)
        task = _checked(body, encoded, api)
        time, time_read = _time(record, entry.record, holder, plan)
        answer = _with_logprobs(entry.opened.answer, holder)
        latencies = (milliseconds(record.get(key)) for key in plan.latencies)
        exchange = Exchange(
            id=identity,
            time=time,
            request=encoded,
            api=api,
            answer=answer,
            source="log",
            model=_model(record, entry),
            fingerprint=read_fingerprint(
                holder.get("system_fingerprint") or record.get("system_fingerprint")
            ),
            task=(_task(record) if plan.named else "") or entry.task or task,
            latency_ms=next((ms for ms in latencies if ms is not None), None),
            # What has no time, and no one's word that it came in this order, trains and does not
            # judge: calibration needs traffic as it came.
            unbiased=time > 0 or self._in_order,
            usage=read_usage(holder) or read_usage(entry.record) or read_usage(record),
        )
        wrapped = name == "pairs" and looks_wrapped(answer.text)
        return Understood(exchange, name, time_read, wrapped)

    def _entry(self, record: JsonObject, plan: _Plan) -> tuple[Entry, str]:
        if self._own:
            return pair(record, self._keys), "pairs"
        for candidate in plan.formats:
            entry = candidate.read(record, self._keys)
            if entry is not None:
                return entry, entry.name or candidate.name
        raise UnreadableRecordError("it is in no format known")

    def _plan(self, record: JsonObject) -> _Plan:
        names = tuple(record)
        plan = self._plans.get(names)
        if plan is None:
            if len(self._plans) >= MOST_KEY_SETS:
                self._plans.clear()
            have = frozenset(names)
            plan = _Plan(
                tuple(candidate for candidate in FORMATS if candidate.has(have)),
                (self._keys.time,) if self._keys.time else time_keys(names),
                tuple(key for key in LATENCY_KEYS if key in have),
                not have.isdisjoint({"task", "openwheel_task", "metadata"}),
                _kind_key(names),
            )
            self._plans[names] = plan
        return plan


def _kind_key(names: tuple[str, ...]) -> str:
    """Return the key of a span's kind, ``""`` if the keys are those of no span."""
    alike = {squeezed(name): name for name in names}
    if alike.keys().isdisjoint(_OF_SPANS):
        return ""
    return next((alike[key] for key in _KIND_KEYS if key in alike), "")


_KIND_KEYS: Final = (
    "type",
    "kind",
    "spantype",
    "spankind",
    "observationtype",
    "runtype",
    "nodetype",
)
_OF_SPANS: Final = frozenset(
    {
        *("traceid", "spanid", "runid", "parentid", "parentrunid", "parentspanid"),
        *("parentobservationid", "rootspanid", "parentrunids"),
    }
)
_NO_CALLS: Final = frozenset(
    {
        *("chain", "agent", "tool", "retriever", "retrieval", "embedding", "span", "event", "task"),
        *(
            "workflow",
            "function",
            "evaluator",
            "guardrail",
            "reranker",
            "parser",
            "prompt",
            "score",
        ),
    }
)


def is_header(names: list[str], keys: Keys) -> bool:
    """Return whether a table's header has the columns that some format needs."""
    have = frozenset(names)
    alike = frozenset(map(squeezed, names))
    outputs = frozenset(map(squeezed, OUTPUT_KEYS))
    inputs = frozenset(map(squeezed, INPUT_KEYS))
    if keys.input or keys.output:
        request_keys = {keys.input} if keys.input else {*INPUT_KEYS, "messages"}
        answer_keys = {keys.output} if keys.output else OUTPUT_KEYS
        return not have.isdisjoint(request_keys) and not have.isdisjoint(answer_keys)
    if not alike.isdisjoint(inputs) and not alike.isdisjoint(outputs):
        return True
    if not alike.isdisjoint({"messages", "conversations", "inputmessages"}):
        return True
    # All formats but the last, which takes anything.
    return (
        len(names) > 1
        and any(
            candidate.has(have)
            for candidate in FORMATS[:-1]
            if candidate.name not in {"chat templates", "requests and responses"}
        )
    ) or (
        not have.isdisjoint({"request", "body", "kwargs", "inputs"})
        and not have.isdisjoint(RESPONSE_KEYS)
    )


def looks_wrapped(text: str) -> bool:
    """Return whether an answer is JSON with one text in it, and names that no task would choose.

    >>> looks_wrapped('{"answer":"pumps","tokens":3}'), looks_wrapped('{"queue":"pumps"}')
    (True, False)
    """
    if text[:1] not in {"{", "["}:
        return False
    value = embedded(text)
    while isinstance(value, list) and len(value) == 1:
        value = value[0]
    if not isinstance(value, dict):
        return False
    return not {squeezed(str(key)) for key in value}.isdisjoint(_WRAPPINGS)


_WRAPPINGS: Final = frozenset(
    {
        "text",
        "content",
        "message",
        "response",
        "output",
        "completion",
        "answer",
        "result",
        "usage",
        "tokens",
        "model",
        "role",
        "prompt",
        "finish",
        "generatedtext",
        "outputtext",
    }
)


def _checked(body: JsonObject, encoded: bytes, api: ApiName) -> str:
    """Return the task that a request names, after seeing that its API can read it."""
    if api != "chat":
        return _read(encoded, api).task
    try:
        request = msgspec.convert(body, ChatRequest)
    except msgspec.ValidationError as error:
        raise UnreadableRecordError(f"the request is not a chat request: {error}") from None
    if not request.messages:
        raise UnreadableRecordError("the request has no messages")
    return request.task


def _read(body: bytes, api: ApiName) -> Request:
    try:
        return APIS[api].read_request(body)
    except RequestError as error:
        raise UnreadableRecordError(f"its request cannot be read: {error}") from None


def _encoded(body: JsonObject) -> bytes:
    try:
        return _encode(body)
    except (OverflowError, RecursionError, UnicodeEncodeError) as error:
        raise UnreadableRecordError(f"the request cannot be written as JSON: {error}") from None


def _time(
    record: JsonObject, more: JsonObject, holder: JsonObject, plan: _Plan
) -> tuple[float, bool]:
    time, readable = time_of(record, plan.times)
    if time:
        return time, True
    for place in (more, holder):
        if not time and place is not record:
            time, also = time_of(place, time_keys(tuple(place)))
            readable = readable and also
    return time, readable or time > 0


def _model(record: JsonObject, entry: Entry) -> str:
    """Return the model that answered, else that was asked for, else what the record says."""
    holder = entry.opened.holder
    model = holder.get("model")
    if isinstance(model, str) and model:  # nearly always
        return model
    return first_text(
        holder.get("modelVersion"),
        holder.get("model_name"),
        entry.asked.body.get("model"),
        entry.model,
        record.get("model"),
    )


def _with_logprobs(answer: Answer, holder: JsonObject) -> Answer:
    """Return an answer with its probabilities, where a chat completion has log-probabilities."""
    choices = holder.get("choices")
    if answer.probabilities or not isinstance(choices, list) or not choices:
        return answer
    tokens = tokens_of(first_object(choices[0]).get("logprobs"))
    found = read_logprobs(answer.text, tokens)
    return msgspec.structs.replace(answer, probabilities=found) if found else answer


def _task(record: JsonObject) -> str:
    metadata = first_object(record.get("metadata"))
    return first_text(
        record.get("task"),
        metadata.get("task"),
        record.get("openwheel_task"),
        metadata.get("openwheel_task"),
    )

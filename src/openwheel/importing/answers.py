"""Opens an answer out of the envelopes that a tool wrapped it in.

A student serves what is taken for the answer here. So an envelope is opened, or it is refused; it
is never the answer itself.
"""

import re
from collections.abc import Callable
from typing import Any, Final

import msgspec

from openwheel.importing.assistant import finish_of, message_answer, not_empty, response_answer
from openwheel.importing.messages import (
    as_message,
    call_of_part,
    is_message,
    is_messages,
    is_thought,
    text_of_part,
)
from openwheel.importing.streams import (
    event_chunks,
    is_chunks,
    is_event_stream,
    join_chunks,
    json_lines,
    merged_candidates,
)
from openwheel.importing.values import (
    JsonObject,
    SkippedRecordError,
    UnreadableRecordError,
    at,
    embedded,
    first_object,
    is_set,
    json_text,
    one_of,
    squeezed,
)
from openwheel.wire import Answer, Reply, ended

DEEPEST: Final = 8
"""Envelopes in one another."""

# An object with one of these keys is an answer's envelope, not an answer.
_MARKS: Final = frozenset(
    {
        "choices",
        "candidates",
        "generations",
        "finishreason",
        "stopreason",
        "donereason",
        "completionreason",
        "systemfingerprint",
        "usagemetadata",
        "logprobs",
        "toolcalls",
        "functioncall",
        "additionalkwargs",
        "responsemetadata",
        "llmoutput",
        "completiontokens",
        "promptfeedback",
        "modelversion",
        "contentfilterresults",
        "messagestop",
        "evalcount",
    }
)
# Where an object has one text under such a key, and beside it only what describes an answer, that
# text is the answer.
_TEXT_KEYS: Final = (
    "text",
    "content",
    "output_text",
    "outputText",
    "generated_text",
    "completion",
    "generation",
    "response",
    "output",
    "message",
    "raw",
)
_BESIDE: Final = _MARKS | {
    "id",
    "type",
    "index",
    "model",
    "modelname",
    "object",
    "created",
    "createdat",
    "usage",
    "role",
    "parsed",
    "annotations",
    "metadata",
    "done",
    "context",
    "totalduration",
    "loadduration",
    "promptevalcount",
    "promptevalduration",
    "evalduration",
    "tokens",
    "tokencount",
    "latency",
    "duration",
    "provider",
    "generationinfo",
    "generationtokencount",
    "prompttokencount",
    "refusal",
    "reasoning",
    "reasoningcontent",
    "thinking",
}
_KINDS: Final = frozenset(
    {"text", "message", "output_text", "completion", "text_completion", "generation", "ai"}
)
# What holds an answer's envelope, where all beside it describes an answer.
_INNER: Final = (
    "message",
    "response",
    "output",
    "body",
    "result",
    "data",
    "completion",
    "answer",
    "generated_text",
)
# What says that an object is about a call, whatever else it says.
_OF_CALLS: Final = _MARKS | {"statuscode", "requestid", "usage", "metrics"}
# What may stand beside an error.
_OF_ERRORS: Final = frozenset(
    {"message", "type", "code", "status", "statuscode", "detail", "details", "requestid", "param"}
)
_SAYS: Final = frozenset(
    {"content", "parts", "contents", "text", "tool_calls", "function_call", "refusal", "message"}
)
_PRINTED: Final = re.compile(
    r"\A\s*(?:[A-Z]\w*(?:Completion|Message|Response|Result|Generation|Choice)\w*\(|content=['\"])"
)


class Opened(msgspec.Struct, frozen=True):
    """An answer, and the object it was in, which may name its model, its usage and its time."""

    answer: Answer
    holder: JsonObject = {}


def response(value: Any) -> Opened:
    """Read what stands in the place of an endpoint's response.

    Raises:
        SkippedRecordError: There is no answer: it is missing, empty or an error.
        UnreadableRecordError: It has none of the known shapes.
    """
    value = embedded(value)
    opened = open_answer(value)
    if opened is None:
        if isinstance(value, dict) or (isinstance(value, list) and value):
            raise UnreadableRecordError(
                "the response is not one: it has no choices, no output and is no assistant message"
            )
        opened = Opened(Answer(json_text(value)))
    not_empty(opened.answer)
    return opened


def output(value: Any) -> Opened:
    """Read the output of a plain pair: a text, an envelope, or any JSON value as its JSON text."""
    opened = open_answer(value) or Opened(Answer(json_text(value)))
    not_empty(opened.answer)
    return opened


def open_answer(value: Any, depth: int = 0) -> Opened | None:
    """Return the answer that an envelope holds; ``None`` if the value is no envelope.

    Raises:
        SkippedRecordError: It holds an error, or nothing.
        UnreadableRecordError: It is an envelope, but not one that is known.
    """
    if depth > DEEPEST:
        raise UnreadableRecordError("the answer is in too many envelopes")
    if value is None:
        raise SkippedRecordError("no answer")
    if isinstance(value, str):
        return _open_text(value, depth)
    openers: tuple[Callable[[Any, int], Opened | None], ...] = ()
    if isinstance(value, list) and value:
        openers = _LISTS
    elif isinstance(value, dict):
        _reject_errors(value)
        openers = _OBJECTS
    for opener in openers:
        opened = opener(value, depth)
        if opened is not None:
            return opened
    return None


def _open_text(text: str, depth: int) -> Opened | None:
    if is_event_stream(text):
        return _join(event_chunks(text))
    if text.lstrip()[:1] in {"{", "["}:
        chunks = json_lines(text)
        if chunks is not None:
            return _join(chunks)
        value = embedded(text)
        # A teacher may be asked for JSON: here only what nobody asks for is an envelope.
        if _is_evident(value):
            return open_answer(value, depth + 1)
    if _PRINTED.match(text):
        raise UnreadableRecordError(
            "the answer is a printed Python object; log its model_dump() or its text instead"
        )
    return None


def _is_evident(value: Any) -> bool:
    """Return whether a value is the envelope of an answer beyond doubt."""
    if isinstance(value, list):
        if value and all(isinstance(item, dict) for item in value):
            return is_chunks(value) or all(map(_is_evident, value)) or _are_parts(value)
        return len(value) == 1 and _is_evident(value[0])
    if not isinstance(value, dict):
        return False
    choices = value.get("choices", value.get("candidates", value.get("generations")))
    error, output, message = value.get("error"), value.get("output"), value.get("message")
    return (
        (isinstance(choices, list) and (not choices or isinstance(choices[0], dict | list)))
        or "lc" in value
        or ("status_code" in value and "body" in value)
        or (isinstance(error, dict) and (len(value) == 1 or value.get("type") == "error"))
        or (isinstance(value.get("role"), str) and not _SAYS.isdisjoint(value))
        or (isinstance(output, list) and value.get("object") == "response")
        or (isinstance(output, dict) and isinstance(output.get("message"), dict))
        or (isinstance(message, dict) and _is_evident(message))
    )


def _are_parts(items: list[Any]) -> bool:
    return all(
        isinstance(item, dict)
        and isinstance(item.get("type"), str)
        and (text_of_part(item) is not None or is_thought(item) or item["type"] == "tool_use")
        for item in items
    )


def _chunk_list(items: list[Any], _: int) -> Opened | None:
    return _join(items) if is_chunks(items) else None


def _list_of_one(items: list[Any], depth: int) -> Opened | None:
    first = items[0]
    return (
        open_answer(first, depth + 1)
        if len(items) == 1 and not isinstance(first, str) and (first is not None)
        else None
    )


def _choice_list(items: list[Any], depth: int) -> Opened | None:
    if all(
        isinstance(item, dict) and ("message" in item or "finish_reason" in item) for item in items
    ):
        return open_answer({"choices": items}, depth + 1)
    return None


def _item_list(items: list[Any], depth: int) -> Opened | None:
    """Open the output items of the Responses API."""
    kinds = {str(item.get("type")) if isinstance(item, dict) else "" for item in items}
    if kinds <= {"message", "function_call", "reasoning"} and kinds != {"reasoning"}:
        return open_answer({"output": items}, depth + 1)
    return None


def _message_list(items: list[Any], _: int) -> Opened | None:
    if not is_messages(items):
        return None
    spoken = [item for item in map(as_message, items) if item["role"] == "assistant"]
    if len(spoken) != 1:
        raise UnreadableRecordError(
            f"the answer is a list of {len(items)} messages, {len(spoken)} of the assistant's; "
            "one is expected"
        )
    return Opened(message_answer(spoken[0]), items[-1])


def _part_list(items: list[Any], _: int) -> Opened | None:
    return Opened(message_answer({"content": items})) if all(map(_is_part, items)) else None


def _is_part(item: Any) -> bool:
    if not isinstance(item, dict):
        return False
    marked = isinstance(item.get("type"), str) or item.keys() <= {"text", "thoughtSignature"}
    return (
        (marked and text_of_part(item) is not None)
        or is_thought(item)
        or (call_of_part(item) is not None)
    )


def _evident_list(items: list[Any], depth: int) -> Opened | None:
    return open_answer(items[0], depth + 1) if all(map(_is_evident, items)) else None


def _choices(value: JsonObject, _: int) -> Opened | None:
    """Open chat completions and completions."""
    choices = embedded(value.get("choices"))
    if not isinstance(choices, list):
        return None
    choice = embedded(choices[0]) if choices else None
    if not isinstance(choice, dict):
        raise SkippedRecordError("no answer")
    if isinstance(choice.get("delta"), dict) and "message" not in choice:
        return _join([value])
    message = embedded(choice.get("message"))
    if isinstance(message, dict):
        return Opened(message_answer(message, finish_of(choice)), value)
    if isinstance(choice.get("text"), str):
        return Opened(Answer(choice["text"], (), ended(finish_of(choice))), value)
    raise UnreadableRecordError("the first choice of the response has no message and no text")


def _candidates(value: JsonObject, _: int) -> Opened | None:
    """Open Gemini's response."""
    candidates = value.get("candidates")
    if not isinstance(candidates, list):
        return None
    if not candidates:
        if value.get("promptFeedback") or value.get("prompt_feedback"):
            return Opened(Answer("", (), "content_filter"), value)
        raise SkippedRecordError("no answer")
    first = candidates[0]
    if not isinstance(first, dict):
        raise UnreadableRecordError("the first candidate of the response has no content")
    content = first.get("content")
    if isinstance(content, dict):
        content = content.get("parts")
    finish = first.get("finishReason") or first.get("finish_reason")
    return Opened(message_answer({"content": content or ""}, finish), value)


def _generations(value: JsonObject, depth: int) -> Opened | None:
    """Open what LangChain, Cohere, and Mistral and Titan on Bedrock call their results."""
    for key in ("generations", "outputs", "results"):
        inner = value.get(key)
        if isinstance(inner, list) and (key == "generations" or inner):
            opened = open_answer(inner[0], depth + 1) if inner else None
            if opened is not None:
                return Opened(opened.answer, {**value, **opened.holder})
            if key == "generations":
                raise UnreadableRecordError("the answer is inside something that is not known")
    return None


def _langchain(value: JsonObject, _: int) -> Opened | None:
    if "lc" not in value and not one_of(value.get("type"), ("ai", "AIMessage", "AIMessageChunk")):
        return None
    fields = value.get("kwargs") or value.get("data") or value
    info = first_object(at(fields, "response_metadata"))
    return Opened(message_answer(value, finish_of(info)), {"model": info.get("model_name"), **info})


def _response(value: JsonObject, _: int) -> Opened | None:
    """Open a response of the Responses API."""
    output = value.get("output")
    if isinstance(output, list) and all(
        isinstance(item, dict) and ("type" in item or "content" in item) for item in output
    ):
        return Opened(response_answer(output, value), value)
    return None


def _message(value: JsonObject, _: int) -> Opened | None:
    if not is_message(value) or _SAYS.isdisjoint(value):
        return None
    message = as_message(value)
    if message["role"] != "assistant":
        raise UnreadableRecordError(f"the answer is a message of the role {message['role']}")
    return Opened(message_answer(message, finish_of(value)), value)


def _inner(value: JsonObject, depth: int) -> Opened | None:
    """Open an envelope in another."""
    for key in _INNER:
        inner = embedded(value.get(key))
        if isinstance(inner, dict | list) and inner and _describes(value, key):
            opened = open_answer(inner, depth + 1)
            if opened is not None:
                finish, answer = finish_of(value), opened.answer
                if finish is not None and answer.complete and not answer.tool_calls:
                    answer = msgspec.structs.replace(answer, finish_reason=ended(finish))
                return Opened(answer, {**value, **opened.holder})
    return None


def _content(value: JsonObject, _: int) -> Opened | None:
    """Open an object with the parts of a content, and no speaker."""
    content = value.get("content", value.get("parts"))
    parts = isinstance(content, list) and bool(content) and _are_parts(content)
    if parts and _describes(value, "parts"):
        return Opened(message_answer({"content": content}, finish_of(value)), value)
    return None


def _describes(value: JsonObject, key: str) -> bool:
    """Return whether what stands beside a key of an object describes an answer."""
    rest = {squeezed(name) for name in value if name != key and name not in _TEXT_KEYS}
    return rest <= _BESIDE or not rest.isdisjoint(_OF_CALLS)


def _only_text(value: JsonObject, _: int) -> Opened | None:
    texts = [key for key in _TEXT_KEYS if isinstance(value.get(key), str)]
    kind = value.get("type")
    if len({value[key] for key in texts}) == 1 and (kind is None or one_of(kind, _KINDS)):
        other_keys = {squeezed(name) for name in value if name not in texts}
        if other_keys <= _BESIDE or not other_keys.isdisjoint(_MARKS):
            return Opened(Answer(value[texts[0]], finish_reason=ended(finish_of(value))), value)
    if any(squeezed(name) in _MARKS for name in value):
        have = ", ".join(str(name)[:30] for name in list(value)[:8])
        raise UnreadableRecordError(
            f"the answer is inside something that is not known, with the keys {have}"
        )
    return None


_LISTS: Final = (
    _chunk_list,
    _list_of_one,
    _choice_list,
    _item_list,
    _message_list,
    _part_list,
    _evident_list,
)
_OBJECTS: Final = (
    _choices,
    _candidates,
    _generations,
    _langchain,
    _response,
    _message,
    _inner,
    _content,
    _only_text,
)


def _reject_errors(value: JsonObject) -> None:
    status = value.get("status_code", value.get("statusCode"))
    other_values = (
        name
        for name in value
        if name != "error" and is_set(value[name]) and squeezed(name) not in _OF_ERRORS
    )
    if (
        (isinstance(status, int) and status >= 400)
        or value.get("type") == "error"
        or (is_set(value.get("error")) and next(other_values, None) is None)
    ):
        raise SkippedRecordError("the answer is an error")
    if at(value, "data", 0, "embedding") is not None:
        raise SkippedRecordError("a call of another kind (embedding)")


def _join(chunks: list[Any]) -> Opened:
    merged = merged_candidates(chunks)
    opened = None if merged is None else _candidates(merged, 0)
    return opened or _joined(join_chunks(chunks))


def _joined(reply: Reply) -> Opened:
    holder: JsonObject = {}
    if reply.model:
        holder["model"] = reply.model
    if reply.fingerprint:
        holder["system_fingerprint"] = reply.fingerprint
    if reply.usage:
        holder["usage"] = {
            "prompt_tokens": reply.usage.prompt_tokens,
            "completion_tokens": reply.usage.completion_tokens,
        }
    return Opened(reply.answer, holder)

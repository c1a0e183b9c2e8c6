"""Reads chats that end in the answer: messages, ShareGPT's conversations, marked-up text."""

import re
from typing import Any, Final

from openwheel.importing.answers import Opened, output, response
from openwheel.importing.assistant import message_answer, not_empty
from openwheel.importing.formats.format import Entry, Format, Keys, beside
from openwheel.importing.messages import as_messages, is_messages, role_of, system_text, with_system
from openwheel.importing.requests import Asked, api_named, read_request
from openwheel.importing.values import (
    JsonObject,
    SkippedRecordError,
    UnreadableRecordError,
    embedded,
)

RESPONSE_KEYS: Final = (
    "response",
    "output",
    "completion",
    "outputs",
    "choices",
    "answer",
    "output_message",
    "response_message",
    "reply",
    "generated_text",
)
_CHATS: Final = ("conversations", "conversation", "turns", "dialogue", "dialog", "contents")
_MARKED: Final = (
    re.compile(r"<\|im_start\|>(\w+)\s*\n(.*?)<\|im_end\|>", re.DOTALL),
    re.compile(
        r"<\|start_header_id\|>(\w+)<\|end_header_id\|>\s*\n(.*?)<\|(?:eot_id|eom_id|end_of_text)\|>",
        re.DOTALL,
    ),
    re.compile(r"<start_of_turn>(\w+)\n(.*?)<end_of_turn>", re.DOTALL),
    re.compile(r"<\|(system|user|assistant)\|>\s*\n(.*?)(?:<\|end\|>|</s>|(?=<\|)|\Z)", re.DOTALL),
)
_INSTRUCTED: Final = re.compile(
    r"\A\s*(?:<s>)?\s*\[INST\](.*?)\[/INST\](.*?)(?:</s>)?\s*\Z", re.DOTALL
)
_SYSTEM: Final = re.compile(r"\A\s*<<SYS>>\s*(.*?)\s*<</SYS>>\s*", re.DOTALL)
_ALPACA: Final = re.compile(
    r"\A(.*?)### Instruction:\s*\n(.*?)\n+(?:### Input:\s*\n(.*?)\n+)?### Response:\s*\n?(.*)\Z",
    re.DOTALL,
)


def _chat(record: JsonObject, _: Keys) -> Entry | None:
    value = embedded(record["messages"])
    answer = next((key for key in RESPONSE_KEYS if record.get(key) is not None), None)
    if answer is not None and not _ends_in_answer(value):
        answered = record if answer == "choices" else record[answer]
        opened = response(answered)
        body = {key: record[key] for key in ("messages", "system") if record.get(key) is not None}
        if isinstance(value, str) and not value.strip():
            raise SkippedRecordError("the input is empty")
        api = api_named(*(record.get(key) for key in ("api", "endpoint", "url", "path")))
        if api is None and not {"stop_reason", "type"} & opened.holder.keys():
            api = "chat"  # a system text beside the messages alone is no request of Anthropic's
        asked = read_request(body, response=embedded(answered), api=api)
        if asked is None:
            raise UnreadableRecordError("messages must be a list of objects with a role")
        return Entry(_settings(asked, record), opened)
    messages = as_messages(value)
    asked = Asked({"messages": with_system(record.get("system"), messages)})
    return _ending(_settings(asked, record), record)


def _settings(asked: Asked, record: JsonObject) -> Asked:
    parameters = (
        record[key]
        for key in ("model_parameters", "parameters", "params", "settings", "config", "kwargs")
        if isinstance(embedded(record.get(key)), dict)
    )
    # The same names may be something else here, such as the number of a row.
    settings = {key: value for key, value in record.items() if key not in {"n", "seed", "stop"}}
    return beside(asked, settings, *parameters)


def _conversation(record: JsonObject, _: Keys) -> Entry | None:
    turns = next(embedded(record[key]) for key in _CHATS if key in record)
    if isinstance(turns, dict):
        turns = turns.get("messages", turns.get("turns"))
    if not isinstance(turns, list):
        if isinstance(turns, str):
            return None
        raise UnreadableRecordError("conversations must be a list")
    if not is_messages(turns) or any(
        "from" in turn and role_of(turn["from"]) is None for turn in turns
    ):
        raise UnreadableRecordError(
            "a turn of conversations must have a value and a known speaker in from"
        )
    system = record.get("system", record.get("systemInstruction", record.get("system_prompt")))
    asked = Asked({"messages": with_system(system_text(system), as_messages(turns))})
    return _ending(_settings(asked, record), record)


def _ending(asked: Asked, record: JsonObject) -> Entry:
    """Return a chat's exchange: what comes before its last message, and that."""
    messages = asked.body["messages"]
    if not messages or messages[-1]["role"] != "assistant":
        raise SkippedRecordError("the chat does not end in an assistant message")
    if all(message["role"] in {"system", "developer"} for message in messages[:-1]):
        raise SkippedRecordError("the chat has no message before the answer")
    if messages[-1].get("weight") == 0:
        raise SkippedRecordError("an answer with the weight 0")
    rest = [
        {key: value for key, value in message.items() if key != "weight"}
        for message in messages[:-1]
    ]
    body = {**asked.body, "messages": rest}
    answer = message_answer(messages[-1])
    return Entry(Asked(body, asked.api), Opened(not_empty(answer), record))


def _ends_in_answer(messages: Any) -> bool:
    return (
        is_messages(messages)
        and role_of(messages[-1].get("role", messages[-1].get("from"))) == "assistant"
    )


def _marked(record: JsonObject, _: Keys) -> Entry | None:
    """Read one text with a chat template's marks in it."""
    text = next(
        (v for v in map(record.get, ("text", "prompt", "chat")) if isinstance(v, str)), None
    )
    messages = None if text is None else marked_messages(text)
    if not messages:
        return None
    if messages[-1]["role"] != "assistant" or not messages[-1]["content"].strip():
        answer = next((record[key] for key in RESPONSE_KEYS if record.get(key) is not None), None)
        if answer is None:
            raise SkippedRecordError("the chat does not end in an assistant message")
        if messages[-1]["role"] == "assistant":
            messages = messages[:-1]
        return Entry(beside(Asked({"messages": messages}), record), output(embedded(answer)))
    return _ending(beside(Asked({"messages": messages}), record), record)


def marked_messages(text: str) -> list[JsonObject] | None:
    """Return the messages of a text with a chat template's marks, ``None`` if it has none."""
    if "<|" in text or "<start_of_turn>" in text:
        for pattern in _MARKED:
            # The last turn may be open: the answer comes next.
            turns = pattern.findall(text)
            if turns and all(role_of(role) for role, _ in turns):
                return [
                    {"role": role_of(role), "content": content.strip()} for role, content in turns
                ]
    if "[/INST]" in text and (match := _INSTRUCTED.match(text)):
        system, asked = "", match.group(1)
        if inner := _SYSTEM.match(asked):
            system, asked = inner.group(1), asked[inner.end() :]
        messages = [{"role": "user", "content": asked.strip()}]
        answer = {"role": "assistant", "content": match.group(2).strip()}
        return [*with_system(system, messages), answer]
    if "### Response:" in text and (match := _ALPACA.match(text)):
        _, instruction, given_, answer_ = match.groups()
        messages = [{"role": "user", "content": (given_ or instruction).strip()}]
        fixed = instruction.strip() if given_ else ""
        return [*with_system(fixed, messages), {"role": "assistant", "content": answer_.strip()}]
    return None


def _has_no_pair(keys: frozenset[str]) -> bool:
    return not keys.isdisjoint({"text", "prompt", "chat"}) and "label" not in keys


CHATS = Format("chats", lambda keys: "messages" in keys, _chat)
CONVERSATIONS = Format(
    "conversations",
    lambda keys: not keys.isdisjoint(_CHATS) and keys.isdisjoint({"messages", "response"}),
    _conversation,
)
MARKED = Format("chat templates", _has_no_pair, _marked)

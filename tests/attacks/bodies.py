"""Bodies that once hurt, or were made to, and what is to become of each, whatever its API.

They are made here, since some are megabytes. A row goes in with the fault that it shows, and stays.
"""

import gzip
from collections.abc import Callable
from typing import Literal, NamedTuple

from openwheel.gateway.reading import LARGEST_READ, MOST_VALUES

MAX_BODY = 32 << 20
Fate = Literal["student", "teacher", "no request", "not read", "too large"]


class Hurt(NamedTuple):
    """A body, and what becomes of it.

    Attributes:
        make: Returns it for an API.
        fate: Who answers it; "no request": it is read and found to be none, so it is the teacher's
            to judge; "not read": likewise, without that it is parsed.
        names_m: Whether it names the model ``m``, so that a key limited to that may send it.
    """

    make: Callable[[str], bytes]
    fate: Fate
    names_m: bool = True


def said(api: str, text: bytes = b'"a refund"', more: bytes = b"", model: bytes = b'"m"') -> bytes:
    """Return a request of an API whose text, model and further fields are JSON as given."""
    body = {
        "chat": b'{"model":%s,"messages":[{"role":"user","content":%s}]%s}',
        "messages": b'{"model":%s,"max_tokens":9,"messages":[{"role":"user","content":%s}]%s}',
        "responses": b'{"model":%s,"store":false,"input":%s%s}',
        "completions": b'{"model":%s,"prompt":%s%s}',
        "decisions": b'{"model":%%s,"questions":[{"type":"choice","choices":[%s]}],"input":%%s%%s}'
        % b'{"value":"billing"},{"value":"shipping"}',
        "systemone": b'{"model":%s,"questions":{"q":{"type":"choice","criteria":{"billing":null,'
        b'"shipping":null}}},"state":%s%s}',
    }
    return body[api] % (model, text, b"," + more if more else b"")


def _text(text: bytes, fate: Fate, *, names_m: bool = True) -> Hurt:
    return Hurt(lambda api: said(api, b'"%s"' % text), fate, names_m)


def _field(more: bytes, fate: Fate, *, names_m: bool = True) -> Hurt:
    return Hurt(lambda api: said(api, more=more), fate, names_m)


def _model(model: bytes, fate: Fate) -> Hurt:
    return Hurt(lambda api: said(api, model=model), fate, names_m=False)


def _whole(body: bytes, fate: Fate = "no request") -> Hurt:
    return Hurt(lambda _: body, fate, names_m=False)


def _turned(change: Callable[[bytes], bytes], *, names_m: bool = False) -> Hurt:
    return Hurt(lambda api: change(said(api)), "no request", names_m)


def _arrays(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth


def _objects(depth: int) -> bytes:
    return b'{"a":' * depth + b"1" + b"}" * depth


def _pairs(count: int) -> bytes:
    return b",".join(b'"k%d":1' % number for number in range(count))


_MANY = MOST_VALUES + 1

BODIES: dict[str, Hurt] = {
    # Nothing, or not what it should be.
    "empty": _whole(b""),
    "blank": _whole(b" \n"),
    "null": _whole(b"null"),
    "a number": _whole(b"1"),
    "a string": _whole(b'"x"'),
    "an array": _whole(b"[]"),
    "an empty object": _whole(b"{}"),
    "cut": _turned(lambda body: body[:-1]),
    "two in one": _turned(lambda body: body * 2),
    "more behind it": _turned(lambda body: body + b"}"),
    "gzip": _turned(gzip.compress),
    # Encodings: a model that is hidden from the gateway, and not from the teacher.
    "byte order mark": _turned(lambda body: b"\xef\xbb\xbf" + body),
    "UTF-16": _turned(lambda body: body.decode().encode("utf-16")),
    "UTF-16 without a mark": _turned(lambda body: body.decode().encode("utf-16-le")),
    "Latin-1": _text(b"caf\xe9", "no request"),
    "overlong UTF-8": _text(b"\xc0\xaf", "no request"),
    "a surrogate in UTF-8": _text(b"\xed\xa0\x80", "no request"),
    "half a pair of surrogates": _text(rb"\ud800", "no request", names_m=False),
    "the halves turned round": _text(rb"\udc00\ud800", "no request", names_m=False),
    "a NUL in the JSON": _text(b"a\0b", "no request", names_m=False),
    "a NUL in the text": _text(rb"a\u0000b", "teacher"),
    "escapes of terminals": _text(rb"[/b] \u001b[2J \u001b]0;x\u0007 \u202e", "teacher"),
    # Numbers that no float or integer holds.
    "NaN": _field(b'"temperature":NaN', "no request", names_m=False),
    "infinity": _field(b'"temperature":Infinity', "no request", names_m=False),
    "1e400": _field(b'"temperature":1e400', "no request"),
    "an integer of 400 digits": _field(b'"seed":' + b"9" * 400, "student"),
    "tokens by the quintillion": _field(b'"max_tokens":' + b"9" * 30, "student"),
    "tokens below none": _field(b'"max_tokens":-1', "student"),
    # Types that are not the API's.
    "a stream that is a text": _field(b'"stream":"yes"', "no request"),
    "a stream that is a number": _field(b'"stream":1', "no request"),
    "no messages": _whole(b'{"messages":[],"input":[],"prompt":[],"max_tokens":9}'),
    "null for messages": _whole(b'{"messages":null,"input":null,"prompt":null,"max_tokens":9}'),
    "null for a message": _whole(b'{"messages":[null],"input":[null],"prompt":[null]}'),
    "a role that is a list": _whole(
        b'{"messages":[{"role":["user"],"content":"x"}],"input":[{"role":["user"]}],"prompt":[["x"]]}'
    ),
    # Models: what the gateway checks is to be what the teacher reads.
    "a list of models": _model(b'["m"]', "no request"),
    "an object as a model": _model(b'{"m":"m"}', "no request"),
    "a number as a model": _model(b"1", "no request"),
    "null as a model": _model(b"null", "no request"),
    "an empty model": _model(b'""', "student"),
    "a model of a megabyte": _model(b'"' + b"m" * 1_000_000 + b'"', "student"),
    "escapes in a model": _model(rb'"\u001b]0;m\u0007"', "student"),
    "a second model": _field(b'"model":"gpt-9"', "student", names_m=False),
    "a model in capitals": Hurt(
        lambda api: said(api).replace(b'"model"', b'"MODEL"'), "student", names_m=False
    ),
    "a model whose name is escaped": Hurt(
        lambda api: said(api, model=b'"gpt-9"', more=rb'"\u006dodel":"m"'), "student"
    ),
    # Depth: 2.1 kB of it once ended in a RecursionError, before any limit.
    "deep array": _whole(_arrays(5_000)),
    "deep object": _whole(_objects(5_000)),
    "deep and never closed": _whole(b"[" * 90_000),
    "deep content": Hurt(lambda api: said(api, _arrays(5_000)), "no request", names_m=False),
    "deep field": _field(b'"x":' + _arrays(5_000), "no request", names_m=False),
    "deep metadata": _field(b'"metadata":' + _objects(5_000), "no request", names_m=False),
    "not quite so deep": _field(b'"x":' + _arrays(900), "student"),
    # Many: 29 MB of keys once took 27 seconds, in which nobody was served.
    "keys": _field(_pairs(_MANY), "not read"),
    "keys within": _field(b'"x":{' + _pairs(_MANY) + b"}", "not read"),
    "empty objects": _field(b'"x":[' + b"{}," * _MANY + b"{}]", "not read"),
    "empty arrays": _field(b'"x":[' + b"[]," * _MANY + b"[]]", "not read"),
    "tools": _field(b'"tools":[' + b"{}," * _MANY + b"{}]", "not read"),
    "messages": _whole(
        b'{"model":"x","messages":[' + b'{"role":"u"},' * _MANY + b'{"role":"u"}]}', "not read"
    ),
    "brackets in a text": _text(b"{[," * _MANY, "not read"),
    "half as many keys": _field(_pairs(MOST_VALUES // 2), "student"),
    "the same key again and again": _field(b'"k":1,' * 50_000 + b'"k":1', "student"),
    # Long.
    "a text that is too long to read": _text(b"x" * LARGEST_READ, "not read"),
    "a text that is not": _text(b"x " * (LARGEST_READ // 2 - 100), "teacher"),
    "a text of escapes": _text(rb"\u0041" * (LARGEST_READ // 8), "teacher"),
    "a text of line ends": _text(rb"\n" * 1_000_000, "teacher"),
    "a letter with half a million accents": _text(b"a" + "\u0301".encode() * 500_000, "teacher"),
    "a number as long as a book": _text(b"1" * 1_000_000, "teacher"),
    "space before it": Hurt(lambda api: b" " * (LARGEST_READ - 1_000) + said(api), "student"),
    "more than a body may have": _text(b"x" * MAX_BODY, "too large"),
}


def answered(api: str, text: bytes = b"shipping", tokens: bytes = b"5") -> bytes:
    """Return an answer of an API whose text, in JSON, and tokens are as given."""
    body = {
        "chat": b'{"choices":[{"message":{"content":"%s"},"finish_reason":"stop"}],%s}',
        "messages": b'{"type":"message","role":"assistant","content":[{"type":"text","text":"%s"}],'
        b'"stop_reason":"end_turn",%s}',
        "responses": b'{"status":"completed","output":[{"type":"message","role":"assistant",'
        b'"content":[{"type":"output_text","text":"%s"}]}],%s}',
        "completions": b'{"choices":[{"text":"%s","finish_reason":"stop"}],%s}',
        "decisions": b'{"answers":[{"type":"choice","choice":"%s","confidence":1,'
        b'"probabilities":[{"value":"shipping","probability":1}]}],%s}',
        "systemone": b'{"answers":{"q":{"type":"choice","choice":"%s","confidence":1,'
        b'"probabilities":{"shipping":1}}},%s}',
    }
    names = (b"prompt", b"completion") if api in {"chat", "completions"} else (b"input", b"output")
    usage = b'"usage":{"%s_tokens":%s,"%s_tokens":5}' % (names[0], tokens, names[1])
    return body[api] % (text, usage)


class HurtByAnswer(NamedTuple):
    """A teacher's body: it reaches the client as it came; some are no answers to keep."""

    make: Callable[[str], bytes]
    kept: bool


ANSWERS: dict[str, HurtByAnswer] = {
    "as it should be": HurtByAnswer(answered, kept=True),
    **{
        # They are charged, and sums are to fit 64 bits.
        f"{name} tokens": HurtByAnswer(lambda api, n=tokens: answered(api, tokens=n), kept=True)
        for name, tokens in {
            "quintillions of": b"9" * 19,
            "400 digits of": b"9" * 400,
            "less than no": b"-1000000",
            "one and a half": b"1.5",
            "a text of": b'"7"',
        }.items()
    },
    "NaN tokens": HurtByAnswer(lambda api: answered(api, tokens=b"NaN"), kept=False),
    "a NUL": HurtByAnswer(lambda api: answered(api, rb"a\u0000b"), kept=True),
    "escapes of terminals": HurtByAnswer(lambda api: answered(api, rb"\u001b[2J[/b]"), kept=True),
    "half a pair of surrogates": HurtByAnswer(lambda api: answered(api, rb"\ud800"), kept=False),
    "no UTF-8": HurtByAnswer(lambda api: answered(api, b"\xff"), kept=False),
    "more than is kept": HurtByAnswer(lambda api: answered(api, b"x" * (9 << 20)), kept=False),
    "deep": HurtByAnswer(lambda _: _arrays(5_000), kept=False),
    "a deep field": HurtByAnswer(
        lambda api: answered(api)[:-1] + b',"x":' + _objects(5_000) + b"}", kept=False
    ),
    "cut": HurtByAnswer(lambda api: answered(api)[:-1], kept=False),
    "two in one": HurtByAnswer(lambda api: answered(api) * 2, kept=False),
    "nothing": HurtByAnswer(lambda _: b"", kept=False),
    "null": HurtByAnswer(lambda _: b"null", kept=False),
    "null for its parts": HurtByAnswer(
        lambda _: b'{"choices":[null],"output":[null],"content":[null]}', kept=False
    ),
    "gzip": HurtByAnswer(lambda api: gzip.compress(answered(api)), kept=False),
}

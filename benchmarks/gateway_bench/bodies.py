"""Requests of the bundled sample's generator: a maintenance desk, unseen by the student."""

import gzip
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SAMPLE = EXAMPLES / "factory-desk.jsonl.gz"

_SEED = 11  # the sample's is 7
_MARK = "@number@"
_KEY = 80  # bytes
REF = b" ref "
"""What stands before the number."""


class Template(NamedTuple):
    """A request's body around a number that makes it distinct."""

    before: bytes
    after: bytes

    def body(self, number: int) -> bytes:
        """Return the body with a number."""
        return b"%s%d%s" % (self.before, number, self.after)

    @property
    def key(self) -> str:
        """What is before the number, as far as it tells one body from another."""
        return key_before(self.before, len(self.before))


def key_before(body: bytes, place: int) -> str:
    """Return the key of the template of which a body has its number at a place."""
    return body[max(0, place - _KEY) : place].decode("utf-8", "replace")


def templates(folder: Path, count: int) -> tuple[list[Template], list[Template]]:
    """Return the bodies of about ``count`` fresh requests.

    Returns:
        Tickets to route, which a student may answer, and the others (shift notes, reports),
        which only the teacher answers.
    """
    path = folder / "fresh.jsonl.gz"
    # fmt: off
    subprocess.run(
        [
            sys.executable, str(EXAMPLES / "factory_desk.py"),
            "--seed", str(_SEED), "--count", str(count), "--output", str(path),
        ],
        check=True, stdout=subprocess.DEVNULL,
    )
    # fmt: on
    route: list[Template] = []
    others: list[Template] = []
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            request = json.loads(line)["request"]
            text = request["messages"][-1]["content"]
            ticket, colon, rest = text.rpartition("\nQueue:")
            request["messages"][-1]["content"] = (
                f"{ticket}{REF.decode()}{_MARK}{colon}{rest}"
                if colon
                else f"{text}{REF.decode()}{_MARK}"
            )
            before, _, after = json.dumps(request, ensure_ascii=False).partition(_MARK)
            (route if colon else others).append(Template(before.encode(), after.encode()))
    return route, others


def streamed(body: bytes) -> bytes:
    """Return a body that asks for a stream."""
    return b'{"stream": true, ' + body[1:]


def request(body: bytes) -> bytes:
    """Return a whole HTTP request, with the headers that OpenAI's client sends."""
    return b"%s%d\r\n\r\n%s" % (_HEAD, len(body), body)


def requests(
    pool: Sequence[Template], count: int, *, start: int = 0, stream: bool = False
) -> Iterator[bytes]:
    """Yield ``count`` distinct requests."""
    for number in range(start, start + count):
        body = pool[number % len(pool)].body(number)
        yield request(streamed(body) if stream else body)


_HEAD = (
    b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\naccept: application/json\r\n"
    b"accept-encoding: gzip, deflate\r\nauthorization: Bearer none\r\n"
    b"content-type: application/json\r\nuser-agent: OpenAI/Python 2.8.1\r\n"
    b"x-stainless-arch: x64\r\nx-stainless-async: async:asyncio\r\nx-stainless-lang: python\r\n"
    b"x-stainless-os: Linux\r\nx-stainless-package-version: 2.8.1\r\n"
    b"x-stainless-retry-count: 0\r\nx-stainless-runtime: CPython\r\n"
    b"x-stainless-runtime-version: 3.11.7\r\ncontent-length: "
)

"""Log lines: one for each event, for people or as JSON, whatever the message holds.

Messages quote what others sent, such as a teacher's error. So no message can begin a line of its
own, and what looks like a credential is masked, as the last line of defence: whoever logs is not
to pass one on in the first place.
"""

import json
import logging
import re
import time
from typing import Any, Final, Literal, TextIO

LogFormat = Literal["text", "json"]

_LONGEST_MESSAGE: Final = 10_000
_LONGEST_TRACEBACK: Final = 100_000

_CREDENTIALS: Final = (
    (re.compile(r"\b(Bearer)\s+[\w.~+/=-]{8,}", re.IGNORECASE), r"\1 ***"),
    (re.compile(r"\b(Basic)\s+(?=\S*[A-Z0-9=])[\w+/=-]{8,}"), r"\1 ***"),
    # Openwheel's own keys, OpenAI's and Anthropic's, and others that are known by how they begin.
    (re.compile(r"(?<![A-Za-z0-9])(ow-|sk-|gsk_|hf_|xai-|AIza)[\w-]{8,}"), r"\1***"),
    (
        re.compile(
            r"\b((?:x-)?api[-_]?key|authorization|password|secret)([\"']?\s*[:=]\s*[\"']?)"
            r"(?!Bearer |Basic )[^\s\"',;&]{8,}",
            re.IGNORECASE,
        ),
        r"\1\2***",
    ),
    (re.compile(r"(?<=://)[^/\s@]+@"), "***@"),
)

# Control characters, line ends beyond ASCII, and those that turn the direction of writing.
_UNSAFE: Final = re.compile(
    "[\\x00-\\x1f\\x7f-\\x9f\\u061c\\u200e\\u200f\\u2028\\u2029\\u202a-\\u202e\\u2066-\\u2069"
    "\\ud800-\\udfff]"
)

_OWN_FIELDS: Final = frozenset({"time", "level", "logger", "message", "exception"})
_NOT_EXTRA: Final = frozenset(logging.makeLogRecord({}).__dict__) | {
    "message",
    "asctime",
    "taskName",  # from Python 3.12
    "color_message",  # uvicorn's, the message once more
}


def set_up_logs(level: str, format: LogFormat, *, stream: TextIO | None = None) -> None:
    """Log to standard error from now on; called again, in the new way only.

    Args:
        level: The least that is logged: debug, info, warning or error. Of other libraries debug
            messages are never logged.
        format: ``text`` or ``json``.
        stream: Instead of standard error.
    """
    root = logging.getLogger()
    for handler in root.handlers[:]:
        if isinstance(handler, _Handler):
            root.removeHandler(handler)
    handler = _Handler(stream)
    handler.setFormatter(JsonLines() if format == "json" else TextLines())
    root.addHandler(handler)
    least = logging.getLevelNamesMapping()[level.upper()]
    root.setLevel(max(least, logging.INFO))
    logging.getLogger("openwheel").setLevel(least)


class _Handler(logging.StreamHandler[TextIO]):
    """What `set_up_logs` sets up, to be known again."""


class TextLines(logging.Formatter):
    """A line for people: time, level, logger, message, and extra fields as ``name=value``.

    A traceback follows on lines of its own, each indented, so that none can be taken for an entry.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return one entry."""
        parts = [_time(record), record.levelname, record.name, escaped(_message(record))]
        for name, value in _extra(record).items():
            shown = value if isinstance(value, str) else json.dumps(value, default=str)
            parts.append(f"{escaped(name)}={escaped(shown)}")
        lines = [" ".join(parts)]
        if trace := _traceback(self, record):
            lines += (f"    {escaped(line)}" for line in trace.split("\n"))
        return "\n".join(lines)


class JsonLines(logging.Formatter):
    """A JSON object a line, in ASCII.

    Fields are ``time`` (RFC 3339, UTC), ``level``, ``logger``, ``message``, the extra fields, and
    ``exception``, the traceback as one string, if there is one.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return one line."""
        entry: dict[str, Any] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _message(record),
        }
        for name, value in _extra(record).items():
            entry[f"{name}_" if name in _OWN_FIELDS else name] = value
        if trace := _traceback(self, record):
            entry["exception"] = trace
        return json.dumps(entry, ensure_ascii=True, default=str)


def masked(text: str) -> str:
    """Return ``text`` without what looks like a credential.

    >>> masked("Incorrect API key provided: sk-proj-abcdef123456")
    'Incorrect API key provided: sk-***'
    """
    for pattern, instead in _CREDENTIALS:
        text = pattern.sub(instead, text)
    return text


def _message(record: logging.LogRecord) -> str:
    return masked(_shortened(record.getMessage(), _LONGEST_MESSAGE))


def _extra(record: logging.LogRecord) -> dict[str, Any]:
    """Return the fields that the caller added."""
    return {
        name: _plain(value) for name, value in record.__dict__.items() if name not in _NOT_EXTRA
    }


def _plain(value: object) -> Any:
    """Return a value as JSON can hold it, masked."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    return masked(_shortened(str(value), _LONGEST_MESSAGE))


def _traceback(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    parts = []
    if record.exc_info:
        parts.append(formatter.formatException(record.exc_info))
    elif record.exc_text:
        parts.append(record.exc_text)
    if record.stack_info:
        parts.append(formatter.formatStack(record.stack_info))
    return masked(_shortened("\n".join(parts), _LONGEST_TRACEBACK))


def _shortened(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[:length]}... ({len(text)} characters)"


def escaped(text: str, *, keep: str = "") -> str:
    r"""Return ``text`` with what a terminal would obey, or that misleads who reads it, escaped.

    That is control characters, line ends, and characters that turn the direction of writing, but
    for those to ``keep``.

    >>> print(escaped("a \x1b[2Jb\n"))
    a \x1b[2Jb\n
    """

    def instead(match: re.Match[str]) -> str:
        return match[0] if match[0] in keep else match[0].encode("unicode_escape").decode()

    return _UNSAFE.sub(instead, text)


def escaped_json(text: str) -> str:
    r"""Return JSON of the same value, with what a terminal would obey written as JSON's escapes.

    >>> print(escaped_json('{"a": "\x9b2J"}'))
    {"a": "\u009b2J"}
    """
    return _UNSAFE.sub(
        lambda match: match[0] if match[0] < " " else f"\\u{ord(match[0]):04x}", text
    )


def _time(record: logging.LogRecord) -> str:
    seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
    return f"{seconds}.{int(record.created * 1000) % 1000:03d}Z"

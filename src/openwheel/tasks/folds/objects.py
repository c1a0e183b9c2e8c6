"""Reads the JSON object that an answer consists of."""

import re

import msgspec

_FENCED = re.compile(r"\A```(?:json|JSON)?[ \t]*\r?\n(.*?)\r?\n?[ \t]*```\Z", re.DOTALL)


def object_in(text: str) -> dict[str, object] | None:
    """Return the JSON object that a text without space around it is, fenced or not, else None."""
    if text.startswith("```"):
        fenced = _FENCED.match(text)
        text = fenced.group(1).strip() if fenced else ""
    if not (text.startswith("{") and text.endswith("}")):
        return None
    value = loaded(text)
    return value if isinstance(value, dict) else None


def loaded(text: str) -> object:
    """Return the value of a JSON text, or the text itself if it is not JSON."""
    try:
        value: object = msgspec.json.decode(text.encode("utf-8", "surrogatepass"))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return text.strip()
    return value

"""Folds marks around an answer: a full stop, quotes, emphasis, brackets, a code fence.

Each takes one layer off. A text without one, or that would be empty, stays.
"""

import re

STOPS = ".!\uff01\u3002\uff0e\uff61\u0964\u06d4\u0589"
"""The full stops of Latin, Chinese and Japanese, Hindi, Urdu and Armenian, in full and half width,
and exclamation marks."""

_QUOTES = {
    '"': '"',
    "'": "'",
    "\u201c": "\u201d",
    "\u2018": "\u2019",
    "\u201e": "\u201c\u201d",
    "\u201a": "\u2018\u2019",
    "\u201d": "\u201d",
    "\u2019": "\u2019",
    "\u00ab": "\u00bb",
    "\u2039": "\u203a",
    "\u00bb": "\u00ab\u00bb",
    "\u203a": "\u2039\u203a",
    "\u300c": "\u300d",
    "\u300e": "\u300f",
    "\u301d": "\u301e\u301f",
    "\uff02": "\uff02",
    "\uff07": "\uff07",
    "\u00b4": "\u00b4",
}
"""Marks that open a quotation, and those that may close it."""

_RUNS = {"*": 3, "_": 3, "`": 2, "=": 2}
_TAG = re.compile(
    r"<(b|strong|em|i|u|mark|code)>([^<>]+)</\1>|\$?\\(?:boxed|text|textbf|mathbf)\{([^{}]+)\}\$?",
    re.IGNORECASE,
)
# A heading, or the point of a list; before a number it may be a minus.
_POINT = re.compile(r"(?:#{1,6}|[*+\u2022\u2023\u25e6\u00b7]|[-\u2013\u2014](?=\s+\D))\s+")
_BRACKETS = {"[": "]", "(": ")", "{": "}", "<": ">", "\u3010": "\u3011", "\uff08": "\uff09"}
_NAMED_TAG = re.compile(r"<(?!(?:b|strong|em|i|u|mark|code)>)([A-Za-z][\w-]{0,30})>([^<>]+)</\1>")
_FENCE = re.compile(r"(`{3,}|~{3,})")


def fold_stop(text: str) -> str:
    """Return a text without the stop at its end; if there are several, all stay."""
    if text[-1:] not in STOPS or not text:
        return text
    rest = text[:-1].rstrip()
    return rest if rest and rest[-1] not in STOPS else text


def fold_quotes(text: str) -> str:
    """Return a text without the quotes around it; those of two quotations stay."""
    if len(text) < 3 or text[-1] not in _QUOTES.get(text[0], ""):
        return text
    inside = text[1:-1].strip()
    return text if not inside or text[0] in inside or text[-1] in inside else inside


def fold_emphasis(text: str) -> str:
    """Return a text without marks of emphasis, as Markdown, HTML and LaTeX have them."""
    if point := _POINT.match(text):
        return text if "\n" in text else text[point.end() :]
    mark = text[:1]
    if mark in _RUNS:
        return _without_run(text, mark, _RUNS[mark])
    if mark in ("<", "\\", "$"):
        tag = _TAG.fullmatch(text)
        inside = (tag[2] or tag[3]).strip() if tag else ""
        return inside or text
    return text


def _without_run(text: str, mark: str, most: int) -> str:
    """Return a text without the same run of a mark at both ends."""
    inside = text.strip(mark)
    size = (len(text) - len(inside)) // 2
    # As in Markdown, marks stand next to what they set off: * a * is a list, or a product.
    if not inside or mark in inside or inside[0].isspace() or inside[-1].isspace():
        return text
    same = text == mark * size + inside + mark * size
    return inside if same and size <= most and (mark != "=" or size == most) else text


def fold_brackets(text: str) -> str:
    """Return a text without the brackets, or the tags of one name, around it."""
    if len(text) < 3 or text[-1] != _BRACKETS.get(text[0]):
        return text
    tagged = _NAMED_TAG.fullmatch(text)
    inside = (tagged[2] if tagged else text[1:-1]).strip()
    return text if not inside or text[0] in inside or text[-1] in inside else inside


def fold_fence(text: str) -> str:
    """Return the content of a code fence that is all of a text."""
    fence = _FENCE.match(text)
    if fence is None or not text.endswith(fence[1]) or len(text) < 2 * len(fence[1]) + 1:
        return text
    inside = text[fence.end() : -len(fence[1])]
    first, _, rest = inside.partition("\n")
    # One word beside the marks says what language it is, if anything comes after it.
    inside = (rest if len(first.split()) < 2 and rest.strip() else inside).strip()
    return text if not inside or fence[1] in inside else inside

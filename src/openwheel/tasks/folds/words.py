"""Folds words around an answer: introductions before it, and explanations after it.

The words are those with which models are known to introduce a label, in some languages. A word that
may itself distinguish labels ("error: disk", "warning: disk") is not among them; the user can name
one: ``prefix:Queue``.
"""

import re
from collections import deque
from collections.abc import Callable
from functools import cache

_NOUNS = (
    "answers?|labels?|class(?:es)?|categor(?:y|ies)|classification|result|output|response|"
    "prediction|verdict|decision|conclusion|choice|"
    "antwort|kategorie|klasse|ergebnis|einstufung|klassifizierung|"
    "r\u00e9ponse|cat\u00e9gorie|classe|\u00e9tiquette|r\u00e9sultat|"
    "respuesta|categor\u00eda|clase|etiqueta|resultado|"
    "risposta|categoria|etichetta|risultato|resposta|r\u00f3tulo|"
    "antwoord|categorie|resultaat|"
    "\u043e\u0442\u0432\u0435\u0442|\u043a\u0430\u0442\u0435\u0433\u043e\u0440\u0438\u044f|"
    "\u043a\u043b\u0430\u0441\u0441|\u043c\u0435\u0442\u043a\u0430|"
    "\u7b54\u6848|\u56de\u7b54|\u7c7b\u522b|\u985e\u5225|\u5206\u7c7b|\u5206\u985e|\u6807\u7b7e|"
    "\u6a19\u7c64|\u7ed3\u679c|\u7d50\u679c|\u7b54\u3048|"
    "\u30ab\u30c6\u30b4\u30ea\u30fc?|\u30e9\u30d9\u30eb|"
    "\ub2f5\ubcc0|\uc815\ub2f5|\ubd84\ub958|\ubc94\uc8fc|\uce74\ud14c\uace0\ub9ac|\ub77c\ubca8"
)
_OPENING = (
    r"(?:(?:so|thus|therefore|hence|ok|okay|sure|certainly)[,!.:]?\s+)?"
    r"(?:here(?:['\u2019]s| is| are)\s+)?"
)
_BEFORE = (
    r"(?:(?:the|my|this|its|your|die|das|der|la|le|el|il|o|a|het|de)[^\S\n]+)?"
    r"(?:(?:correct|best|final|right|predicted|appropriate|suitable|overall|most likely|"
    r"most appropriate|richtige|bonne|finale|correcta|final[ea]?|juiste)[^\S\n]+){0,2}"
)
_OF = r"(?:\s+(?:for|of|to)\s+(?:this|the|your)\s+\w{1,20})?"
_SIGN = r"(?:[:=\uff1a\uff1d]|->|=>|\u2192)"
_BE = r"(?:is|are|would be|should be|ist|lautet|est|serait|es|\u00e8|\u00e9)(?:\s*:|(?=\s))"
_BE_WITHOUT_SPACE = r"[\u662f\u4e3a\u70ba\u306f\uc740\ub294]"
_IS = rf"(?:\s+{_BE}|{_BE_WITHOUT_SPACE})"
_MARKS = r"(?:\*{1,3}|_{1,2}|`)"
_NAMED = rf"{_BEFORE}(?:{_NOUNS}){_OF}"
# Marks of emphasis close on either side of the sign: **Answer:** x, **Answer**: x.
_LED = rf"{_NAMED}(?:\s*{_SIGN}|{_IS})"
_MARKED = rf"(?P<mark>{_MARKS}){_OPENING}{_NAMED}(?:\s*{_SIGN}\s*(?P=mark)|(?P=mark)\s*{_SIGN})"
_SAID = (
    r"(?:it|this|that)(?:\s+is|['\u2019]s)(?=\s)"
    r"|i(?:['\u2019]d|\s+would)?\s+(?:classify|label|categori[sz]e|put)\s+(?:this|it|the\s+\w{1,20})"
    r"(?:\s+\w{1,20})?\s+(?:as|under|in)(?=\s)"
)
_PREFIX = re.compile(rf"(?:{_MARKED}|{_OPENING}{_LED}|{_SAID})\s*", re.IGNORECASE)
# Introducing words in the middle of a text are searched backwards from their sign.
_SIGNS = re.compile(rf"####|{_SIGN}|(?<=\s){_BE}|{_BE_WITHOUT_SPACE}", re.IGNORECASE)
_LEADS_UP = re.compile(
    rf"(?<![A-Za-z\u00c0-\u024f0-9]){_MARKS}?{_NAMED}\s*{_MARKS}?\s*\Z", re.IGNORECASE
)
_MOST_SIGNS, _LONGEST_LEAD = 50, 80
_NEAR = 2_000
"""Characters, at the end of an answer, in which words that lead to it are looked for, and at its
beginning, in which an explanation is."""

LONGEST_BLOCK = 20_000
"""Characters of the longest JSON object that is told from what stands beside it."""

_THOUGHT = r"think|thinking|thoughts?|reasoning|analysis|reflection|scratchpad|rationale"
_OPENED = re.compile(rf"\s*(?:<(?:{_THOUGHT})>|\[(?:{_THOUGHT})\])", re.IGNORECASE)
_CLOSED = re.compile(rf"(?:</(?:{_THOUGHT})>|\[/(?:{_THOUGHT})\])", re.IGNORECASE)

_BECAUSE = "because", "weil", "parce que", "porque", "perch\u00e9"
_HAN_BECAUSE = "\u56e0\u4e3a", "\u56e0\u70ba"
# A word that may stand in a label, too, needs a colon to begin an explanation.
_WITH_COLON = (
    *("reason", "reasoning", "rationale", "explanation", "justification", "note", "confidence"),
    *("begr\u00fcndung", "raison", "raz\u00f3n", "motivo", "\u7406\u7531"),
)
_REASON = re.compile(
    r"(?:\s+[-\u2013\u2014]\s*|\s*[,;:\u2014]\s*|\s+\(?|[(\uff08\uff0c])(?:"
    rf"(?:{'|'.join(_BECAUSE)})\b|{'|'.join(_HAN_BECAUSE)}|"
    rf"(?:{'|'.join(_WITH_COLON)})\s*[:\uff1a])",
    re.IGNORECASE,
)
# After a sign that may join the words of a label, too, an explanation has three words or more.
_MORE = r"(?=(?:\S+\s+){2}\S)"
_SENTENCE = re.compile(rf"[.!?][\"'*\u201d\u2019)]*(?=\s+{_MORE})|\u3002(?=.{{3}})")
_ASIDE = re.compile(rf"(?:\s+[-\u2013\u2014]\s+|\u2014|\s*[(\uff08]){_MORE}")


def cut_reasoning(text: str) -> str:
    """Return a text without the reasoning before its answer.

    That is the text up to the tag that ends it; otherwise the text before the last words that
    introduce an answer ("Answer:", "the answer is", "####"); otherwise all but the last JSON
    object, code fence or line.
    """
    if closed := _last(_CLOSED, text):
        return text[closed.end() :].strip() or text
    if _OPENED.match(text):
        return text  # the reasoning never ended
    block = _last_block(text)
    if block:
        return block
    at = _last_lead(text)
    if at is not None:
        return text[at:].removeprefix("####").strip()
    return text.rpartition("\n")[2].strip()


def _last_lead(text: str) -> int | None:
    """Return where the last words that introduce an answer begin, None without such words."""
    signs = deque(_SIGNS.finditer(text, max(0, len(text) - _NEAR)), maxlen=_MOST_SIGNS)
    for sign in reversed(signs):
        if not text[sign.end() :].strip():
            continue
        if sign[0] == "####":
            return sign.start()
        near = max(0, sign.start() - _LONGEST_LEAD)
        if match := _LEADS_UP.search(text, near, sign.start()):
            return match.start()
    return None


def _last(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    return next(iter(deque(pattern.finditer(text), maxlen=1)), None)


def _last_block(text: str) -> str:
    """Return the JSON object, list or code fence that a text ends with, ``""`` if it does not."""
    if text.endswith("```"):
        at = text.rfind("\n```", 0, -3)
        return text[at + 1 :] if at >= 0 else text if text.startswith("```") else ""
    close = text[-1:]
    opens = {"}": "{", "]": "["}.get(close)
    depth = 0
    for at in range(len(text) - 1, max(-1, len(text) - LONGEST_BLOCK), -1) if opens else ():
        # Braces inside texts may be counted wrong: then the last line is taken.
        depth += (text[at] == close) - (text[at] == opens)
        if not depth:
            return text[at:] if text[:at].rstrip(" ")[-1:] in ("", "\n", ":") else ""
    return ""


def cut_explanation(text: str) -> str:
    """Return a text without the explanation of its answer.

    That is the text after the first line, JSON object or code fence; on that line the text after
    "because", "Reason:" and the like, and three words or more after a sentence, a dash or a
    bracket.
    """
    if block := _first_block(text):
        return block
    line = text.partition("\n")[0].strip()
    near = line[:_NEAR].lower()
    explains = any(word in near for word in (*_BECAUSE, *_HAN_BECAUSE, *_WITH_COLON))
    patterns = [_REASON, _ASIDE] if explains else [_ASIDE]
    ends = [match.start() for p in patterns if (match := p.search(line, 1, _NEAR))]
    if match := _SENTENCE.search(line, 1, _NEAR):
        ends.append(match.end())
    return line[: min(ends)].rstrip(" ,;:") or line if ends else line


def _first_block(text: str) -> str:
    """Return the JSON object, list or code fence that a text begins with, ``""`` if none."""
    if text.startswith("```"):
        at = text.find("\n```", 3)
        return text[: at + 4] if at >= 0 else ""
    opens = text[:1]
    close = {"{": "}", "[": "]"}.get(opens)
    depth = 0
    for at in range(min(len(text), LONGEST_BLOCK)) if close else ():
        depth += (text[at] == opens) - (text[at] == close)
        if not depth:
            return text[: at + 1] if text[at + 1 :].strip(" ")[:1] in ("", "\n") else ""
    return ""


def fold_prefix(text: str) -> str:
    """Return a text without words that introduce its answer: "Answer: x", "The label is x"."""
    return _without(_PREFIX, text)


@cache
def prefix_fold(words: str) -> Callable[[str], str]:
    """Return the fold that takes certain words off, with the colon after them if there is one."""
    lead = r"\s+".join(re.escape(word) for word in words.rstrip(" :\uff1a=-").split())
    pattern = re.compile(
        rf"(?:(?P<mark>{_MARKS}){lead}(?:\s*{_SIGN}\s*(?P=mark)|(?P=mark)\s*{_SIGN})"
        rf"|{lead}(?:\s*{_SIGN}|\s+[-\u2013\u2014](?=\s)|(?=\s)))\s*",
        re.IGNORECASE,
    )
    return lambda text: _without(pattern, text)


def _without(pattern: re.Pattern[str], text: str) -> str:
    match = pattern.match(text)
    return text[match.end() :].strip() or text if match else text


def leads(text: str) -> bool:
    """Return whether a text begins with words that introduce an answer."""
    return _PREFIX.match(text) is not None

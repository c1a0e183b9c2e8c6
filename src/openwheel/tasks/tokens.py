"""Splits prompts into tokens that join to the same text, and recognises volatile ones.

A token carries the spaces before it. Dates, times and ids are volatile: they all become one
symbol and are never constant text, however constant they are in one day's log.
"""

import re

_MONTHS = (
    "Jan(?:uary|uar)?|Feb(?:ruary|ruar)?|Mar(?:ch)?|März|Apr(?:il)?|May|Mai|June?|Juni|July?|Juli"
    "|Aug(?:ust)?|Sept?(?:ember)?|Oct(?:ober)?|Oktober|Nov(?:ember)?|Dec(?:ember)?|Dezember"
    "|janvier|février|mars|avril|mai|juin|juillet|août|septembre|octobre|novembre|décembre"
    "|enero|febrero|marzo|abril|mayo|junio|julio|agosto|septiembre|octubre|noviembre|diciembre"
    "|gennaio|febbraio|aprile|maggio|giugno|luglio|settembre|ottobre|dicembre"
    "|januari|februari|maart|mei|augustus|janeiro|fevereiro|março|maio|junho|julho|setembro"
    "|outubro|novembro|dezembro"
)
_DAYS = (
    "(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day|Mon|Tue|Wed|Thu|Fri|Sat|Sun"
    "|Montag|Dienstag|Mittwoch|Donnerstag|Freitag|Samstag|Sonntag"
    "|lundi|mardi|mercredi|jeudi|vendredi|samedi|dimanche"
    "|lunes|martes|miércoles|jueves|viernes|sábado|domingo"
)
_DATE = (
    rf"(?:(?:{_DAYS}),?[ ]+(?:the[ ]+)?)?(?:"
    rf"(?:{_MONTHS})\b\.?[ ]+\d{{1,2}}(?:st|nd|rd|th)?\b(?:,?[ ]+\d{{4}}\b)?"
    rf"|\d{{1,2}}(?:st|nd|rd|th|\.)?[ ]+(?:of[ ]+|de[ ]+)?(?:{_MONTHS})\b\.?"
    r"(?:,?[ ]+(?:de[ ]+)?\d{4}\b)?"
    rf"|(?:{_MONTHS})\b,?[ ]+\d{{4}}\b"
    rf")|(?:{_DAYS}),?[ ]+(?=\d)"
)
_CJK_DATE = r"\d{2,4}年(?:\d{1,2}月)?(?:\d{1,2}日)?|\d{1,2}月\d{1,2}日"
_NUMERIC = (
    r"\d{1,4}(?:[-/.]\d{1,2}){2,3}(?:[T ]\d{1,2}:\d{2}(?::\d{2}(?:\.\d+)?)?)?"
    r"(?:Z|[+-]\d{2}:?\d{2})?\b"
    r"|\d{1,4}[-/]\d{1,2}[-/]\d{1,4}\b"
    r"|\d{1,2}:\d{2}(?::\d{2}(?:\.\d+)?)?(?:[ ]?[AaPp]\.?[Mm]\b\.?)?"
    r"(?:[ ](?:[A-Z]{3,4}|Z)\b(?![:=]))?(?:[ ](?:19|20)\d{2}\b)?"
)
# Scripts written without spaces between words: a token each, or a whole sentence would be one.
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff"
)
_WORD = rf"[^\W{_UNSPACED}]+"
_JOINED = rf"(?:{_WORD}|[-'’.@/]{_WORD})*"
_REST = (
    rf"[^\W\d{_UNSPACED}]+{_JOINED}|\n|[^\w\s]|{_CJK_DATE}|{_NUMERIC}|{_WORD}{_JOINED}"
    rf"|[{_UNSPACED}]"
)
_PLAIN = re.compile(rf"[^\S\n]*(?:{_REST})|[^\S\n]+")
_DATED = re.compile(rf"[^\S\n]*(?:(?<!\w)(?:{_DATE})|{_REST})|[^\S\n]+")
_DIGIT = re.compile(r"\d")
_MAY_DATE = re.compile(rf"\b(?:{_MONTHS}|{_DAYS})\b")

_VOLATILE = re.compile(
    rf"(?:{_CJK_DATE}|{_NUMERIC}"
    r"|[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"  # a UUID
    r"|(?=[0-9a-fA-F]*[0-9])(?=[0-9]*[a-fA-F])[0-9a-fA-F]{8,}"  # a hash
    r"|\d{6,}"
    r"|(?=(?:[^\W\d]|[-_.@/'])*\d)(?=(?:\D*\d){3})[\w.@/'-]{6,})"  # an id: 3 or more digits
)
_NOT_AN_ID = re.compile(
    r"(?i:iso|rfc|sha|utf|md5|ieee|gpt|llama|claude|qwen|gemini|python)[-_ ]?\d"
)
_UUID_LENGTH = 36  # of all that is volatile, it alone may have no digit
_NAMED_DATE = re.compile(rf"(?:{_DATE})")

MASK = 1
CUT = 2
FIRST_PART = 3  # ids 3 to 10: the start and the end of each of the four parts
_FIRST_FREE = 16


def split(text: str) -> list[str]:
    """Return the tokens of a text; joined, they are the text again."""
    if _DIGIT.search(text) and _MAY_DATE.search(text):
        return _DATED.findall(text)
    return _PLAIN.findall(text)


def volatile(token: str) -> bool:
    """Whether a token is a date, a time or an id by its shape."""
    bare = token.strip()
    if not bare:
        return False
    if token[-1].isspace():  # only a weekday beside a number ends in a space
        return True
    if bare.isalpha():
        return False
    if not _DIGIT.search(bare):
        return len(bare) == _UUID_LENGTH and bool(_VOLATILE.fullmatch(bare))
    if " " in bare and _NAMED_DATE.fullmatch(bare):
        return True
    return bool(_VOLATILE.fullmatch(bare)) and not _NOT_AN_ID.match(bare)


class Vocabulary(dict[str, int]):
    """Token ids, given out as tokens are first met; volatile tokens share one id."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens: list[str] = [""] * _FIRST_FREE
        self._texts: dict[str, list[int]] = {}

    def __missing__(self, token: str) -> int:
        if volatile(token):
            number = MASK
        else:
            number = len(self.tokens)
            self.tokens.append(token)
        self[token] = number
        return number

    def ids(self, text: str) -> list[int]:
        """Return the ids of a text's tokens; not to be changed, equal texts share the list."""
        ids = self._texts.get(text)
        if ids is None:
            ids = list(map(self.__getitem__, split(text)))
            self._texts[text] = ids
        return ids

"""Recognises refusals in text: answers in which a model says that it does not answer.

Some endpoints mark a refusal (`finish_reason`); most models only write one. It is recognised by its
words, in English, German, French, Spanish, Italian, Portuguese, Dutch, Chinese, Japanese, Korean
and Russian. Refusals in other languages count as answers.
"""

import re
import unicodedata
from functools import lru_cache

LOOKED_AT = 300
"""Characters from the beginning of an answer; one that refuses later has said something before."""

_HELP = (
    r"(?:help|assist|answer|comply|respond|provide|fulfil|process|complete|continue|discuss|engage|"
    r"classify|categori[sz]e|label|sort|generate|create|do (?:that|this)|support|share|offer|"
    r"accommodate|determine|proceed)"
)
_CANNOT = (
    r"(?:can ?not|can't|cant|could not|couldn't|won't|will not|(?:am |are |'m |'re )?"
    r"(?:unable|not able|not allowed|not permitted|not comfortable|not going)(?: to)?|"
    r"(?:must|have to|need to) (?:decline|refuse))"
)
_HOW = r"(?: (?:really|directly|currently|reliably|safely|be able|in good conscience|to|you)){0,2}"
# Each with words of which it needs one: to look for those is quick.
_WAYS = (
    # I can't help with that.
    (
        ("can", "could", "n't", "will not", "unable", "not able", "not allowed", "not permitted",
         "not comfortable", "not going", "decline", "refuse"),
        rf"\b(?:i|we) ?{_CANNOT}{_HOW} {_HELP}"
        r"|\b(?:i|we) (?:must|have to|need to) (?:respectfully |politely )?(?:decline|refuse)\b"
        r"|\b(?:i|we) (?:respectfully |politely )?(?:decline|refuse) to\b"
        rf"|\bnot something (?:that )?i(?:'m able to| can) {_HELP}",
    ),
    # I don't feel comfortable answering; I'd rather not; I do not know enough.
    (
        ("comfortable", "rather not", "enough"),
        r"\bi (?:don't|do not|wouldn't) feel comfortable\b|\bi(?:'d| would) rather not\b"
        r"|\bi (?:don't|do not) have enough (?:information|context)\b",
    ),
    # I'm sorry, but I am not able to do anything of the kind.
    (
        ("sorry", "afraid", "apologi"),
        rf"\b(?:sorry|afraid|apologi[sz]e)\b.{{0,40}}\b{_CANNOT}\b.{{0,40}}\b(?:that|this|such)\b"
        r"|\b(?:sorry|afraid)\b,? but (?:that|this|it) (?:is|goes|violates)\b",
    ),
    (
        ("against", "violate"),
        r"\b(?:against|violates?) (?:my|our|the) .{0,30}(?:guidelines|polic(?:y|ies)|programming)",
    ),
    (
        ("an ai", "artificial", "language model"),
        r"\bas an? (?:ai|artificial intelligence|(?:large )?language model)\b"
        r"|\bi(?:'m| am) (?:just |only )?an? (?:ai|(?:large )?language model)\b",
    ),
    (
        ("ich kann", "kann ich"),
        r"\bkann ich (?:dir |ihnen |hier |leider |dabei ){0,2}nicht (?:weiter)?"
        r"(?:helfen|beantworten)"
        r"|\bich kann (?:(?:dir|ihnen|dabei|damit|das|hier|leider|diese[rsnm]?|auf)\b.{0,40})?"
        r"\bnicht\b.{0,40}\b(?:helfen|beantworten|weiterhelfen|unterst\u00fctzen|bearbeiten|nachkommen|"
        r"erf\u00fcllen|einordnen)",
    ),
    (
        ("ne peux", "ne puis"),
        r"\bje (?:suis d\u00e9sol\u00e9e?,? (?:mais )?je )?ne (?:peux|puis) (?:malheureusement )?"
        r"pas .{0,40}(?:aider|r\u00e9pondre|traiter|assister|fournir|classer)",
    ),
    (
        ("no puedo",),
        r"\bno puedo .{0,40}(?:ayudar|responder|cumplir|procesar|clasificar|proporcionar|asistir)",
    ),
    (
        ("non posso",),
        r"\bnon posso .{0,40}(?:aiutar|rispondere|soddisfare|classificare|fornire|assister)",
    ),
    (
        ("n\u00e3o posso",),
        r"\bn\u00e3o posso .{0,40}(?:ajudar|responder|atender|classificar|fornecer|auxiliar)",
    ),
    (
        ("ik kan",),
        r"\bik kan .{0,40}\bniet\b.{0,40}(?:helpen|beantwoorden|voldoen|verwerken)",
    ),
    (
        ("\u65e0\u6cd5", "\u7121\u6cd5", "\u4e0d\u80fd"),
        r"(?:\u62b1\u6b49|\u5bf9\u4e0d\u8d77|\u5c0d\u4e0d\u8d77|\u907a\u61be|\u9057\u61be)"
        r".{0,20}(?:\u65e0\u6cd5|\u7121\u6cd5|\u4e0d\u80fd)",
    ),
    (
        ("\u6211\u65e0\u6cd5", "\u6211\u7121\u6cd5", "\u6211\u4e0d\u80fd"),
        r"\u6211(?:\u65e0\u6cd5|\u7121\u6cd5|\u4e0d\u80fd)"
        r"(?:\u5e2e\u52a9|\u5e6b\u52a9|\u56de\u7b54|\u63d0\u4f9b|\u534f\u52a9|\u5354\u52a9)",
    ),
    (
        ("\u3067\u304d",),
        r"(?:\u7533\u3057\u8a33|\u3054\u3081\u3093|\u3059\u307f\u307e\u305b\u3093|\u6b8b\u5ff5).{0,40}"
        r"(?:\u3067\u304d\u307e\u305b\u3093|\u3067\u304d\u304b\u306d|\u304a\u7b54\u3048\u3067\u304d)",
    ),
    (("\uc8c4\uc1a1",), r"\uc8c4\uc1a1.{0,40}(?:\uc218 \uc5c6|\uc5b4\ub835|\ubd88\uac00)"),
    (
        ("\u043d\u0435 \u043c\u043e\u0433\u0443",),
        r"\b\u044f (?:\u043a \u0441\u043e\u0436\u0430\u043b\u0435\u043d\u0438\u044e,? )?"
        r"\u043d\u0435 \u043c\u043e\u0433\u0443 .{0,40}"
        r"(?:\u043f\u043e\u043c\u043e\u0447\u044c|\u043e\u0442\u0432\u0435\u0442\u0438\u0442\u044c|"
        r"\u0432\u044b\u043f\u043e\u043b\u043d\u0438\u0442\u044c)",
    ),
)  # fmt: skip
_REFUSALS = [(needed, re.compile(pattern, re.DOTALL)) for needed, pattern in _WAYS]
_SHORTEST = 6
"""Characters; shorter ones are labels."""


def is_refusal(text: str) -> bool:
    """Return whether an answer's text is a refusal.

    >>> is_refusal("I'm sorry, but I can't help with that.")
    True
    >>> is_refusal("I can't log in")
    False
    """
    return len(text) >= _SHORTEST and _refuses(text[:LOOKED_AT])


@lru_cache(maxsize=4_096)
def _refuses(text: str) -> bool:
    text = unicodedata.normalize("NFC", text).replace("\u2019", "'").lower()
    return any(
        pattern.search(text)
        for needed, pattern in _REFUSALS
        if any(word in text for word in needed)
    )

"""Numbers and untrusted text as people should see them."""

import re

_UNSHOWABLE = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]"
)


def clean(text: str) -> str:
    r"""Return ``text`` with what HTML, XML or UTF-8 cannot hold made visible.

    Control characters become their pictures, lone surrogates and non-characters U+FFFD. Markup is
    left as it is: escaping is the template's part.

    Examples:
        >>> clean("a\x00b\n")
        'a␀b\n'
    """
    return _UNSHOWABLE.sub(
        lambda match: chr(0x2400 + ord(match[0])) if match[0] < " " else "\ufffd", text
    )


def shorten(text: str, length: int) -> str:
    r"""Return ``text`` on one line, cut to ``length`` characters with an ellipsis.

    Examples:
        >>> shorten("where is my new\\n  card", 12)
        'where is my…'
    """
    # A log's text can be megabytes: only the part that could be shown is looked at.
    line = " ".join(text[: 4 * length + 100].split())
    whole = len(text) <= 4 * length + 100
    if len(line) <= length and whole:
        return line
    return line[: length - 1].rstrip() + "…"


def count(number: int) -> str:
    """Return a count with thousands separators.

    Examples:
        >>> count(12345)
        '12,345'
    """
    return f"{number:,}"


def percent(share: float, decimals: int = 1) -> str:
    """Return a share in per cent; only all is 100% and only nothing is 0%.

    Examples:
        >>> percent(0.8312), percent(0.99996), percent(1.0), percent(0.00001)
        ('83.1%', '>99.9%', '100.0%', '<0.1%')
    """
    least = 10.0**-decimals
    if share > 0 and 100 * share < least / 2:
        return f"<{least:.{decimals}f}%"
    if share < 1 and 100 * share >= 100 - least / 2:
        return f">{100 - least:.{decimals}f}%"
    return f"{100 * share:.{decimals}f}%"


def limit(share: float) -> str:
    """Return a share that a user chose, in per cent, as the user would write it.

    Examples:
        >>> limit(0.05), limit(0.0253303)
        ('5%', '2.533%')
    """
    return f"{100 * share:.4g}%"


def bound(share: float, epsilon: float) -> str:
    """Return an upper bound in per cent, on the side of ``epsilon`` where it is.

    Two decimals, more where rounding would make a bound above the limit look as if it met it.

    Examples:
        >>> bound(0.0495, 0.05), bound(0.050004, 0.05), bound(1.0, 0.05)
        ('4.95%', '5.0004%', '100.00%')
    """
    for decimals in range(2, 9):
        shown = round(100 * share, decimals)
        if (shown > 100 * epsilon) == (share > epsilon):
            break
    return f"{100 * share:.{decimals}f}%"


def score(confidence: float) -> str:
    """Return a confidence or threshold.

    Examples:
        >>> score(0.87314), score(1.0)
        ('0.8731', '1')
    """
    return f"{confidence:.4g}"

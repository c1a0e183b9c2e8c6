"""Finds what keeps a task from being learned: refusals in text, and spellings that a fold joins.

It only proposes: the user decides whether two spellings are one answer.
"""

import re
import shlex
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from openwheel.errors import SettingError
from openwheel.tasks.folds import FOLDS, OWN, fold, folding, leads, read_folds
from openwheel.tasks.forms import FORMS, MIN_ANSWERS, Form, form_of, shown
from openwheel.tasks.forms.label import LABEL
from openwheel.tasks.refusals import is_refusal

MOST: Final = 1_000
"""The latest answers that are looked at."""

WORTH: Final = 0.01
"""The least share of answers that folds must make one with others."""

SPARED: Final = 0.005
"""A fold that makes less than this share one is not proposed."""

_CUTS: Final = ("reasoning", "explanation")
_LEAD = re.compile(
    r"\W{0,3}([^\W\d_][^:\uff1a=,\n]{0,30}?)(?:\W{0,3}[:\uff1a=]|\s+[-\u2013\u2014]\s)"
)
_LETTER = re.compile(
    r"^(?:dear|hello|hi|hey|good (?:morning|day|afternoon|evening)|(?:best|kind|warm|many)"
    r" (?:regards|wishes|thanks)|regards|sincerely|cheers|thank you|thanks|yours)\b",
    re.IGNORECASE | re.MULTILINE,
)
_WORD = re.compile(r"[^\W\d_]+")


class Proposal(msgspec.Struct, frozen=True):
    """Folds that would reduce a task's distinct answers.

    Attributes:
        folds: All that the setting would name.
        added: Those among them that it does not name yet.
        share: Share of the answers that differ from a more frequent one by these alone.
        pair: Two answers that would be one.
        answers: How many distinct ones would be left, those that came once aside.
    """

    folds: tuple[str, ...]
    added: tuple[str, ...]
    share: float
    pair: tuple[str, str]
    answers: int


def propose(
    texts: Sequence[str], folds: tuple[str, ...] = (), form: Form = "label"
) -> Proposal | None:
    """Return the fewest folds that would make answers one; None if none would.

    Fewer folds are preferred, and folds that ignore less. Folds that cut text off are proposed only
    if they join more than twice as many answers.

    Args:
        texts: Answers, of which the latest are used.
        folds: Those that are set.
        form: The form of the answers so far. If it is not ``label``, folds are proposed only if
            they would make the answers labels.
    """
    counts = Counter(text for text in texts[-MOST:] if not is_refusal(text))
    prefixes = _own(counts)
    candidates = []
    for cut in (None, *_CUTS):
        spared = [name for name in FOLDS if name not in _CUTS or name == cut]
        try:
            whole = read_folds([*spared, *prefixes, *folds])
        except SettingError:  # the other cut is set
            continue
        best = _fewest(counts, whole, folds, form)
        if best is not None:
            candidates.append(
                (best.share / (2 if cut in best.added else 1), -len(best.added), best)
            )
    return max(candidates, key=lambda candidate: candidate[:2])[2] if candidates else None


def _fewest(
    counts: Counter[str], whole: tuple[str, ...], folds: tuple[str, ...], form: Form
) -> Proposal | None:
    """Return the fewest folds with about the effect of all; None if that is too little."""
    best = _proposal(counts, whole, folds, form)
    if best is None:
        return None
    most = best.share
    for name in best.added:  # mostly one will do
        alone = _proposal(counts, read_folds([*folds, name]), folds, form)
        if alone is not None and alone.share >= most - SPARED:
            return alone
    for name in reversed((*FOLDS, *(name for name in whole if name.startswith(OWN)))):
        if name in best.added:
            fewer = tuple(other for other in best.folds if other != name)
            less = _proposal(counts, fewer, folds, form)
            if less is not None and less.share >= most - SPARED:
                best = less
    return best


def _proposal(
    counts: Counter[str], names: tuple[str, ...], folds: tuple[str, ...], form: Form
) -> Proposal | None:
    """Return the effect of some folds; None if it is too small."""
    total = counts.total()
    if names == folds or not total:
        return None
    kinds: dict[str, Counter[str]] = defaultdict(Counter)
    for text, count in counts.items():
        kinds[fold(text, names)][fold(text, folds)] += count
    cut = [name for name in _CUTS if name in names and name not in folds]
    if cut and FORMS[form].closed:
        # Of a closed set only that is cut to which the bare answer is there too.
        bare = {fold(text, tuple(name for name in names if name not in cut)) for text in counts}
        if not set(kinds) <= bare:
            return None
    sizes = [kind.total() for kind in kinds.values()]
    share = 1 - sum(max(kind.values()) for kind in kinds.values()) / total
    if share < WORTH or sum(size >= WORTH * total for size in sizes) < 2:
        return None
    if cut and (max(sizes) > 0.95 * total or _are_letters(counts)):
        return None  # what is left would be a greeting, or a signature
    if not FORMS[form].closed and not _closed(kinds):
        return None
    merged = max(kinds.values(), key=lambda kind: kind.total() - max(kind.values()))
    (first, _), (second, _) = merged.most_common(2)
    return Proposal(
        names,
        tuple(name for name in names if name not in folds),
        share,
        (_as_written(counts, first, folds), _as_written(counts, second, folds)),
        sum(size > 1 for size in sizes),
    )


def _are_letters(counts: Counter[str]) -> bool:
    return sum(n for text, n in counts.items() if _LETTER.search(text)) > 0.5 * counts.total()


def _closed(kinds: Mapping[str, Counter[str]]) -> bool:
    return form_of(Counter({name: kind.total() for name, kind in kinds.items()})).form == LABEL.name


def _as_written(counts: Counter[str], canonical: str, folds: tuple[str, ...]) -> str:
    if not folds:
        return canonical
    return next(text for text, _ in counts.most_common() if fold(text, folds) == canonical)


def _own(counts: Counter[str]) -> list[str]:
    """Return words with a colon before some answers that also come without them.

    Two different such words before one answer may distinguish answers, and are left out.
    """
    rest = tuple(name for name in FOLDS if name not in (*_CUTS, "set"))
    bare = {fold(text, rest) for text in counts}
    led: Counter[str] = Counter()
    before: dict[str, set[str]] = defaultdict(set)
    for text, count in counts.items():
        lead = _LEAD.match(text)
        if lead is None or leads(text):
            continue
        words = lead[1].casefold()
        label = fold(text, (*rest, f"{OWN}{words}"))
        if label in bare:
            led[words] += count
            before[label].add(words)
    told_apart = {words for several in before.values() if len(several) > 1 for words in several}
    least = WORTH * counts.total()
    usual = [words for words, n in led.most_common(2) if n >= least and words not in told_apart]
    return [f"{OWN}{_spelled(counts, words)}" for words in usual]


def _spelled(counts: Counter[str], words: str) -> str:
    matches = (match[1] for text in counts if (match := _LEAD.match(text)))
    return next(lead for lead in matches if lead.casefold() == words)


def in_the_way(
    texts: Sequence[str], task: str, folds: tuple[str, ...] = (), form: Form = "label"
) -> str:
    """Describe what keeps a task from being learned, and the setting that helps, if anything."""
    if len(texts) < MIN_ANSWERS:
        return ""
    sentences = []
    refused = [text for text in texts if is_refusal(text)]
    if len(refused) >= WORTH * len(texts) and refused and not FORMS[form].has_refusals:
        sentences.append(
            f"{len(refused):,} of {len(texts):,} answers ({len(refused) / len(texts):.1%}) are "
            f"refusals in text, such as {shown(refused[-1])}: no student learns them, and where "
            "one answers such a request it disagrees."
        )
    proposal = propose(texts, folds, form)
    if proposal is not None:
        option = f"openwheel learn --answer {shlex.quote(','.join(proposal.folds))}"
        answers_left = (
            f", and {proposal.answers:,} answers are left" if not FORMS[form].closed else ""
        )
        sentences.append(
            f"{proposal.share:.1%} of the answers differ from another one only by "
            f"{_listed(_differ(name) for name in proposal.added)}, {_example(proposal)}. If your "
            f"application does not mind, answer = {_toml(proposal.folds)} under "
            f"{section(task)} ({option}) counts them as one{answers_left}."
        )
    elif FORMS[form].closed and (same := _same_words(texts, folds)):
        sentences.append(same)
    return " ".join(sentences)


def _same_words(texts: Sequence[str], folds: tuple[str, ...]) -> str:
    """Say that answers have the same words as others and no fold makes them one, if many do."""
    kinds: dict[frozenset[str], Counter[str]] = defaultdict(Counter)
    for text in texts[-MOST:]:
        words = frozenset(_WORD.findall(text.casefold()))
        if words:
            kinds[words][fold(text, folds)] += 1
    spelled = [kind for kind in kinds.values() if len(kind) > 1]
    share = sum(kind.total() - max(kind.values()) for kind in spelled) / max(len(texts[-MOST:]), 1)
    if share < WORTH:
        return ""
    (first, _), (second, _) = max(spelled, key=Counter.total).most_common(2)
    return (
        f"{share:.1%} of the answers have the same words as a more frequent one, such as "
        f"{shown(first)} and {shown(second)}. No setting counts these as one: if they mean the "
        "same, have the teacher write one of them."
    )


def _example(proposal: Proposal) -> str:
    """Return an example of what folds would do, for a sentence."""
    first, other = proposal.pair
    longer = max(first, other, key=len)
    folded = folding(proposal.folds).written(longer)
    if folded != longer:
        return f"such as {shown(longer)}, of which {shown(folded)} is kept"
    return f"such as {shown(first)} and {shown(other)}"


def section(task: str) -> str:
    """Return the name of a task's table in the settings file."""
    return f"[tasks.{_quoted(task)}]"


def _toml(names: Iterable[str]) -> str:
    return f"[{', '.join(map(_quoted, names))}]"


def _quoted(text: str) -> str:
    return msgspec.json.encode(text).decode()


def _differ(name: str) -> str:
    is_prefix = name.startswith(OWN)
    return f"{name.removeprefix(OWN)!r} before the answer" if is_prefix else FOLDS[name].differ


def _listed(parts: Iterable[str]) -> str:
    *first, last = parts
    return f"{', '.join(first)} and {last}" if first else last

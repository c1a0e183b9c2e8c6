"""A record made of what heads and tagger say, and what speaks for it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from openwheel.students.fields.align import TagSpan, spans_of
from openwheel.students.fields.calls import Calling, names_in, part
from openwheel.students.fields.crf import Decoded
from openwheel.students.fields.features import Known, hash_of, phrase_hash
from openwheel.students.fields.form import ABSENT, EACH, ROW, Field, RecordForm, Rows, as_json
from openwheel.students.fields.heads import Question
from openwheel.students.fields.render import Value
from openwheel.students.fields.words import Word
from openwheel.tasks.forms.record import Path

FloatArray = npt.NDArray[np.float64]


class Draft(NamedTuple):
    """A record before it is known how sure it is.

    Attributes:
        record: None where it cannot be written; of calls with arguments below their tool's name.
        spans: The values that the tagger found.
        torn: How many fields with one value had several found; of several calls, how many have
            arguments in a set that is new.
    """

    record: dict[str, Any] | None
    spans: list[TagSpan]
    torn: int


def draft(
    form: RecordForm,
    *,
    type_field: int,
    type_value: str,
    questions: Sequence[Question],
    answers: Sequence[int],
    tags: Sequence[tuple[int, int]],
    decoded: Decoded,
    text: str,
    words: Sequence[Word],
    calling: Calling | None = None,
) -> Draft:
    """Make a record; of several calls, one that has them all under ``calls``.

    Args:
        form: The form of records.
        type_field: Index of the field that is the type, -1 if none is.
        type_value: The type, as JSON.
        questions: What the other heads tell.
        answers: Their answers.
        tags: What the tagger's tags mean.
        decoded: What the tagger says.
        text: The input.
        words: Its words.
        calling: The tools, where records are calls of these.
    """
    path = [tags[tag] for tag in decoded.tags]
    spans = spans_of(path, decoded.marginals.tolist())
    by_field: dict[int, list[tuple[TagSpan, Value]]] = {}
    failed = False
    for span in spans:
        surface = text[words[span.first].start : words[span.last].end]
        value = form.fields[span.field].rendering.render(surface)
        if value is None:
            failed = True
        else:
            by_field.setdefault(span.field, []).append((span, value))
    chosen: dict[int, list[int]] = {}
    for question, answer in zip(questions, answers, strict=True):
        chosen.setdefault(question.field, []).append(int(answer))
    parts = _Parts(form, type_field, chosen)
    if calling is not None:
        names = names_in(type_value)
        parted = part(calling, names, by_field, words)
        if names and (parted is None or failed):
            return Draft(None, spans, 0)
        calls = [
            parts.record(as_json(name), group, *calling.own(names, i))
            for i, (name, group) in enumerate(
                zip(names, parted.groups if parted else (), strict=True)
            )
        ]
        record = _together(calls) if names else {"name": None}
        return Draft(record, spans, parted.torn if parted else 0)
    torn = sum(
        field.many == "no" and len({as_json(value) for _, value in by_field.get(i, ())}) > 1
        for i, field in enumerate(form.fields)
    )
    whole = None if failed else parts.record(type_value, by_field, range(len(form.fields)))
    return Draft(whole, spans, torn)


def _together(calls: Sequence[dict[str, Any] | None]) -> dict[str, Any] | None:
    """Return the record of calls, None if one of them cannot be written."""
    made = [call for call in calls if call is not None]
    if len(made) < len(calls):
        return None
    return made[0] if len(made) == 1 else {"calls": made}


class _Parts(NamedTuple):
    """What a record is made of beside the values in its input: see `draft`."""

    form: RecordForm
    type_field: int
    chosen: Mapping[int, Sequence[int]]

    def record(
        self,
        type_value: str,
        by_field: Mapping[int, Sequence[tuple[TagSpan, Value]]],
        among: Sequence[int],
        inside: Path = (),
        place: tuple[int, int] = (0, 0),
    ) -> dict[str, Any] | None:
        """Return the record of some fields, None if it cannot be written.

        Args:
            type_value: The type, as JSON.
            by_field: The values in the input.
            among: Indices of the fields.
            inside: Only lists of objects and empty objects below these names are put in.
            place: Of one of several calls: which it is of those of its tool, and of how many.
        """
        form = self.form
        # What cannot be learned, and is there.
        if any(form.fields[i].kind == "other" and self.chosen.get(i, (0,))[0] for i in among):
            return None
        parts = []
        # In the order in which the input has them, for a teacher that writes them so.
        firsts = {index: found[0][0].first for index, found in by_field.items()}
        for index in sorted(among, key=lambda i: (firsts.get(i, -1), i)):
            field = form.fields[index]
            if field.kind == "other" or ROW in field.path:
                continue
            if index == self.type_field:
                said = type_value
            elif field.kind == "span":
                said = _values(field, by_field.get(index, ()))
            else:
                said = _chosen(field, self.chosen.get(index, []))
                if said.startswith(EACH):
                    each = msgspec.json.decode(said.removeprefix(EACH))
                    if len(each) != place[1]:
                        return None
                    said = each[place[0]]
            parts.append((field.path, said))
        for rows in form.rows:
            if rows.path[: len(inside)] != inside:
                continue
            objects = _objects(form, rows, by_field)
            parts.append((rows.path, as_json(objects) if objects else rows.otherwise))
        record: dict[str, Any] = {}
        put = [
            _put(record, path, msgspec.json.decode(said)) for path, said in parts if said != ABSENT
        ]
        for empty in form.objects:
            if empty[: len(inside)] == inside:
                _put(record, empty, {}, only_new=True)
        return record if all(put) else None


def _objects(
    form: RecordForm, rows: Rows, by_field: Mapping[int, Sequence[tuple[TagSpan, Value]]]
) -> list[dict[str, Any]]:
    """Return the objects of a list: the values of their fields, parted in the input's order."""
    own = {i: field for i, field in enumerate(form.fields) if field.path[:-1] == (*rows.path, ROW)}
    found = [(span, value) for i in own for span, value in by_field.get(i, ())]
    objects: list[dict[int, Value]] = []
    for span, value in sorted(found, key=lambda part: (part[0].first, part[0].last)):
        if not objects or span.field == rows.leader or span.field in objects[-1]:
            objects.append({})
        objects[-1][span.field] = value
    made = []
    for values in objects:
        row: dict[str, Any] = {}
        for i, field in own.items():
            if i in values:
                row[field.path[-1]] = values[i]
            elif field.kind == "constant":
                row[field.path[-1]] = msgspec.json.decode(field.values[0])
            elif field.otherwise:
                row[field.path[-1]] = msgspec.json.decode(field.otherwise)
        made.append(row)
    return made


def _chosen(field: Field, answers: Sequence[int]) -> str:
    """Return what a field that does not come out of the input has."""
    if field.kind == "constant":
        return field.values[0]
    if field.kind == "label":
        return field.values[answers[0]]
    parts = [value for value, yes in zip(field.values, answers, strict=True) if yes]
    return f"[{','.join(parts)}]" if parts else field.otherwise


def _values(field: Field, found: Sequence[tuple[TagSpan, Value]]) -> str:
    if not found:
        return field.otherwise
    values = [value for _, value in found]
    if field.many == "no":
        votes: Counter[str] = Counter()
        for span, value in found:
            votes[as_json(value)] += max(span.probability, 1e-9)  # type: ignore[assignment]
        return votes.most_common(1)[0][0]
    if not field.repeats:
        values = list({as_json(value): value for value in values}.values())
    if field.ordered:
        values.sort(key=str)
    if field.many == "either" and len(values) == 1:
        return as_json(values[0])
    return as_json(values)


def _put(record: dict[str, Any], path: Path, value: Any, *, only_new: bool = False) -> bool:
    """Put a value where its names lead; return False if something else is in the way."""
    at = record
    for name in path[:-1]:
        inner = at.setdefault(name, {})
        if not isinstance(inner, dict):
            return False
        at = inner
    if path[-1] in at:
        return only_new
    at[path[-1]] = value
    return True


class Seen(NamedTuple):
    """How often training had a set of fields, and a text with its values cut out, by hashes."""

    signatures: Mapping[int, int]
    templates: Mapping[int, int]


def signature_of(type_hash: int, spans: Sequence[tuple[int, int, int]]) -> int:
    """Return the hash of a record's type and the fields that have values."""
    return phrase_hash([type_hash, *sorted(field + 1 for field, _, _ in spans)])


def template_of(words: Sequence[int], spans: Sequence[tuple[int, int, int]]) -> int:
    """Return the hash of a text whose values stand for their fields alone."""
    inside: dict[int, int] = {}
    for field, first, last in spans:
        for place in range(first, last + 1):
            inside.setdefault(place, field + 1 if place == first else 0)
    return phrase_hash(
        [inside.get(place, word) for place, word in enumerate(words) if inside.get(place, word)]
    )


def type_hash_of(value: str) -> int:
    """Return the hash of a type."""
    return hash_of(f"type {value}")


def flags_of(drafted: Draft, label: int, *, fields: int, types: int) -> list[float]:
    """Return which fields a record has values of from its input, and of which type it is.

    Args:
        drafted: The record.
        label: Index of its type.
        fields: How many fields there are.
        types: How many types there are.
    """
    flags = [0.0] * (fields + types)
    for span in drafted.spans:
        flags[span.field] = 1.0
    flags[fields + label] = 1.0
    return flags


CLIP = 30.0


def evidence_of(
    drafted: Draft,
    decoded: Decoded,
    known: Known,
    words: Sequence[int],
    *,
    type_hash: int,
    leads: FloatArray,
    seen: Seen,
    own: tuple[int, int] | None,
) -> list[float]:
    """Return what speaks for a record beside the evidence of its type; the second is the lead.

    Args:
        drafted: The record.
        decoded: What the tagger said.
        known: What memory says of the text.
        words: The hashes of its words.
        type_hash: Hash of its type.
        leads: Of the other heads' answers.
        seen: What training had.
        own: Signature and template of this very text where it is of training: they do not count.
    """
    spans = [(span.field, span.first, span.last) for span in drafted.spans]
    signature, template = signature_of(type_hash, spans), template_of(words, spans)
    signatures = seen.signatures.get(signature, 0) - bool(own and own[0] == signature)
    templates = seen.templates.get(template, 0) - bool(own and own[1] == template)
    marginals = np.clip(decoded.marginals.astype(np.float64), 1e-9, 1 - 1e-7)
    odds = np.log(marginals / (1 - marginals)) if len(marginals) else np.zeros(1)
    right = wrong = unknown = 0
    starts = {
        (place, code // 8)
        for place, code in zip(known.places, known.codes, strict=True)
        if code % 8 in (1, 3, 5)
    }
    starting = {place for place, _ in starts}
    for field, first, _ in spans:
        if (first, field) in starts:
            right += 1
        elif first in starting:
            wrong += 1
        else:
            unknown += 1
    within = {place for _, first, last in spans for place in range(first, last + 1)}
    new = known.new
    return [
        max(decoded.logprob, -CLIP),
        min(decoded.logprob - decoded.second, CLIP),
        float(odds.min()),
        float(marginals.mean()) if len(marginals) else 0.0,
        float(np.log1p(len(words))),
        float(len(spans)),
        min([span.probability for span in drafted.spans], default=1.0),
        float(drafted.torn),
        float(np.log1p(max(signatures, 0))),
        float(np.log1p(max(templates, 0))),
        right / (len(spans) or 1),
        float(wrong),
        float(unknown),
        float(len([place for place in starting if place not in within])),
        float(sum(flag for place, flag in enumerate(new) if place not in within)),
        float(sum(flag for place, flag in enumerate(new) if place in within)),
        float(leads.min()) if len(leads) else 1.0,
        float(leads.mean()) if len(leads) else 1.0,
    ]

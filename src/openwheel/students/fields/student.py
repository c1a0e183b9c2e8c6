"""The student of records on the rung ``linear``."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from openwheel.errors import StudentFileError
from openwheel.students.agreement import Agreement
from openwheel.students.evidence import Core, Lexical
from openwheel.students.fields.calls import Calling, names_in, plain
from openwheel.students.fields.confidence import Confidence
from openwheel.students.fields.crf import Choices, Crf, Decoded, decode, decode_one
from openwheel.students.fields.dependent import (
    Dependent,
    facts_of,
    ngrams_of,
    tell_again,
)
from openwheel.students.fields.drafts import (
    Draft,
    Seen,
    draft,
    evidence_of,
    flags_of,
    type_hash_of,
)
from openwheel.students.fields.features import (
    Asked,
    Known,
    Memory,
    keys_of,
    look_up,
    matrix_of,
    places_in,
    word_hash,
)
from openwheel.students.fields.form import RecordForm, flat_of
from openwheel.students.fields.heads import (
    Heads,
    Question,
    Said,
    said_of,
    said_with,
)
from openwheel.students.fields.paths import FEATURES, take, whole_of
from openwheel.students.fields.schema import satisfies
from openwheel.students.fields.style import Style
from openwheel.students.fields.words import Word, words_of
from openwheel.students.guard import Guard
from openwheel.students.head import Head
from openwheel.students.model import text_of
from openwheel.students.rung import Saved
from openwheel.students.student import Answers, Inputs
from openwheel.students.tfidf import Tfidf
from openwheel.students.tools import offered
from openwheel.tasks.forms.call import call_in, calls_of, joined_calls
from openwheel.trust import Base

AT_ONCE = 500
"""Texts whose features are laid out at once."""

CONFIDENCE = "confidence."
"""Before the names of the arrays of a student's confidence."""

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

MOST_WORDS = 1_000
"""A text with more words is left to the teacher: tagging it would hold up a gateway."""


class FieldsSettings(msgspec.Struct, frozen=True):
    """What is saved of a student beside its arrays.

    Attributes:
        variables: Which inputs it reads.
        record: The form of its records.
        style: How it writes them.
        schema: The JSON Schema that requests carry, as JSON; ``""`` if they carry none.
        type_field: Index of the field that is a record's type; -1 if none is.
        types: The types as canonical JSON.
        questions: What heads tell beside the type.
        tags: What the tagger's tags mean.
        longest: Words of the longest value that is looked up.
        guard_intercept, guard_limit: Of the guard.
        calls: Whether a record is a call of a tool.
        tools: The tools that all requests offer, as in `Prompt`; ``""`` if they differ.
        named: Whether the last input has the names of the tools that a request offers.
        calling: The tools, where records are calls of these.
    """

    variables: tuple[int, ...]
    record: RecordForm
    style: Style
    schema: str
    type_field: int
    types: tuple[str, ...]
    questions: tuple[Question, ...]
    tags: tuple[tuple[int, int], ...]
    longest: int
    guard_intercept: float
    guard_limit: float
    calls: bool = False
    tools: str = ""
    calling: Calling | None = None
    named: bool = False


class Tagger(NamedTuple):
    """A tagger: the features that have weights, sorted, and the random field on them.

    Attributes:
        keys: The features.
        crf: The random field.
        choices: Which tags texts of each type may have.
        paths: What tells among its best paths, None if the best is taken.
    """

    keys: npt.NDArray[np.uint64]
    crf: Crf
    choices: Choices
    paths: npt.NDArray[np.float64] | None = None

    def scores(self, asked: Sequence[Asked], memory: Memory) -> npt.NDArray[np.float32]:
        """Return the score of each tag at each word, one text after the other."""
        rows, keys = keys_of(asked, memory)
        words = sum(len(one.words) for one in asked)
        features = matrix_of(rows, keys, self.keys, words)
        columns, local = np.unique(features.indices, return_inverse=True)
        own = features.__class__(
            (features.data, local.astype(np.int32), features.indptr), shape=(words, len(columns))
        )
        return np.asarray(own @ self.crf.weights[columns].astype(np.float32))

    def scores_of_one(
        self, asked: Asked, memory: Memory, tags: IntArray
    ) -> npt.NDArray[np.float32]:
        """Return the score of some tags at each word of one text.

        Without a sparse matrix, which costs more than the arithmetic.
        """
        rows, keys = keys_of([asked], memory)
        scores = np.zeros((len(asked.words), len(tags)), np.float32)
        columns, known = places_in(self.keys, keys)
        rows, columns = rows[known], columns[known]
        if len(rows):
            order = np.argsort(rows, kind="stable")
            rows = rows[order]
            found = self.crf.weights[columns[order][:, None], tags].astype(np.float32)
            starts = np.flatnonzero(np.concatenate(([True], rows[1:] != rows[:-1])))
            scores[rows[starts]] = np.add.reduceat(found, starts, axis=0)
        return scores

    def tag(self, asked: Sequence[Asked], types: IntArray, memory: Memory) -> list[Decoded]:
        """Return the best path of each text.

        Args:
            asked: The texts.
            types: Type of each, shape (n,).
            memory: What training knows.
        """
        groups, several = self.choices.groups[types], self.paths is not None
        if len(asked) == 1:
            tags = self.choices.tags[groups[0]]
            return [
                decode_one(
                    self.crf, self.scores_of_one(asked[0], memory, tags), tags, several=several
                )
            ]
        found: list[Decoded] = []
        for start in range(0, len(asked), AT_ONCE):
            part = asked[start : start + AT_ONCE]
            lengths = np.array([len(one.words) for one in part], np.int64)
            choices = Choices(self.choices.tags, groups[start : start + AT_ONCE])
            found += decode(self.crf, self.scores(part, memory), lengths, choices, several=several)
        return found


class Reading(NamedTuple):
    """A text as a student reads it.

    Attributes:
        text: The text.
        words: Its words; none of a text that cannot be answered.
        hashes: Their hashes.
        known: What training knows of them.
        own: Signature and template of the text's record where it is of training.
    """

    text: str
    words: Sequence[Word]
    hashes: Sequence[int]
    known: Known
    own: tuple[int, int] | None = None


class Looked(NamedTuple):
    """What a student makes of a batch of texts, before it is known how sure that is.

    Attributes:
        readings: The texts.
        said: What heads say: types, and the answers to the other questions.
        drafts: The records.
        features: What speaks for each, shape (n, k).
        fits: Whether a text can be read at all, shape (n,); of others there is no record.
    """

    readings: list[Reading]
    said: Said
    drafts: list[Draft]
    features: npt.NDArray[np.float64]
    fits: npt.NDArray[np.bool_]


def answers_of(written: list[str], confidence: npt.NDArray[np.float64]) -> Answers:
    """Return answers; without a text there is no confidence in it."""
    return Answers(written, np.where([bool(text) for text in written], confidence, 0.0))


class FieldsStudent:
    """A student that writes records: their type by a linear head, their fields by a tagger."""

    rung = "linear"
    answers: tuple[str, ...] = ()

    def __init__(
        self,
        settings: FieldsSettings,
        *,
        heads: Heads,
        tagger: Tagger,
        memory: Memory,
        seen: Seen,
        confidence: Confidence,
        guard: Guard,
        dependents: Sequence[Dependent] = (),
    ) -> None:
        self.settings = settings
        self.heads = heads
        self.tagger = tagger
        self.memory = memory
        self.seen = seen
        self.confidence = confidence
        self.guard = guard
        self.dependents = tuple(dependents)
        self._schema = msgspec.json.decode(settings.schema) if settings.schema else None
        self._tools = offered(settings.tools) if settings.tools else None
        self._types = [type_hash_of(value) for value in settings.types]

    def base(self) -> Base | None:
        """Return None: it is built on no checkpoint."""
        return None

    def write_files(self, folder: Path) -> None:
        """Write nothing: it has no further files."""

    def answer_one(self, inputs: Inputs) -> tuple[str, float]:
        """Answer one input."""
        texts, confidence = self.answer([inputs])
        return texts[0], float(confidence[0])

    def answer(self, inputs: Sequence[Inputs]) -> Answers:
        """Answer a batch with records as the teacher would have written them."""
        if not inputs:
            return Answers([], np.zeros(0))
        looked = self.look([text_of(values, self.settings.variables) for values in inputs])
        written = self.sent(looked.drafts, inputs)
        confidence = self.confidence.of(looked.features)
        confidence[self.guard.defers(looked.said.evidence) | ~looked.fits] = 0.0
        return answers_of(written, confidence)

    def sent(self, drafts: Sequence[Draft], inputs: Sequence[Inputs]) -> list[str]:
        """Return each record as it is sent; ``""`` where there is none that its input allows."""
        written = [self.written(drafted) for drafted in drafts]
        if not self.settings.named:
            return written
        return [
            text if _offers(values, text) else ""
            for text, values in zip(written, inputs, strict=True)
        ]

    def look(self, texts: Sequence[str]) -> "Looked":
        """Return what heads and tagger make of texts, before it is known how sure that is."""
        said = said_of(self.heads, texts)
        readings = [self._read(text) for text in texts]
        fits = np.array([bool(one.words) for one in readings], np.bool_)
        asked = [
            Asked([word.text for word in one.words], self._types[label], one.known)
            for one, label in zip(readings, said.evidence.labels, strict=True)
        ]
        decoded = self.tagger.tag(asked, said.evidence.labels, self.memory)
        if self.tagger.paths is not None:
            decoded = [
                self._taken(found, one, self._types[label], self.tagger.paths)
                for found, one, label in zip(decoded, readings, said.evidence.labels, strict=True)
            ]

        def drafts_of(said: Said) -> list[Draft]:
            return [
                self.draft_of(one, int(label), answers, found)
                for one, label, answers, found in zip(
                    readings, said.evidence.labels, said.answers, decoded, strict=True
                )
            ]

        drafts = drafts_of(said)
        if self.dependents:
            settings = self.settings
            told = [flat_of(drafted.record or {}) for drafted in drafts]
            scores = tell_again(
                self.dependents,
                settings.questions,
                settings.record.fields,
                told,
                ngrams=[ngrams_of(one.hashes) for one in readings],
                scores=said.scores,
            )
            said = said_with(said.evidence, scores, self.heads.sizes)
            drafts = drafts_of(said)
        rows = [
            self.evidence_of(one, drafted, int(label), leads, found)
            for one, drafted, label, leads, found in zip(
                readings, drafts, said.evidence.labels, said.leads, decoded, strict=True
            )
        ]
        drafts = [
            drafted if fit else drafted._replace(record=None)
            for drafted, fit in zip(drafts, fits, strict=True)
        ]
        features = np.concatenate((np.array(rows), said.evidence.features), axis=1)
        return Looked(readings, said, drafts, features, fits)

    def _taken(
        self, found: Decoded, reading: Reading, type_hash: int, weights: FloatArray
    ) -> Decoded:
        """Return which of the best paths is taken."""
        if not found.others:
            return found
        whole = whole_of(
            found,
            self.settings.tags,
            reading.hashes,
            type_hash=type_hash,
            seen=self.seen,
            own=None,
        )
        return take(found, whole @ weights)

    def _read(self, text: str) -> Reading:
        """Read a text; one that cannot be answered has no words."""
        words = words_of(text)
        if not 0 < len(words) <= MOST_WORDS or not _is_text(text):
            return Reading(text, [], [], Known([], [], []))
        hashes = [word_hash(word.text) for word in words]
        return Reading(text, words, hashes, look_up(self.memory, hashes, seen=False))

    def draft_of(
        self, reading: Reading, label: int, answers: Sequence[int], found: Decoded
    ) -> Draft:
        """Make a record of what heads and a tagger say of a text.

        Args:
            reading: The text.
            label: Index of the record's type.
            answers: To the other questions.
            found: What the tagger says.
        """
        settings = self.settings
        return draft(
            settings.record,
            type_field=settings.type_field,
            type_value=settings.types[label],
            questions=settings.questions,
            answers=answers,
            tags=settings.tags,
            decoded=found,
            text=reading.text,
            words=reading.words,
            calling=settings.calling,
        )

    def evidence_of(
        self, reading: Reading, drafted: Draft, label: int, leads: FloatArray, found: Decoded
    ) -> list[float]:
        """Return what speaks for a record beside the evidence of its type.

        Args:
            reading: Its text.
            drafted: The record.
            label: Index of its type.
            leads: Of the answers to the other questions.
            found: What the tagger said.
        """
        evidence = evidence_of(
            drafted,
            found,
            reading.known,
            reading.hashes,
            type_hash=self._types[label],
            leads=self._leads_of(label, leads),
            seen=self.seen,
            own=reading.own,
        )
        fields, types = len(self.settings.record.fields), len(self.settings.types)
        return evidence + flags_of(drafted, label, fields=fields, types=types)

    def _leads_of(self, label: int, leads: FloatArray) -> FloatArray:
        """Return the leads of the heads whose answers a record of this type has."""
        calling = self.settings.calling
        if calling is None:
            return leads
        names = set(names_in(self.settings.types[label]))
        takes = {field for name in names for field in calling.tools[name].takes}
        return leads[[question.field in takes for question in self.settings.questions]]

    def sure(self, confidence: Confidence, guard: Guard) -> "FieldsStudent":
        """Return the student with another confidence and guard."""
        return FieldsStudent(
            self.settings,
            heads=self.heads,
            tagger=self.tagger,
            memory=self.memory,
            seen=self.seen,
            confidence=confidence,
            guard=guard,
            dependents=self.dependents,
        )

    def depending(self, dependents: Sequence[Dependent]) -> "FieldsStudent":
        """Return the student that tells some labels by other fields."""
        return FieldsStudent(
            self.settings,
            heads=self.heads,
            tagger=self.tagger,
            memory=self.memory,
            seen=self.seen,
            confidence=self.confidence,
            guard=self.guard,
            dependents=dependents,
        )

    def written(self, drafted: Draft) -> str:
        """Return a record as it is sent; ``""`` where there is none that the schema allows."""
        if drafted.record is None:
            return ""
        if self.settings.calls:
            return self._written_call(drafted.record)
        if self._schema is not None and not satisfies(drafted.record, self._schema):
            return ""
        return self.settings.style.write(drafted.record)

    def _written_call(self, record: dict[str, Any]) -> str:
        """Return calls as they are sent; ``""`` where the input gets none, or none that may be."""
        each = calls_of(record)
        if not all(isinstance(call.get("name"), str) for call in each):
            return ""
        text = joined_calls([self.settings.style.write(plain(call)) for call in each])
        calls = call_in(text).tool_calls
        if not calls or not (self._tools is None or self._tools.take_all(calls)):
            return ""
        return text

    def state(self) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
        """Return what to save."""
        lexical = self.heads.core.lexical
        assert lexical is not None
        arrays: dict[str, npt.NDArray[Any]] = {
            "tfidf.keys": lexical.tfidf.keys,
            "tfidf.idf": lexical.tfidf.idf,
            "type.centroids": lexical.centroids,
            "type.weights": self.heads.core.head.weights,
            "type.bias": self.heads.core.head.bias,
            "heads.weights": self.heads.weights,
            "heads.bias": self.heads.bias,
            "tagger.keys": self.tagger.keys,
            "tagger.weights": self.tagger.crf.weights,
            "tagger.transitions": self.tagger.crf.transitions,
            "tagger.choices": _as_rows(self.tagger.choices.tags, len(self.settings.tags)),
            "tagger.groups": self.tagger.choices.groups,
            **self.guard.model.arrays("guard"),
            "words": np.array(sorted(self.memory.words), np.uint64),
            "clusters": np.array(
                [(word, *pair) for word, pair in sorted(self.memory.clusters.items())], np.uint64
            ).reshape(-1, 3),
            **_pairs("phrases", self.memory.phrases),
            **_pairs("parts", self.memory.parts),
            **_counts("signatures", self.seen.signatures),
            **_counts("templates", self.seen.templates),
            **self.confidence.state(CONFIDENCE),
            **{
                f"dependent.{i}.{name}": np.atleast_1d(array)
                for i, dependent in enumerate(self.dependents)
                for name, array in dependent._asdict().items()
            },
        }
        settings = msgspec.structs.replace(
            self.settings,
            guard_intercept=self.guard.model.intercept,
            guard_limit=self.guard.limit,
        )
        return msgspec.to_builtins(settings), arrays

    @classmethod
    def from_state(
        cls, settings: dict[str, Any], arrays: dict[str, npt.NDArray[Any]]
    ) -> "FieldsStudent":
        """Rebuild a saved student.

        Raises:
            StudentFileError: A part is missing, or parts do not fit.
        """
        try:
            known = msgspec.convert(settings, FieldsSettings)
            lexical = Lexical(
                Tfidf(arrays["tfidf.keys"], arrays["tfidf.idf"]), arrays["type.centroids"]
            )
            core = Core(Head(arrays["type.weights"], arrays["type.bias"]), lexical, None)
            sizes = tuple(question.answers for question in known.questions)
            heads = Heads(core, arrays["heads.weights"], arrays["heads.bias"], sizes)
            crf = Crf(arrays["tagger.weights"], arrays["tagger.transitions"])
            clusters = {int(w): (int(a), int(b)) for w, a, b in arrays["clusters"]}
            memory = Memory(
                _read_pairs(arrays, "phrases"),
                _read_pairs(arrays, "parts"),
                dict.fromkeys(arrays["words"].tolist(), 1),
                clusters,
                known.longest,
            )
            seen = Seen(_read_counts(arrays, "signatures"), _read_counts(arrays, "templates"))
            model = Agreement.read(arrays, "guard", known.guard_intercept)
            choices = Choices(
                [np.flatnonzero(row) for row in arrays["tagger.choices"]], arrays["tagger.groups"]
            )
            tagger = Tagger(arrays["tagger.keys"], crf, choices, arrays.get("tagger.paths"))
            confidence = Confidence.from_state(arrays, CONFIDENCE)
            dependents = _read_dependents(arrays)
        except (KeyError, ValueError, msgspec.ValidationError) as error:
            raise StudentFileError(f"The student's files lack a part: {error}") from None
        _require_fit(known, heads, tagger)
        _require_dependents_fit(known, dependents)
        return cls(
            known,
            heads=heads,
            tagger=tagger,
            memory=memory,
            seen=seen,
            confidence=confidence,
            guard=Guard(model, known.guard_limit),
            dependents=dependents,
        )


def _offers(inputs: Inputs, text: str) -> bool:
    """Whether the tools that a text calls are among those of the last input."""
    names = inputs[-1].split("\n") if inputs else []
    return all(call.name in names for call in call_in(text).tool_calls)


def is_of_records(saved: Saved) -> bool:
    """Return whether a saved student is one of records."""
    return "record" in saved.settings


def load_fields(saved: Saved) -> FieldsStudent:
    """Rebuild a saved student of records; see `Rung.load`."""
    return FieldsStudent.from_state(saved.settings, saved.arrays)


def _is_text(text: str) -> bool:
    """Whether a text can be sent: half of a surrogate pair cannot."""
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


def _require_fit(settings: FieldsSettings, heads: Heads, tagger: Tagger) -> None:
    """Raise a StudentFileError unless parts of a student fit together."""
    tags, fields = len(settings.tags), len(settings.record.fields)
    wanted = {
        "tagger.weights": ((len(tagger.keys), tags), tagger.crf.weights.shape),
        "tagger.transitions": ((tags + 1, tags), tagger.crf.transitions.shape),
        "tagger.paths": ((FEATURES,), (FEATURES,) if tagger.paths is None else tagger.paths.shape),
        "tagger.groups": ((len(settings.types),), tagger.choices.groups.shape),
        "type.bias": ((len(settings.types),), heads.core.head.bias.shape),
        "heads.bias": ((sum(heads.sizes),), heads.bias.shape),
    }
    for name, (shape, found) in wanted.items():
        if shape != found:
            raise StudentFileError(
                f"The student's files do not fit together: {name} must have the shape {shape}, "
                f"has {found}"
            )
    named = [code // 2 for tag in settings.tags for code in ((tag[0] + 1), (tag[1] + 1))]
    if any(len(own) == 0 or own[-1] >= tags for own in tagger.choices.tags) or (
        len(tagger.choices.groups)
        and not 0
        <= tagger.choices.groups.min()
        <= tagger.choices.groups.max()
        < len(tagger.choices.tags)
    ):
        raise StudentFileError("The student's files name a tag beyond those there are")
    asked = [question.field for question in settings.questions]
    if max([*named, *(f + 1 for f in asked), settings.type_field + 1], default=0) > fields:
        raise StudentFileError(f"The student's files name a field beyond the {fields} there are")


def _require_dependents_fit(settings: FieldsSettings, dependents: Sequence[Dependent]) -> None:
    """Raise a StudentFileError unless forests read and tell what there is."""
    columns = len(facts_of(settings.record.fields).nothing)
    for one in dependents:
        fits = 0 <= one.question < len(settings.questions) and one.fits(
            columns, settings.questions[one.question].answers
        )
        if not fits:
            raise StudentFileError("The student's files do not fit together: dependent.")


def _as_rows(chosen: Sequence[IntArray], size: int) -> npt.NDArray[np.bool_]:
    rows = np.zeros((len(chosen), size), np.bool_)
    for row, own in zip(rows, chosen, strict=True):
        row[own] = True
    return rows


def _read_dependents(arrays: Mapping[str, npt.NDArray[Any]]) -> list[Dependent]:
    found: list[Dependent] = []
    while f"dependent.{len(found)}.question" in arrays:
        own = {name: arrays[f"dependent.{len(found)}.{name}"] for name in Dependent._fields[1:]}
        found.append(Dependent(int(arrays[f"dependent.{len(found)}.question"][0]), **own))
    return found


def _pairs(name: str, known: Mapping[int, Mapping[int, int]]) -> dict[str, npt.NDArray[Any]]:
    pairs = sorted((key, field) for key, fields in known.items() for field in fields)
    return {
        f"{name}.keys": np.array([key for key, _ in pairs], np.uint64),
        f"{name}.fields": np.array([field for _, field in pairs], np.uint16),
    }


def _read_pairs(arrays: Mapping[str, npt.NDArray[Any]], name: str) -> dict[int, dict[int, int]]:
    found: dict[int, dict[int, int]] = {}
    keys, fields = arrays[f"{name}.keys"].tolist(), arrays[f"{name}.fields"].tolist()
    for key, field in zip(keys, fields, strict=True):
        found.setdefault(key, {})[field] = 1
    return found


def _counts(name: str, known: Mapping[int, int]) -> dict[str, npt.NDArray[Any]]:
    pairs = sorted(known.items())
    return {
        f"{name}.keys": np.array([key for key, _ in pairs], np.uint64),
        f"{name}.times": np.array([times for _, times in pairs], np.uint32),
    }


def _read_counts(arrays: Mapping[str, npt.NDArray[Any]], name: str) -> dict[int, int]:
    keys, times = arrays[f"{name}.keys"].tolist(), arrays[f"{name}.times"].tolist()
    return dict(zip(keys, times, strict=True))

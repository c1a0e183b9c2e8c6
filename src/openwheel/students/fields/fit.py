"""Training a student of records, with out-of-fold records of every training input."""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from openwheel.progress import Step
from openwheel.students.evidence import join
from openwheel.students.fields.align import Aligned, Tag, align, choices_of, forbidden, tags_of
from openwheel.students.fields.calls import NAME, infer_calls_form, learn_calling, nested, plain
from openwheel.students.fields.clusters import cluster_words
from openwheel.students.fields.confidence import Confidence, cross_fitted, fit_confidence
from openwheel.students.fields.crf import NOTHING, Choices, Decoded, decode, fit_crf
from openwheel.students.fields.dependent import (
    Dependent,
    Taught,
    learn_dependents,
    may_depend,
    ngrams_of,
)
from openwheel.students.fields.drafts import (
    Draft,
    Seen,
    signature_of,
    template_of,
    type_hash_of,
)
from openwheel.students.fields.features import (
    Asked,
    Span,
    keys_of,
    look_up,
    matrix_of,
    remember,
    vocabulary,
    word_hash,
)
from openwheel.students.fields.form import (
    ABSENT,
    MOST_VALUES,
    EachCall,
    Field,
    Read,
    RecordForm,
    as_json,
    as_value,
    flat_of,
    infer_record_form,
)
from openwheel.students.fields.heads import (
    Heads,
    Question,
    Said,
    fit_heads,
    labels_of,
    questions_of,
    said_of_rows,
    said_with,
)
from openwheel.students.fields.paths import learn_choice, take, whole_of
from openwheel.students.fields.schema import unknown_keywords
from openwheel.students.fields.student import (
    MOST_WORDS,
    FieldsSettings,
    FieldsStudent,
    Reading,
    Tagger,
)
from openwheel.students.fields.style import learn_style, with_order_of_input
from openwheel.students.fields.words import words_of
from openwheel.students.guard import Guard
from openwheel.students.left_out import fit_guard, leave_out
from openwheel.students.lm.schema import requested_schema
from openwheel.students.material import Material, prepare
from openwheel.students.model import text_of
from openwheel.students.rung import Lesson
from openwheel.students.student import Fitted, Inputs, NotLearnedError, Student
from openwheel.students.tools import offered
from openwheel.tasks import FORMS, answer_in, canonical_answer, record_of
from openwheel.tasks.compare import Pair, verdicts_on
from openwheel.tasks.folds import read_folds
from openwheel.tasks.forms.call import as_one, call_in, calls_of, in_one_order, written_call
from openwheel.tasks.forms.record import Path
from openwheel.wire import Answer, split_reasoning

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

FOLDS = 3
"""Parts that are each predicted by a tagger fitted on the others."""

MOST_RECORDS = 20_000
"""The latest different inputs up to this many are trained on."""

MOST_WORDS_IN_ALL = 200_000
"""The same for their words together: more cost memory and minutes."""

MOST_TAGS = 400
MOST_TAGGER_WEIGHTS = 8_000_000
"""Features times tags: bounds the tagger's part of a student's files at 16 MB."""

MOST_WEIGHTS = 700_000
"""Features times answers of all heads: bounds their part of a student's files at 6 MB."""

ALWAYS = 0.95
"""A field that does not come out of the input leaves nothing to learn if in so many records."""


class _Records(NamedTuple):
    """Different inputs with their records, laid out.

    Attributes:
        rows: Of each the row among the exchanges.
        reads: Of each the text, its words and the record.
        flat: The leaves of each record.
        calls: The calls of tools in each record, which has them as one; none where tools are not
            called.
    """

    rows: list[int]
    reads: list[Read]
    flat: list[dict[Path, Any]]
    calls: list[list[Mapping[str, Any]]]

    def take(self, rows: IntArray) -> "_Records":
        return _Records(
            [self.rows[i] for i in rows],
            [self.reads[i] for i in rows],
            [self.flat[i] for i in rows],
            [self.calls[i] for i in rows] if self.calls else [],
        )


def fit_fields(lesson: Lesson) -> Fitted:
    """Train a student of records.

    Raises:
        ValueError: There is nothing to learn.
        NotLearnedError: A field cannot be learned; the message names it.
    """
    learned = learn_fields(lesson)
    return with_confidence(learned, learned.drafts, learned.features, learned.student.sure)


class Learned(NamedTuple):
    """A student of records before it is known how sure it is.

    Attributes:
        lesson: What it was learned from.
        learning: The records, laid out.
        student: Its heads and tagger; its confidence is still that of nothing.
        readings: The texts.
        said: What heads say out of fold: types, and the answers to the other questions.
        drafts: The records out of fold.
        features: What speaks for each, shape (n, k).
    """

    lesson: Lesson
    learning: "Learning"
    student: FieldsStudent
    readings: list[Reading]
    said: Said
    drafts: list[Draft]
    features: FloatArray


def learn_fields(lesson: Lesson) -> Learned:
    """Learn heads and a tagger of records, and predict each record out of fold.

    Raises:
        ValueError: There is nothing to learn.
        NotLearnedError: A field cannot be learned; the message names it.
    """
    inputs, answers, variables = lesson.inputs, lesson.answers, lesson.variables
    surfaces = {answer: split_reasoning(text)[1] for answer, text in lesson.surfaces.items()}
    schema = requested_schema(lesson.template.response_format) if lesson.template else ""
    if schema and (unknown := unknown_keywords(msgspec.json.decode(schema))):
        raise NotLearnedError(
            "the JSON Schema that requests carry has keywords that are not checked: "
            f"{', '.join(sorted(unknown))}"
        )
    calls, tools = FORMS[lesson.form].calls, ""
    named = calls and lesson.template is not None and lesson.template.more
    if calls and lesson.template is not None and not named:
        tools = lesson.template.tools
        if unchecked := offered(tools).unknown_keywords():
            raise NotLearnedError(
                "the JSON Schemas of the tools that requests offer have keywords that are not "
                f"checked: {', '.join(sorted(unchecked))}"
            )
    records = _read(inputs, answers, variables, surfaces, lesson.folds, calls=calls)
    if calls:
        form, flat = _with_labels_of_several(
            infer_calls_form(records.reads, records.calls), records
        )
        records = records._replace(flat=flat)
        _require_learnable_calls(form, records.calls)
    else:
        form = infer_record_form(records.reads)
        _require_learnable(form)
    type_field = 0 if calls else _type_field(form, records.flat)
    said = [
        as_json(found[form.fields[type_field].path])
        if type_field >= 0 and form.fields[type_field].path in found
        else ABSENT
        for found in records.flat
    ]
    types, material = prepare([inputs[row] for row in records.rows], said, variables, None)
    records = records.take(material.rows)
    others = sum(question.answers for question in questions_of(form.fields, type_field))
    material = material._replace(
        folds=material.places % FOLDS, most=MOST_WEIGHTS * len(types) // (len(types) + others)
    )
    spelled = [surfaces.get(answers[row], answers[row]) for row in records.rows]
    if calls:
        spelled = [
            written_call(Answer("", (call,)))
            for text in spelled
            for call in call_in(text).tool_calls
        ]
    style = learn_style(spelled)
    learning = Learning(form, type_field, types, material, records)
    style = with_order_of_input(style, *_order_of_input(learning))
    with Step(lesson.progress, "learning records", FOLDS + 1, "passes") as step:
        trained = learning.fit(step)
    settings = FieldsSettings(
        variables=variables,
        record=form,
        style=style,
        schema=schema,
        type_field=type_field,
        types=types,
        questions=learning.questions,
        tags=tuple(trained.tags),
        longest=trained.memory.longest,
        guard_intercept=0.0,
        guard_limit=1.0,
        calls=calls,
        tools=tools,
        calling=(
            learn_calling(form, records.calls, records.reads, learning.aligned) if calls else None
        ),
        named=named,
    )
    return _predicted(lesson, settings, learning, trained)


def _read(
    inputs: Sequence[Inputs],
    answers: Sequence[str],
    variables: tuple[int, ...],
    surfaces: Mapping[str, str],
    folds: tuple[str, ...],
    *,
    calls: bool,
) -> _Records:
    """Read the latest different inputs whose answers are records."""
    read: dict[str, dict[str, Any] | None] = {}
    seen: set[tuple[str, str]] = set()
    rows: list[int] = []
    reads: list[Read] = []
    several: list[list[Mapping[str, Any]]] = []
    words = 0
    for row in range(len(inputs) - 1, -1, -1):
        answer = answers[row]
        if answer not in read:
            spelled = Answer(surfaces.get(answer, answer))
            # As the teacher spells it; folds tell where a record stands among words.
            read[answer] = record_of(spelled) or record_of(spelled, folds)
        record, text = read[answer], text_of(inputs[row], variables)
        if record is None or (text, answer) in seen:
            continue
        seen.add((text, answer))
        rows.append(row)
        if calls:
            each = calls_of(record)
            record = nested(each)
            several.append(each if record["name"] is not None else [record])
        reads.append(Read(text, words_of(text)[:MOST_WORDS], record))
        words += len(reads[-1].words)
        if len(rows) >= MOST_RECORDS or words >= MOST_WORDS_IN_ALL:
            break
    rows.reverse()
    reads.reverse()
    several.reverse()
    return _Records(rows, reads, [flat_of(one.record) for one in reads], several)


def _order_of_input(
    learning: "Learning",
) -> tuple[list[Mapping[str, Any]], list[dict[Path, int]]]:
    """Return records as the teacher wrote them, with the places of their values in the input."""
    records, firsts = [], []
    for i, aligned in enumerate(learning.aligned):
        places = {learning.form.fields[f].path: first for f, first, _ in reversed(aligned.spans)}
        record = learning.records.reads[i].record
        if learning.records.calls:
            [record, *more] = learning.records.calls[i]
            if more:
                continue
            places = {(path[0], *path[2:]): place for path, place in places.items()}
        records.append(record)
        firsts.append(places)
    return records, firsts


def _with_labels_of_several(
    form: RecordForm, records: _Records
) -> tuple[RecordForm, list[dict[Path, Any]]]:
    """Return the form and the leaves of several calls with their labels as one.

    A label that all calls of an answer have that take it is theirs; others are together one label,
    of each call its own.
    """
    flat_calls = [[flat_of(nested([call])) for call in each] for each in records.calls]
    labels = {field.path for field in form.fields if field.kind != "span" and field.path != NAME}
    seen: dict[Path, Counter[str]] = defaultdict(Counter)
    flat = []
    for own, calls in zip(records.flat, flat_calls, strict=True):
        made = dict(own)
        for path in labels & own.keys() if len(calls) > 1 else ():
            takers = [call for call in calls if path[1] == call.get(NAME)]
            if len(takers) < 2:
                continue
            values = [as_json(call[path]) if path in call else ABSENT for call in takers]
            if len(set(values)) == 1:
                made[path] = takers[0][path]
            else:
                made[path] = EachCall(values)
                seen[path][as_value(made[path])] += 1
        flat.append(made)
    fields = [
        msgspec.structs.replace(
            field,
            values=(
                *field.values,
                *(value for value, times in seen[field.path].most_common(MOST_VALUES) if times > 1),
            ),
        )
        if field.kind == "label"
        else field
        for field in form.fields
    ]
    return msgspec.structs.replace(form, fields=tuple(fields)), flat


def _is_call(record: Mapping[Path, Any]) -> bool:
    """Whether a flat record of a task that calls tools is a call, rather than `NO_CALL`."""
    return record.get(NAME) is not None


def _require_learnable_calls(
    form: RecordForm, calls: Sequence[Sequence[Mapping[str, Any]]]
) -> None:
    """Raise a NotLearnedError if nearly all calls have an argument that is not learned."""
    never = [f for f in form.fields if f.kind == "other" and f.present >= ALWAYS]
    tools = {field.path[1] for field in never}
    names = [call["name"] for each in calls for call in each if call["name"] is not None]
    if names and sum(name in tools for name in names) >= ALWAYS * len(names):
        _require_learnable(msgspec.structs.replace(form, fields=tuple(never)))


def _require_learnable(form: RecordForm) -> None:
    """Raise a NotLearnedError if nearly all records have a field that is not learned."""
    found = [field for field in form.fields if field.kind == "other" and field.present >= ALWAYS]
    if found:
        named = "; ".join(
            f"{field.name!r} does not come out of the input ({field.derived:.0%} of its values "
            "stand there), and is none of a closed set"
            for field in found
        )
        raise NotLearnedError(f"its records have fields that cannot be learned: {named}")


def _type_field(form: RecordForm, flat: Sequence[Mapping[Path, Any]]) -> int:
    """Return the label that says most about which other fields there are, -1 if none does."""
    best, most = -1, -1.0
    spans = [field for field in form.fields if field.kind == "span"]
    for index, field in enumerate(form.fields):
        if field.kind != "label":
            continue
        groups: dict[str, list[int]] = defaultdict(list)
        for row, found in enumerate(flat):
            groups[as_json(found[field.path]) if field.path in found else ABSENT].append(row)
        told = 0.0
        for span in spans:
            there = np.array([_has(found, span) for found in flat])
            told += _entropy(there.mean()) - sum(
                len(rows) / len(flat) * _entropy(there[rows].mean()) for rows in groups.values()
            )
        if told > most:
            best, most = index, told
    return best


def _has(found: Mapping[Path, Any], field: Field) -> bool:
    return field.path in found and as_json(found[field.path]) != field.otherwise


def _place_of(truth: IntArray, found: Decoded) -> int:
    """Return which of the paths of a text is right, -1 if none is."""
    paths = [path.tags for path in (found, *found.others)]
    return next((i for i, path in enumerate(paths) if np.array_equal(path, truth)), -1)


def _entropy(share: float) -> float:
    return -sum(p * math.log(p) for p in (share, 1 - share) if p > 0)


class _Trained(NamedTuple):
    """All that is fitted, and what was predicted out of fold."""

    tags: list[Tag]
    memory: Any
    seen: Seen
    heads: Heads
    tagger: Tagger
    said: Said
    decoded: list[Decoded]
    asked: list[Asked]
    own: list[tuple[int, int]]


class Learning:
    """One task's records, as they are learned."""

    def __init__(
        self,
        form: RecordForm,
        type_field: int,
        types: tuple[str, ...],
        material: Material,
        records: _Records,
    ) -> None:
        self.form = form
        self.type_field = type_field
        self.types = types
        self.material = material
        self.records = records
        self.questions = questions_of(form.fields, type_field)
        self.labels = [
            (question, self._labels_of(question, form.fields[question.field]))
            for question in self.questions
        ]
        self.aligned: list[Aligned] = align(records.reads, form.fields)

    def _labels_of(self, question: Question, field: Field) -> IntArray:
        """Return the answers of records to a question; of tools that are not called, none."""
        labels = labels_of(question, field, self.records.flat)
        if self.records.calls:
            asked = [
                any(call.get("name") == field.path[1] for call in each)
                for each in self.records.calls
            ]
            labels[~np.array(asked, np.bool_)] = -1
        return labels

    def fit(self, step: Step) -> _Trained:
        """Fit heads and taggers, on all and on all but each fold."""
        material, reads = self.material, self.records.reads
        heads, said = self._heads()
        words = [[word.text for word in one.words] for one in reads]
        hashes = [[word_hash(word) for word in each] for each in words]
        spans: list[list[Span]] = [one.spans for one in self.aligned]
        memory = remember(words, spans, cluster_words(hashes))
        type_hashes = [type_hash_of(value) for value in self.types]
        asked = [
            Asked(each, type_hashes[label], look_up(memory, hashed, own, seen=True))
            for each, hashed, own, label in zip(
                words, hashes, spans, said.evidence.labels, strict=True
            )
        ]
        lengths = np.array([len(each) for each in words], np.int64)
        paths = [tags_of(len(each), own) for each, own in zip(words, spans, strict=True)]
        tags = [(0, 0), *sorted({tag for path in paths for tag in path} - {(0, 0)})]
        if len(tags) > MOST_TAGS:
            raise NotLearnedError(
                f"the records' fields take {len(tags)} tags, more than {MOST_TAGS}"
            )
        rows, keys = keys_of(asked, memory)
        known = vocabulary(keys, MOST_TAGGER_WEIGHTS // len(tags))
        features = matrix_of(rows, keys, known, int(lengths.sum()))
        del rows, keys
        index = {tag: i for i, tag in enumerate(tags)}
        flat = np.array([index[tag] for path in paths for tag in path], np.int64)
        rules = forbidden(tags)
        choices = choices_of(material.labels, lengths, flat, len(tags))
        # Of a type that is too rare to be told, all.
        own_choices = Choices(
            choices.tags, np.where(material.labels < 0, 0, choices.groups[material.labels])
        )
        told_choices = Choices(choices.tags, choices.groups[said.evidence.labels])
        starts = np.concatenate(([0], np.cumsum(lengths)))

        def words_in(chosen: IntArray) -> IntArray:
            parts = [np.arange(starts[i], starts[i + 1]) for i in chosen]
            return np.concatenate(parts) if parts else np.zeros(0, np.int64)

        decoded = [NOTHING] * len(reads)
        step(1)
        for done, fold in enumerate(np.unique(material.folds)):
            fitting, testing = self._parts(int(fold))
            inside, outside = words_in(fitting), words_in(testing)
            crf = fit_crf(
                features[inside], flat[inside], lengths[fitting], rules, own_choices.take(fitting)
            )
            scores = np.asarray(features[outside] @ crf.weights)
            found = decode(crf, scores, lengths[testing], told_choices.take(testing), several=True)
            for row, one in zip(testing, found, strict=True):
                decoded[row] = one
            step(done + 2)
        crf = fit_crf(features, flat, lengths, rules, own_choices)
        kept = np.abs(crf.weights).max(axis=1) > SMALL if len(known) else np.zeros(0, np.bool_)
        crf = crf._replace(weights=crf.weights[kept].astype(np.float16))
        own_hashes = [type_hashes[max(label, 0)] for label in material.labels]
        own = [
            (signature_of(kind, found), template_of(hashed, found))
            for kind, found, hashed in zip(own_hashes, spans, hashes, strict=True)
        ]
        seen = Seen(
            dict(Counter(signature for signature, _ in own)),
            dict(Counter(template for _, template in own)),
        )
        wholes = [
            whole_of(found, tags, hashed, type_hash=one.type, seen=seen, own=counted)
            for found, hashed, one, counted in zip(decoded, hashes, asked, own, strict=True)
        ]
        # With a wrong type no path is right.
        typed = said.evidence.labels == material.labels
        truths = np.split(flat, starts[1:-1])
        right = np.array(
            [
                _place_of(truth, found) if same else -1
                for truth, found, same in zip(truths, decoded, typed, strict=True)
            ],
            np.int64,
        )
        weights, scores_of_paths = learn_choice(wholes, right, material.folds)
        if weights is not None:
            decoded = [take(*one) for one in zip(decoded, scores_of_paths, strict=True)]
        return _Trained(
            tags,
            memory,
            seen,
            heads,
            Tagger(known[kept], crf, choices, weights),
            said,
            decoded,
            asked,
            own,
        )

    def _heads(self) -> tuple[Heads, Said]:
        """Fit heads on all records, and return what those without a fold say of it."""
        material, types = self.material, len(self.types)
        parts, order = [], []
        for fold in np.unique(material.folds):
            fitting, testing = self._parts(int(fold))
            heads = fit_heads(material, fitting, types, self.labels)
            parts.append(said_of_rows(heads, material, testing))
            order.append(testing)
        back = np.argsort(np.concatenate(order), kind="stable")
        evidence = join([part.evidence for part in parts]).take(back)
        scores = np.concatenate([part.scores for part in parts])[back]
        sizes = [question.answers for question in self.questions]
        heads = fit_heads(material, np.arange(len(material.rows)), types, self.labels)
        return heads, said_with(evidence, scores, sizes)

    def depend(self, trained: _Trained, drafts: Sequence[Draft]) -> tuple[list[Dependent], Said]:
        """Learn which labels follow from other fields, from records out of fold without that."""
        said = trained.said
        if not any(may_depend(self.form.fields, question) for question in self.questions):
            return [], said
        found, scores = learn_dependents(
            Taught(
                self.form.fields,
                self.labels,
                self.records.flat,
                [flat_of(one.record or {}) for one in drafts],
                [ngrams_of([word_hash(word) for word in one.words]) for one in trained.asked],
                said.scores,
                self.material.folds,
            )
        )
        return found, said_with(said.evidence, scores, trained.heads.sizes)

    def _parts(self, fold: int) -> tuple[IntArray, IntArray]:
        here = self.material.folds == fold
        return np.flatnonzero(~here), np.flatnonzero(here)


BLAMED, DERIVED = 4, 0.98
"""Fields that a refusal names, and the share of values from the input below which it says so."""

IN_ORDER_ALONE = 0.1
"""Where the order of lists is all that is wrong in this share of records, a refusal says so."""

SMALL = 0.02
"""Features whose weights are all smaller than this are left out of a student."""


def _predicted(
    lesson: Lesson, settings: FieldsSettings, learning: Learning, trained: _Trained
) -> Learned:
    """Return a student, with the records out of fold and what speaks for them."""
    nothing = fit_confidence(np.zeros((0, 1)), np.zeros(0, np.bool_))
    student = FieldsStudent(
        settings,
        heads=trained.heads,
        tagger=trained.tagger,
        memory=trained.memory,
        seen=trained.seen,
        confidence=nothing,
        guard=Guard(nothing.logistic, 1.0),
    )
    said = trained.said
    readings = [
        Reading(one.text, one.words, [word_hash(word) for word in asked.words], asked.known, own)
        for one, asked, own in zip(learning.records.reads, trained.asked, trained.own, strict=True)
    ]
    drafts = [
        student.draft_of(one, int(label), answers, found)
        for one, label, answers, found in zip(
            readings, said.evidence.labels, said.answers, trained.decoded, strict=True
        )
    ]
    if all(len(each) == 1 for each in learning.records.calls):
        dependents, said = learning.depend(trained, drafts)
        student = student.depending(dependents)
    rows: list[list[float]] = []
    for i, (one, found) in enumerate(zip(readings, trained.decoded, strict=True)):
        label = int(said.evidence.labels[i])
        if not np.array_equal(said.answers[i], trained.said.answers[i]):
            drafts[i] = student.draft_of(one, label, said.answers[i], found)
        rows.append(student.evidence_of(one, drafts[i], label, said.leads[i], found))
    features = np.concatenate((np.array(rows), said.evidence.features), axis=1)
    return Learned(lesson, learning, student, readings, said, drafts, features)


def losses_of(learned: Learned, written: Sequence[str]) -> FloatArray:
    """Return how far the records of training are from the teacher's, shape (n,).

    Args:
        learned: What is learned.
        written: Each record as it would be sent; ``""`` where there is none, which loses all.
    """
    lesson, rows = learned.lesson, learned.learning.records.rows
    losses = np.ones(len(written))
    usable = [i for i, text in enumerate(written) if text]
    if lesson.losses_of is not None:
        found = lesson.losses_of([rows[i] for i in usable], [written[i] for i in usable])
        losses[usable] = found
        return losses
    form, folds = lesson.form, lesson.folds
    for i in usable:
        said = canonical_answer(answer_in(written[i], form), form, folds)
        losses[i] = float(said != lesson.answers[rows[i]])
    return losses


def with_confidence(
    learned: Learned,
    drafts: Sequence[Draft],
    features: FloatArray,
    build: Callable[[Confidence, Guard], Student],
) -> Fitted:
    """Fit the confidence and the guard on records out of fold, and return the student.

    Args:
        learned: What is learned.
        drafts: The records out of fold.
        features: What speaks for each, shape (n, k).
        build: Makes the student.
    """
    learning, lesson = learned.learning, learned.lesson
    records, material = learning.records, learning.material
    written = [learned.student.written(drafted) for drafted in drafts]
    losses = losses_of(learned, written)
    agrees = losses < 0.5
    # What gets no call and is left: no agreement, and no mistake.
    left = np.array(
        [
            learned.student.settings.calls
            and not _is_call(found)
            and not (one.record or {}).keys() & {"name", "calls"}
            for found, one in zip(records.flat, drafts, strict=True)
        ],
        np.bool_,
    )
    able = np.array([bool(text) for text in written], np.bool_)
    confidence = np.zeros(len(written))
    if able.any():
        confidence[able] = cross_fitted(features[able], 1 - losses[able], material.places[able])
    guard = fit_guard(
        leave_out(material, len(learning.types)),
        learned.said.evidence,
        agrees,
        confidence,
        vectors=False,
    )
    confidence[guard.defers(learned.said.evidence)] = 0.0
    return Fitted(
        build(fit_confidence(features[able], 1 - losses[able]), guard),
        confidence,
        agrees,
        np.array(records.rows, np.int64),
        None if lesson.losses_of is None else losses,
        blame=_blame(records, drafts, (losses == 0) | left, learning.form, lesson),
    )


def _blame(
    records: _Records,
    drafts: Sequence[Draft],
    agrees: npt.NDArray[np.bool_],
    form: RecordForm,
    lesson: Lesson,
) -> str:
    """Say which fields were wrong most often in the records that differ out of fold."""
    apart: Counter[str] = Counter()
    unwritten = order = 0
    folds = lesson.folds
    as_sets, verdicts = read_folds((*folds, "set")), verdicts_on(lesson.by_field, folds)
    for i, drafted in enumerate(drafts):
        if agrees[i]:
            continue
        if drafted.record is None:
            unwritten += 1
        else:
            pair = [records.reads[i].record, drafted.record]
            both = [Answer(as_json(record)) for record in pair]
            if records.calls:
                told = [plain(call) for call in calls_of(drafted.record)]
                pair = [
                    {"calls": each} if each[0]["name"] is not None else {"name": None}
                    for each in (records.calls[i], told)
                ]
                both = [call_in(as_json(record)) for record in pair]
                pair = [as_one(in_one_order(record)) for record in pair]
            right = verdicts(Pair("", *both))
            apart.update(name for name, same in right.items() if not same)
            one_set, other = (canonical_answer(Answer(as_json(r)), "record", as_sets) for r in pair)
            order += one_set == other
    wrong = int((~agrees).sum())
    if not wrong:
        return ""
    fields = {field.name: field for field in form.fields}
    parts = []
    for name, times in apart.most_common(BLAMED):
        field = fields.get(name)
        said = f"{name!r} in {times:,}"
        if field is not None:
            said += f" ({field.described}"
            if field.kind == "span" and field.derived < DERIVED:
                said += f", {field.derived:.0%} of its values stand in the input"
            said += ")"
        parts.append(said)
    if unwritten:
        parts.append(f"no record in {unwritten:,}")
    said = f"In {wrong:,} records that differ out of fold these are wrong: {', '.join(parts)}."
    if order >= IN_ORDER_ALONE * wrong and "set" not in folds:
        said += f' Only the order of lists differs in {order:,}: answer = ["set"] lets it differ.'
    return said

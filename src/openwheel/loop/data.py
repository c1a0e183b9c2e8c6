"""Loads a task's labelled exchanges as arrays for training and judging."""

import hashlib
from collections import Counter
from collections.abc import Collection, Sequence
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from openwheel.gate import Window
from openwheel.loop.losses import finished
from openwheel.store import BY_STUDENTS, Store
from openwheel.students.model import text_of
from openwheel.students.student import Inputs
from openwheel.tasks import FORMS, Form, canonical_answer, written_answer
from openwheel.tasks.refusals import is_refusal
from openwheel.trust import Decision, LeftOut, Policy
from openwheel.wire import Answer, Probabilities, split_reasoning

IntArray = npt.NDArray[np.int64]

_inputs_decoder = msgspec.json.Decoder(tuple[str, ...])
_inputs_encoder = msgspec.json.Encoder()


CALIBRATION_SHARE = 0.25
SMALL_CALIBRATION = 300
"""A small log gives up to half of itself, until calibration holds this many: below that a gate at
5% hardly ever has the evidence it needs."""

MOST_CALIBRATION = 50_000
"""The most calibration exchanges: more evidence changes no decision, and takes time to judge."""

FEWEST_LABELLED = 60
"""The fewest calibration exchanges: fewer certify no student at 5%, since 59 agreements in a row
are not enough."""


class Origin(NamedTuple):
    """The endpoint (``""`` for a log) and the model that answered."""

    teacher: str
    model: str


class TaskData(msgspec.Struct, frozen=True):
    """The task's exchanges that went to a teacher, in time order.

    Attributes:
        seq: Place in the store, shape (n,).
        place: Place in the time order, shape (n,).
        time: Seconds since 1970, 0 if unknown, shape (n,).
        unbiased: Which may calibrate, shape (n,).
        probability: The chance that the teacher was asked whatever a student would have answered,
            in (0, 1], shape (n,); of meaning for the unbiased ones only.
        weight: The weight of each exchange, from 0 to 1, if requests that a student deferred are
            evidence too, shape (n,). The teacher answers all deferred requests, and of the others
            only those that the audit picks. So deferred ones weigh the audit's share at the time,
            and picked ones weigh 1. Each request is then expected to weigh that share, whether
            student or teacher answers it.
        finished: Whether the teacher gave an answer that a student could have given, shape (n,).
        trains: Whether it may be learned from, shape (n,): the policy may keep some out, and
            refusals in text are no labels and no records. Of a task that calls tools, texts are
            learned too: as what gets no call.
        inputs: Values of the task's variables.
        settings: As the store keeps them, ``""`` where they are unknown.
        answers: The teacher's canonical answers; of no meaning where it did not finish.
        texts: The answers as the teacher wrote them, without its reasoning; calls of a tool as
            records.
        probabilities: That the teacher gave with its answers, by the text of the answer as in
            ``texts``; empty where it gave none.
        thoughts: The reasoning, where the teacher wrote it into its answer; else ``""``.
        surfaces: For each canonical answer the teacher's usual spelling, which a student writes.
        origins: The endpoint and model that answered.
        keys: The gateway's keys that clients used, ``""`` where they needed none, and in logs.
        left_out: The origins that the policy kept out of training.
    """

    seq: IntArray
    place: IntArray
    time: npt.NDArray[np.float64]
    unbiased: npt.NDArray[np.bool_]
    probability: npt.NDArray[np.float64]
    weight: npt.NDArray[np.float64]
    finished: npt.NDArray[np.bool_]
    trains: npt.NDArray[np.bool_]
    inputs: list[Inputs]
    settings: list[str]
    answers: list[str]
    texts: list[str]
    thoughts: list[str]
    surfaces: dict[str, str]
    origins: list[Origin]
    keys: list[str]
    probabilities: list[Probabilities]
    left_out: tuple[LeftOut, ...] = ()

    def __len__(self) -> int:
        """Return the number of exchanges."""
        return len(self.seq)

    def take(self, rows: IntArray) -> "TaskData":
        """Return some of the exchanges, in the order given."""
        return TaskData(
            self.seq[rows],
            self.place[rows],
            self.time[rows],
            self.unbiased[rows],
            self.probability[rows],
            self.weight[rows],
            self.finished[rows],
            self.trains[rows],
            [self.inputs[i] for i in rows],
            [self.settings[i] for i in rows],
            [self.answers[i] for i in rows],
            [self.texts[i] for i in rows],
            [self.thoughts[i] for i in rows],
            self.surfaces,
            [self.origins[i] for i in rows],
            [self.keys[i] for i in rows],
            [self.probabilities[i] for i in rows],
            self.left_out,
        )

    def in_order(self, rows: IntArray) -> "TaskData":
        """Return the exchanges in another order, which is the time order from then on."""
        return msgspec.structs.replace(self.take(rows), place=np.arange(len(rows)))

    def to_train(self) -> "TaskData":
        """Return the exchanges that may be learned from."""
        return self if self.trains.all() else self.take(np.flatnonzero(self.trains))

    def to_count(self) -> "TaskData":
        """Return the exchanges that are not trained on but count all the same."""
        return self.take(np.flatnonzero(~self.trains))

    def without(self, keys: Collection[str]) -> "TaskData":
        """Return the exchanges without those of some keys."""
        if not keys:
            return self
        return self.take(np.flatnonzero([key not in keys for key in self.keys]))

    def window(self) -> Window:
        """Return what identifies these exchanges in a certificate."""
        digest = hashlib.sha256()
        for seq, values, answer in zip(self.seq, self.inputs, self.answers, strict=True):
            line = f"{seq}\t{_inputs_encoder.encode(values).decode()}\t{answer}\n"
            digest.update(line.encode("utf-8", "surrogatepass"))
        empty = not len(self.seq)
        return Window(
            exchanges=len(self.seq),
            first_seq=0 if empty else int(self.seq.min()),
            last_seq=0 if empty else int(self.seq.max()),
            first_time=0.0 if empty else float(self.time.min()),
            last_time=0.0 if empty else float(self.time.max()),
            sha256=digest.hexdigest(),
        )


def load_answers(
    store: Store,
    task_id: str,
    form: Form,
    folds: tuple[str, ...] = (),
    *,
    after: int = 0,
    until: int | None = None,
    policy: Policy | None = None,
) -> TaskData:
    """Load a task's exchanges that went to a teacher, in order of arrival, in a range of ``seq``.

    Exchanges whose answer cannot or may not be learned from are included, since a certificate
    counts all answers that clients would have got. Those after ``until``, by default the newest,
    may not be assigned to their task yet. The policy decides which answers may be learned from; by
    default licences alone forbid.
    """
    policy = policy or Policy()
    decided: dict[Origin, Decision] = {}
    excluded: Counter[Origin] = Counter()
    seq, times, unbiased, probability, done, trains = [], [], [], [], [], []
    weight: list[float] = []
    inputs, origins = list[Inputs](), list[Origin]()
    settings, keys = list[str](), list[str]()
    answers, texts, thoughts = list[str](), list[str](), list[str]()
    probabilities: list[Probabilities] = []
    written: dict[str, Counter[str]] = {}
    surfaces: dict[str, str] = {}
    shared: dict[str, str] = {}
    closed, any_text, calls = FORMS[form].closed, FORMS[form].has_refusals, FORMS[form].calls
    for row in store.task_rows(task_id, after=after, until=until):
        if row.source in BY_STUDENTS:
            continue
        origin = Origin(
            shared.setdefault(row.teacher, row.teacher), shared.setdefault(row.model, row.model)
        )
        if origin not in decided:
            decided[origin] = policy.may_learn_from(*origin)
        given = row.answer
        complete = finished(given, calls=calls)
        allowed = decided[origin].allowed
        excluded[origin] += _teaches(given, calls=calls) and not allowed
        learned = (
            allowed and _teaches(given, calls=calls) and (any_text or not is_refusal(given.final))
        )
        done.append(complete)
        trains.append(learned)
        origins.append(origin)
        answer = canonical_answer(given, form, folds)
        answer = shared.setdefault(answer, answer)  # one string for equal answers, not a million
        seq.append(row.seq)
        times.append(row.time)
        unbiased.append(row.unbiased)
        probability.append(row.audit_probability)
        deferred = row.student != "" and row.student_answer is None
        weight.append(row.audit_probability if deferred else float(row.unbiased))
        keys.append(shared.setdefault(row.key, row.key))
        inputs.append(_inputs_decoder.decode(row.inputs))
        settings.append(shared.setdefault(row.settings, row.settings))
        answers.append(answer)
        thought, text = _parted(given, form)
        thoughts.append(thought)
        texts.append(shared.setdefault(text, text))
        probabilities.append(given.probabilities)
        if not learned:
            continue
        spelled = written_answer(given, form, folds)
        if closed:
            written.setdefault(answer, Counter())[spelled] += 1
        else:
            surfaces[answer] = spelled
    return TaskData(
        np.array(seq, np.int64),
        np.array(seq, np.int64),
        np.array(times, np.float64),
        np.array(unbiased, np.bool_),
        np.array(probability, np.float64),
        np.array(weight, np.float64),
        np.array(done, np.bool_),
        np.array(trains, np.bool_),
        inputs,
        settings,
        answers,
        texts,
        thoughts,
        surfaces | {label: counter.most_common(1)[0][0] for label, counter in written.items()},
        origins,
        keys,
        probabilities,
        tuple(
            LeftOut(*source, n, str(decided[source])) for source, n in excluded.most_common() if n
        ),
    )


def inputs_of(store: Store, task_id: str, *, until: int) -> list[Inputs]:
    """Return the inputs of a task's exchanges that went to a teacher, up to a ``seq``."""
    return [
        _inputs_decoder.decode(row.inputs)
        for row in store.task_rows(task_id, until=until)
        if row.source not in BY_STUDENTS
    ]


def _teaches(answer: Answer, *, calls: bool) -> bool:
    """Return whether an answer can be learned from; where students call tools, no call is, too."""
    if finished(answer, calls=calls):
        return True
    return calls and answer.complete and bool(answer.tool_calls or answer.text.strip())


def _parted(answer: Answer, form: Form) -> tuple[str, str]:
    """Return what a teacher thought, and the rest of its answer: of a task's calls, the record."""
    thought, text = split_reasoning(answer.text)
    if FORMS[form].calls and answer.tool_calls:
        text = written_answer(answer, form)
    return thought, text


def decode_inputs(inputs: str | bytes) -> Inputs:
    """Return inputs from what the store keeps."""
    return _inputs_decoder.decode(inputs)


def encode_inputs(inputs: Inputs) -> str:
    """Return inputs as the store keeps them."""
    return _inputs_encoder.encode(inputs).decode()


def seen_keys(inputs: Sequence[Inputs], variables: tuple[int, ...]) -> list[bytes]:
    """Return a key for each input: equal for inputs that a model cannot tell apart."""
    return [_key(" ".join(text_of(values, variables).split()).casefold()) for values in inputs]


def _key(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def split(data: TaskData, judged: int = 0) -> tuple[TaskData, TaskData]:
    """Split exchanges into those to train on and the latest unbiased ones to calibrate with.

    Exchanges up to ``judged`` had a verdict before, and only train. Biased ones after the first
    calibration exchange are left out: training may not see the time that is judged.
    """
    unbiased = np.flatnonzero(data.unbiased)
    size = max(int(CALIBRATION_SHARE * len(unbiased)), min(len(unbiased) // 2, SMALL_CALIBRATION))
    fresh = unbiased[data.seq[unbiased] > judged]
    latest = fresh[max(len(fresh) - min(size, MOST_CALIBRATION), 0) :]
    before = np.arange(int(latest[0])) if len(latest) else np.arange(len(data))
    return data.take(before), data.take(latest)

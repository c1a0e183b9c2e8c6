"""The process that tunes an encoder on records.

It is ``python -m openwheel.students.tokens.work ORDER.json``. Each file is written beside its place
and renamed before it is reported.
"""

import sys
import time

import numpy as np
import numpy.typing as npt

from openwheel.errors import ModelError
from openwheel.job import run_job
from openwheel.students.encoder import SentenceEncoder
from openwheel.students.onnx_encoder import TOKENIZER
from openwheel.students.tokens.order import TokenOrder, scores_file
from openwheel.students.tokens.reader import TAGGER, Scores, TokenReader
from openwheel.students.tune.order import Done, Fold, Step
from openwheel.students.tune.work import Steps, Tell, clear_up, write

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

WORSE = 0.005
"""Share of texts that the graph in 8 bits may get wrong beyond the one in 32."""


def carry_out(order: TokenOrder, tell: Tell) -> None:
    """Carry out an order: a body for each fold, and one on all texts; write what they say.

    Raises:
        ModelError: It cannot be trained or written.
        SettingError: The encoder cannot be loaded.
    """
    from safetensors.numpy import save  # noqa: PLC0415

    from openwheel.students.tokens.export import write_tagger  # noqa: PLC0415
    from openwheel.students.tokens.train import TokenTexts, scores_of, tune_tokens  # noqa: PLC0415
    from openwheel.students.tune.export import TRIED, tokenizer_of  # noqa: PLC0415
    from openwheel.students.tune.train import Place  # noqa: PLC0415

    encoder = SentenceEncoder(order.encoder)
    tokenizer = tokenizer_of(encoder, [text for text in order.texts[:TRIED] if text.strip()])
    texts = TokenTexts(order, encoder, tokenizer)
    place = Place()
    folds = np.array(order.folds, np.int64)
    learned = np.array([bool(tags) for tags in order.tags], np.bool_)
    names = [*sorted(set(order.folds)), None]
    rows_of = {name: np.flatnonzero(folds != (-1 if name is None else name)) for name in names}
    steps = Steps(
        sum(order.recipe.steps(int(learned[rows].sum())) for rows in rows_of.values()), tell
    )
    precision, likeness = "", 1.0
    for name, rows in rows_of.items():
        said = "the body" if name is None else f"the body without fold {name}"

        def told(number: int, loss: float, said: str = said) -> None:
            if not np.isfinite(loss):
                raise ModelError(f"The loss of {said} must be finite, was {loss}")
            tell(Step(said, number, loss, time.process_time()))

        steps.go_on()
        trained = tune_tokens(
            encoder,
            texts,
            rows,
            recipe=order.recipe,
            place=place,
            tell=told,
            stepped=steps.one_more,
        )
        steps.tell()
        if name is None:
            body = write_tagger(encoder, trained, texts, tokenizer, precision)
            write(order, TAGGER, body.graph)
            write(order, TOKENIZER, body.tokenizer)
            break
        unseen = np.flatnonzero(folds == name)
        # By the graph that will be served. In 32 bits torch says the same, and reads batches.
        plain = small = None
        if precision != "int8":
            plain = scores_of(trained, texts, unseen, place)
        if precision != "float32":
            body = write_tagger(encoder, trained, texts, tokenizer, "int8")
            small = TokenReader(body).read(
                [order.texts[i] for i in unseen], [order.words[i] for i in unseen]
            )
        if plain is not None and small is not None:
            rights = [_right(order, unseen, scores).mean() for scores in (plain, small)]
            precision = "int8" if rights[1] >= rights[0] - WORSE else "float32"
            likeness = float(_alike(order, unseen, plain, small).mean())
        chosen = small if precision == "int8" else plain
        assert chosen is not None
        files = {"tags": chosen.tags.astype(np.float16), "labels": chosen.labels}
        write(order, scores_file(name), save(files))
        tell(Fold(name, time.process_time()))
    if precision == "float32":
        likeness = 1.0
    tell(Done(precision, likeness, time.process_time()))


def _right(order: TokenOrder, rows: IntArray, scores: Scores) -> BoolArray:
    """Return which texts have all tags and their first label right, shape (rows,)."""
    wanted = np.array([tag for i in rows for tag in order.tags[i]], np.int64)
    learned = [len(order.words[i]) == len(order.tags[i]) for i in rows]
    chosen = scores.tags.argmax(1)[np.repeat(learned, [len(order.words[i]) for i in rows])]
    lengths = [len(order.tags[i]) for i in rows]
    tags = _all(chosen == wanted, lengths)
    labels = scores.labels[:, : order.sizes[0]].argmax(1)
    return np.asarray(tags & (labels == np.array([order.labels[i][0] for i in rows])))


def _alike(order: TokenOrder, rows: IntArray, one: Scores, other: Scores) -> BoolArray:
    """Return which texts have the same tags and the same first label by both, shape (rows,)."""
    lengths = [len(order.words[i]) for i in rows]
    tags = _all(one.tags.argmax(1) == other.tags.argmax(1), lengths)
    first = order.sizes[0]
    labels = one.labels[:, :first].argmax(1) == other.labels[:, :first].argmax(1)
    return np.asarray(tags & labels)


def _all(words: BoolArray, lengths: list[int]) -> BoolArray:
    """Return which texts have nothing but true words, shape (texts,)."""
    wrong = np.bincount(np.repeat(np.arange(len(lengths)), lengths)[~words], minlength=len(lengths))
    return np.asarray(wrong == 0)


if __name__ == "__main__":
    sys.exit(run_job(TokenOrder, carry_out, alone=clear_up))

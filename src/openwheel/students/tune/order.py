"""Defines the messages to and from the process that tunes."""

import msgspec

from openwheel.job import Failed

AT_EVERY_S = 0.5
"""Seconds between two events that say how many steps are done."""


class _Passes(msgspec.Struct, frozen=True, kw_only=True):
    """How often and in what steps a body is trained: all layers but the table of tokens.

    Attributes:
        passes: Passes over the texts.
        batch: Texts a step.
        rate: Learning rate of the body at its highest.
        warmup: Share of the steps in which rates rise; they then fall to 0.
        fewest_steps: Passes are added until there are so many steps.
        seed: Of the order of texts, of dropout, and of what begins at random.
    """

    passes: int
    batch: int
    rate: float
    warmup: float = 0.1
    fewest_steps: int = 300
    seed: int = 0

    def steps(self, texts: int) -> int:
        """Return how many steps training on so many texts takes."""
        each_pass = -(-texts // self.batch)
        return each_pass * max(self.passes, -(-self.fewest_steps // max(1, each_pass)))


class Recipe(_Passes, frozen=True, kw_only=True):
    """How a body is trained on labels: prototypes in a softmax of cosines.

    On a fifth of Banking77's training split, held out, this rate without label smoothing ranked
    answers better than twice of it with smoothing of 0.1; three passes are what ten minutes allow.

    Attributes:
        prototype_rate: Learning rate of the prototypes.
        scale: The factor of cosines before the softmax.
    """

    passes: int = 3
    batch: int = 64
    rate: float = 1e-4
    prototype_rate: float = 5e-3
    scale: float = 20.0


class TokenRecipe(_Passes, frozen=True, kw_only=True):
    """How a body is trained on records: a linear head for tags and one for labels.

    Attributes:
        head_rate: Learning rate of the heads.
    """

    passes: int = 4
    batch: int = 32
    rate: float = 5e-4
    head_rate: float = 5e-3


class Tune(msgspec.Struct, frozen=True, kw_only=True):
    """Whether and how an encoder is trained on a task.

    Attributes:
        always: Train it even where that does not pay on inputs it has not seen.
        deadline_s: Seconds it may take; 0: no limit.
        recipe: How to train on labels.
        tokens: How to train on records.
    """

    always: bool = False
    deadline_s: float = 0.0
    recipe: Recipe = Recipe()
    tokens: TokenRecipe = TokenRecipe()


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """An order to the process.

    Attributes:
        folder: Where it comes.
        encoder: Hub id or folder of the encoder.
        texts: Texts to train on, in order of arrival; where nothing is trained, texts to try the
            graph on.
        answers: How many answers there are.
        labels: Index of each text's answer, -1 for those that are not learned from; none if the
            encoder is only written as ONNX.
        weights: Weight of each text.
        folds: The fold of each text: 0, 1 and so on.
        deadline_s: Seconds it may take; 0: no end.
        recipe: How to train.
    """

    folder: str
    encoder: str
    texts: tuple[str, ...]
    answers: int = 0
    labels: tuple[int, ...] = ()
    weights: tuple[float, ...] = ()
    folds: tuple[int, ...] = ()
    deadline_s: float = 0.0
    recipe: Recipe = Recipe()


class Step(msgspec.Struct, frozen=True, tag="step"):
    """A line of progress: ``loss`` is the mean of a pass, in nats a text."""

    body: str
    passes: int
    loss: float
    cpu_seconds: float


class At(msgspec.Struct, frozen=True, tag="at"):
    """How many steps of all bodies together are done, and how many seconds those took."""

    done: int
    total: int
    seconds: float


class Fold(msgspec.Struct, frozen=True, tag="fold"):
    """Vectors and prototypes by a body that has not seen this fold are written."""

    fold: int
    cpu_seconds: float


class Done(msgspec.Struct, frozen=True, tag="done"):
    """The encoder is written.

    Attributes:
        precision: Of its weights: ``int8``, or ``float32`` where int8 strays too far.
        likeness: Mean cosine between its vectors and torch's, on some of the texts.
        cpu_seconds: Processor time of the whole order.
    """

    precision: str
    likeness: float
    cpu_seconds: float


Event = Step | At | Fold | Done | Failed
EVENTS: msgspec.json.Decoder[Event] = msgspec.json.Decoder(Event)


def seen_file(fold: int | None) -> str:
    """Return the name of the file of the body that has not seen a fold, or has seen all.

    It holds ``prototypes``, shape (answers, dimensions), and for a fold ``vectors`` of all texts.
    """
    return "body.safetensors" if fold is None else f"fold-{fold}.safetensors"

"""Trains a body: pulls the texts of each answer to a direction of their own.

The score of an answer is the cosine of the text's vector and the answer's prototype, scaled; the
loss is the softmax of those scores (Wang et al., 2017, "NormFace"; Zhai and Wu, 2019,
"Classification is a strong baseline for deep metric learning"). Every prototype is a negative in
every step, which a batch of 64 texts could not offer among 77 answers. They stay the head: one
fitted again would see vectors of texts that the body was trained on, far clearer than any to come.
"""

import contextlib
import copy
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from openwheel.students.encoder import SentenceEncoder, pool, readable
from openwheel.students.tune.order import Recipe

LONGEST = 256
"""Tokens of a text that are trained on; longer texts are read whole when answering."""

IntArray = npt.NDArray[np.int64]


class Texts:
    """Texts as tokens, with their answers."""

    def __init__(
        self,
        encoder: SentenceEncoder,
        texts: Sequence[str],
        labels: Sequence[int],
        weights: Sequence[float],
        answers: int,
    ) -> None:
        longest = min(LONGEST, encoder.longest)
        self.ids: list[list[int]] = [
            encoder.tokenizer(readable(text), truncation=True, max_length=longest)["input_ids"]
            for text in texts
        ]
        self.answers = answers
        self.labels = np.array(labels, np.int64)
        self.weights = np.array(weights, np.float32)
        self.pooling = encoder.pooling
        self.padding = encoder.tokenizer.pad_token_id or 0
        self.lengths = np.array([len(ids) for ids in self.ids], np.int64)

    def batch(self, rows: IntArray) -> tuple[Any, Any]:
        """Return tokens and mask of some texts, shape (len(rows), longest of them)."""
        width = max(1, int(self.lengths[rows].max()))
        ids = np.full((len(rows), width), self.padding, np.int64)
        mask = np.zeros((len(rows), width), np.int64)
        for i, row in enumerate(rows):
            ids[i, : len(self.ids[row])] = self.ids[row]
            mask[i, : len(self.ids[row])] = 1
        return torch.from_numpy(ids), torch.from_numpy(mask)


class Place:
    """The device and the number format: a GPU if there is one, else the processor."""

    def __init__(self) -> None:
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.half = torch.cuda.is_bf16_supported() if self.device.type == "cuda" else _half_pays()

    def compute(self) -> contextlib.AbstractContextManager[Any]:
        """Compute in 16 bits where that is faster; weights stay in 32."""
        if not self.half:
            return contextlib.nullcontext()
        half: contextlib.AbstractContextManager[Any] = torch.autocast(
            self.device.type, dtype=torch.bfloat16
        )
        return half


def _half_pays() -> bool:
    """Whether this processor multiplies bfloat16 faster: measured, in a fraction of a second."""

    def best(dtype: torch.dtype) -> float:
        left, right = torch.ones(512, 384, dtype=dtype), torch.ones(384, 1536, dtype=dtype)
        times: list[float] = []
        while len(times) < 8 and sum(times) < 0.1:  # without instructions for it, one takes long
            started = time.perf_counter()
            torch.mm(left, right)
            times.append(time.perf_counter() - started)
        return min(times)

    return best(torch.bfloat16) * 1.3 < best(torch.float32)


def vectors_of(model: Any, texts: Texts, place: Place) -> Any:
    """Return the unit vectors of all texts, shape (n, dimensions), as a tensor in 32 bits."""
    model.eval()
    vectors = torch.zeros(len(texts.ids), model.config.hidden_size)
    order = np.argsort(texts.lengths, kind="stable")
    with torch.inference_mode(), place.compute():
        for start in range(0, len(order), 64):
            rows = order[start : start + 64]
            vectors[rows] = _embed(model, texts, rows, place).cpu()
    return vectors.clone()


def tune(
    encoder: SentenceEncoder,
    texts: Texts,
    rows: IntArray,
    start: Any,
    *,
    recipe: Recipe,
    place: Place,
    tell: Callable[[int, float], None],
    stepped: Callable[[], None],
) -> tuple[Any, npt.NDArray[np.float32]]:
    """Train a body.

    Args:
        encoder: The encoder to start from; stays as it is.
        texts: All texts.
        rows: Which of them to train on; those without a label are left out.
        start: Vectors of all texts by the encoder: prototypes begin as their means.
        recipe: How to train.
        place: The device.
        tell: Called after each pass with its number and its mean loss.
        stepped: Called after each step.

    Returns:
        The trained model, on the CPU, in 32 bits, and the prototypes, unit length, shape
        (answers, dimensions).
    """
    torch.manual_seed(recipe.seed)
    generator = np.random.default_rng(recipe.seed)
    rows = rows[texts.labels[rows] >= 0]
    model = copy.deepcopy(encoder.model).to(place.device)
    for parameter in model.get_input_embeddings().parameters():
        # Half of a small encoder's weights; most of them are of tokens that never come.
        parameter.requires_grad_(False)
    body = [parameter for parameter in model.parameters() if parameter.requires_grad]
    prototypes = torch.nn.Parameter(
        _means(start, texts.labels, rows, texts.answers).to(place.device)
    )
    optimizer = torch.optim.AdamW(
        [
            {"params": body, "lr": recipe.rate},
            {"params": [prototypes], "lr": recipe.prototype_rate},
        ],
        weight_decay=0.0,
    )
    steps = recipe.steps(len(rows))
    passes = steps // -(-len(rows) // recipe.batch)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: rate_at(step, steps, recipe.warmup)
    )
    labels = torch.from_numpy(texts.labels).to(place.device)
    weights = torch.from_numpy(texts.weights / texts.weights[rows].mean()).to(place.device)
    for number in range(passes):
        model.train()
        total = 0.0
        for batch in batches(texts.lengths, rows, recipe.batch, generator):
            with place.compute():
                vectors = _embed(model, texts, batch, place)
            directions = torch.nn.functional.normalize(prototypes, dim=1)
            each = torch.nn.functional.cross_entropy(
                recipe.scale * vectors @ directions.T,
                labels[batch],
                reduction="none",
            )
            loss = (each * weights[batch]).mean()
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(body, 1.0)
            optimizer.step()
            schedule.step()
            total += float(loss.detach()) * len(batch)
            stepped()
        tell(number + 1, total / len(rows))
    directions = torch.nn.functional.normalize(prototypes.detach(), dim=1)
    return model.cpu().eval(), directions.cpu().numpy()


def _embed(model: Any, texts: Texts, rows: IntArray, place: Place) -> Any:
    ids, mask = (each.to(place.device) for each in texts.batch(rows))
    states = model(input_ids=ids, attention_mask=mask).last_hidden_state
    return torch.nn.functional.normalize(pool(states.float(), mask, texts.pooling), dim=1)


def _means(vectors: Any, labels: IntArray, rows: IntArray, answers: int) -> Any:
    """Return the mean direction of each answer's texts; 0 for one that has none here."""
    sums = torch.zeros(answers, vectors.shape[1])
    sums.index_add_(0, torch.from_numpy(labels[rows]), vectors[rows])
    return torch.nn.functional.normalize(sums, dim=1)


def rate_at(step: int, steps: int, warmup: float) -> float:
    """Return the share of the learning rate at a step: up in a line, and down to 0 in a line."""
    rising = max(1.0, warmup * steps)
    return min((step + 1) / rising, max(0.0, (steps - step) / max(1.0, steps - rising)))


def batches(
    lengths: IntArray, rows: IntArray, size: int, generator: np.random.Generator
) -> Iterator[IntArray]:
    """Yield batches in random order, of texts of like length: little is spent on padding."""
    order = generator.permutation(rows)
    found = []
    for start in range(0, len(order), 10 * size):
        some = order[start : start + 10 * size]
        some = some[np.argsort(lengths[some], kind="stable")]
        found += [some[i : i + size] for i in range(0, len(some), size)]
    for i in generator.permutation(len(found)):
        yield found[i]

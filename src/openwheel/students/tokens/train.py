"""Trains a body with two heads: one tells the tag of each word, one the labels of the text.

The loss of a text is the mean cross-entropy of its words' tags and the sum of that of its labels.
A word is told by its first token (Devlin et al., 2019, "BERT").
"""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import tokenizers
import torch

from openwheel.students.encoder import SentenceEncoder, pool, readable
from openwheel.students.tokens.order import TokenOrder
from openwheel.students.tokens.reader import Scores
from openwheel.students.tokens.words import NOWHERE, first_tokens
from openwheel.students.tune.order import TokenRecipe
from openwheel.students.tune.train import LONGEST, Place, batches, rate_at

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float32]

NOT_TAUGHT = -100
"""Of a word or a label that teaches nothing: what `cross_entropy` leaves out."""

READ_AT_ONCE = 64


class TokenModel(torch.nn.Module):
    """A body with its heads."""

    def __init__(self, model: Any, pooling: str, tags: int, answers: int) -> None:
        super().__init__()
        self.model = model
        self.pooling = pooling
        size = model.config.hidden_size
        self.tags = torch.nn.Linear(size, tags)
        self.labels = torch.nn.Linear(size, answers)

    def forward(self, ids: Any, mask: Any) -> tuple[Any, Any]:
        """Return scores of tags, shape (texts, tokens, tags), and of labels, (texts, answers)."""
        states = self.model(input_ids=ids, attention_mask=mask).last_hidden_state
        return self.tags(states), self.labels(pool(states, mask, self.pooling))


class TokenTexts:
    """Texts as tokens, with the token of each word, its tag, and the labels of each text."""

    def __init__(
        self, order: TokenOrder, encoder: SentenceEncoder, tokenizer: tokenizers.Tokenizer
    ) -> None:
        longest = min(LONGEST, encoder.longest)
        found = [tokenizer.encode(readable(text)) for text in order.texts]
        self.ids: list[list[int]] = [each.ids[:longest] for each in found]
        self.firsts = [
            np.array(first_tokens(each.offsets[:longest], words), np.int64)
            for each, words in zip(found, order.words, strict=True)
        ]
        self.tags = [np.array(tags, np.int64) for tags in order.tags]
        self.labels = np.array(order.labels, np.int64).reshape(len(order.texts), len(order.sizes))
        self.labels[self.labels < 0] = NOT_TAUGHT
        self.sizes = order.sizes
        self.tag_count = order.tag_count
        self.weights = np.array(order.weights, np.float32)
        self.padding = encoder.tokenizer.pad_token_id or 0
        self.lengths = np.array([len(ids) for ids in self.ids], np.int64)

    def batch(self, rows: IntArray) -> tuple[Any, Any, Any]:
        """Return tokens, mask and tags of some texts, shape (len(rows), longest of them)."""
        shape = (len(rows), max(1, int(self.lengths[rows].max())))
        ids = np.full(shape, self.padding, np.int64)
        mask = np.zeros(shape, np.int64)
        tags = np.full(shape, NOT_TAUGHT, np.int64)
        for i, row in enumerate(rows):
            ids[i, : len(self.ids[row])] = self.ids[row]
            mask[i, : len(self.ids[row])] = 1
            if len(self.tags[row]):
                read = self.firsts[row] != NOWHERE
                tags[i, self.firsts[row][read]] = self.tags[row][read]
        return torch.from_numpy(ids), torch.from_numpy(mask), torch.from_numpy(tags)


def tune_tokens(
    encoder: SentenceEncoder,
    texts: TokenTexts,
    rows: IntArray,
    *,
    recipe: TokenRecipe,
    place: Place,
    tell: Callable[[int, float], None],
    stepped: Callable[[], None],
) -> TokenModel:
    """Train a body with its heads.

    Args:
        encoder: The encoder to start from; stays as it is.
        texts: All texts.
        rows: Which of them to train on; those without tags are left out.
        recipe: How to train.
        place: The device.
        tell: Called after each pass with its number and its mean loss.
        stepped: Called after each step.

    Returns:
        The model, on the CPU, in 32 bits.
    """
    torch.manual_seed(recipe.seed)
    generator = np.random.default_rng(recipe.seed)
    rows = rows[[len(texts.tags[row]) > 0 for row in rows]]
    answers = sum(texts.sizes)
    model = TokenModel(copy.deepcopy(encoder.model), encoder.pooling, texts.tag_count, answers)
    model.to(place.device)
    for parameter in model.model.get_input_embeddings().parameters():
        # Half of a small encoder's weights; most of them are of tokens that never come.
        parameter.requires_grad_(False)
    body = [parameter for parameter in model.model.parameters() if parameter.requires_grad]
    heads = [*model.tags.parameters(), *model.labels.parameters()]
    optimizer = torch.optim.AdamW(
        [{"params": body, "lr": recipe.rate}, {"params": heads, "lr": recipe.head_rate}],
        weight_decay=0.0,
    )
    steps = recipe.steps(len(rows))
    passes = steps // -(-len(rows) // recipe.batch)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: rate_at(step, steps, recipe.warmup)
    )
    weights = torch.from_numpy(texts.weights / texts.weights[rows].mean()).to(place.device)
    labels = torch.from_numpy(texts.labels).to(place.device)
    for number in range(passes):
        model.train()
        total = 0.0
        for batch in batches(texts.lengths, rows, recipe.batch, generator):
            ids, mask, tags = (each.to(place.device) for each in texts.batch(batch))
            with place.compute():
                tag_scores, label_scores = model(ids, mask)
            each = _loss(tag_scores.float(), label_scores.float(), tags, labels[batch], texts.sizes)
            loss = (each * weights[batch]).mean()
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(body, 1.0)
            optimizer.step()
            schedule.step()
            total += float(loss.detach()) * len(batch)
            stepped()
        tell(number + 1, total / len(rows))
    model.cpu().eval()
    return model


def _loss(tag_scores: Any, label_scores: Any, tags: Any, labels: Any, sizes: Sequence[int]) -> Any:
    """Return the loss of each text, shape (texts,)."""
    each = torch.nn.functional.cross_entropy(
        tag_scores.transpose(1, 2), tags, ignore_index=NOT_TAUGHT, reduction="none"
    )
    loss = each.sum(1) / (tags != NOT_TAUGHT).sum(1).clamp(min=1)
    for i, scores in enumerate(label_scores.split(list(sizes), dim=1) if sizes else ()):
        loss = loss + torch.nn.functional.cross_entropy(
            scores, labels[:, i], ignore_index=NOT_TAUGHT, reduction="none"
        )
    return loss


def scores_of(model: TokenModel, texts: TokenTexts, rows: IntArray, place: Place) -> Scores:
    """Return what a model in torch says of some texts; a word that has no token scores 0."""
    model.to(place.device).eval()
    tags = [np.zeros((0, texts.tag_count), np.float32)] * len(rows)
    labels = np.zeros((len(rows), sum(texts.sizes)), np.float32)
    order = np.argsort(texts.lengths[rows], kind="stable")
    with torch.inference_mode():
        for start in range(0, len(order), READ_AT_ONCE):
            chosen = order[start : start + READ_AT_ONCE]
            ids, mask, _ = (each.to(place.device) for each in texts.batch(rows[chosen]))
            tag_scores, label_scores = (each.float().cpu().numpy() for each in model(ids, mask))
            for i, at in enumerate(chosen):
                firsts = texts.firsts[rows[at]]
                tags[at] = tag_scores[i, firsts] * (firsts != NOWHERE)[:, None]
                labels[at] = label_scores[i]
    model.cpu()
    return Scores(np.concatenate(tags), labels)

"""From logits to tokens: greedy or sampled, within what is allowed, and how sure the model was."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray


class Sampling(msgspec.Struct, frozen=True, kw_only=True):
    """How a token is chosen.

    Attributes:
        temperature: 0 takes the most likely one.
        top_p: Only the most likely tokens that together have this probability are drawn from.
        seed: Makes draws repeatable; None draws again each time.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None


class Chosen(NamedTuple):
    """A token that was chosen.

    Log-probabilities are natural ones under the model as it is: before any constraint, at
    temperature 1.

    Attributes:
        token: The token.
        logprob: Its log-probability.
        margin: By how much that is above the best other token's; negative if it is below.
        top: The most likely tokens and their log-probabilities, as many as were asked for.
    """

    token: int
    logprob: float
    margin: float
    top: tuple[tuple[int, float], ...] = ()


class Draw:
    """Draws the tokens of one text."""

    def __init__(self, sampling: Sampling) -> None:
        self._sampling = sampling
        self._generator: Any = None

    @property
    def greedy(self) -> bool:
        """Whether the most likely token is taken."""
        return self._sampling.temperature <= 0

    def token(self, logits: torch.Tensor) -> int:
        """Draw a token by its logits, shape (vocabulary,)."""
        if self._generator is None:
            self._generator = torch.Generator()
            if self._sampling.seed is None:
                self._generator.seed()
            else:
                self._generator.manual_seed(self._sampling.seed % (1 << 63))
        weights = torch.softmax(logits.double().cpu() / self._sampling.temperature, dim=-1)
        if self._sampling.top_p < 1:
            ordered, order = weights.sort(descending=True)
            before = ordered.cumsum(-1) - ordered
            ordered[before >= self._sampling.top_p] = 0
            ordered[0] = max(float(ordered[0]), 1e-300)
            drawn = torch.multinomial(ordered, 1, generator=self._generator)
            return int(order[drawn])
        return int(torch.multinomial(weights, 1, generator=self._generator))


def choose(
    logits: torch.Tensor,
    draws: Sequence[Draw],
    allowed: Sequence[NDArray[np.bool_] | None],
    tops: Sequence[int],
    vocabulary: int,
) -> list[Chosen]:
    """Choose the next token of each text.

    Args:
        logits: Of shape (texts, tokens); more tokens than the vocabulary has are padding.
        draws: How each text draws.
        allowed: Which tokens each may take, shape (vocabulary,); None for any.
        tops: How many of the most likely tokens each wants to know.
        vocabulary: Tokens in the vocabulary.
    """
    logits = logits[:, :vocabulary]
    total = torch.logsumexp(logits, dim=-1)
    best = torch.topk(logits, min(max(2, *tops), vocabulary), dim=-1)
    within = logits
    if any(mask is not None for mask in allowed):
        anything = np.ones(vocabulary, dtype=np.bool_)
        masks = np.stack([anything if mask is None else mask for mask in allowed])
        within = logits.masked_fill(~torch.from_numpy(masks).to(logits.device), -torch.inf)
    tokens = within.argmax(dim=-1)
    for row, draw in enumerate(draws):
        if not draw.greedy:
            tokens[row] = draw.token(within[row])
    own = (logits.gather(1, tokens.unsqueeze(1)).squeeze(1) - total).tolist()
    values = (best.values - total.unsqueeze(1)).tolist()
    orders = best.indices.tolist()
    chosen = []
    for row, token in enumerate(tokens.tolist()):
        order = orders[row]
        other = values[row][1] if order[0] == token else values[row][0]
        top = tuple(zip(order[: tops[row]], values[row], strict=False))
        chosen.append(Chosen(token, own[row], own[row] - other, top))
    return chosen

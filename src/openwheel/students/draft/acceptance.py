"""How many tokens a target gets through in one pass, given the chance that each proposal is taken.

Speculative decoding (Leviathan, Kalman and Matias, "Fast Inference from Transformers via
Speculative Decoding", ICML 2023; Chen et al., arXiv:2302.01318): a draft proposes k tokens, the
target reads all of them in one pass, takes those up to the first it rejects, and adds one of its
own. Under greedy decoding a proposal is taken when it is the target's own most likely token. Under
sampling it is taken with probability min(1, p/q), p the target's and q the draft's probability of
it; what comes out is distributed as the target alone would write it.

Sampling need not be simulated. Whatever is taken or put in its place, the text that comes out is
the target's, and given that its token y came out at some place, the chance that it was a proposal
which was taken is min(p(y), q(y)) / p(y) = min(1, q(y) / p(y)). So on a text of the target's the
expected number of passes follows exactly from these chances, by going through it from its end.
"""

from collections.abc import Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from openwheel.errors import ModelError

_RESAMPLES = 2_000


class Acceptance(msgspec.Struct, frozen=True, kw_only=True):
    """What a draft is worth to a target.

    Attributes:
        answers: Answers it was measured on.
        tokens: Tokens of these, their ends included.
        draft_tokens: How many tokens are proposed before each pass of the target.
        length: Tokens for each pass of the target, at least 1, at most ``draft_tokens`` + 1.
        low: Of a 95% interval for ``length``, by resampling answers; 1 for fewer than two.
        high: Likewise; the most there can be for fewer than two.
        rate: Share of tokens that would be taken if each were proposed after the target's own text.
    """

    answers: int
    tokens: int
    draft_tokens: int
    length: float
    low: float
    high: float
    rate: float

    def speedup(self, relative_cost: float) -> float:
        """Return by what factor decoding gets faster, if a draft's pass costs this share.

        Args:
            relative_cost: Of one pass of the draft, as a share of one of the target. Where memory
                bandwidth is what limits both, that is the share of bytes read.
        """
        return self.length / (1.0 + self.draft_tokens * relative_cost)


def acceptance(
    chances: Sequence[npt.NDArray[np.float64]], draft_tokens: int, *, seed: int = 0
) -> Acceptance:
    """Return the acceptance length over answers.

    Args:
        chances: For each answer the chance that each of its tokens is taken if it was proposed,
            shape (tokens,); 0 or 1 under greedy decoding.
        draft_tokens: k, at least 1.
        seed: Of the resampling.

    Raises:
        ModelError: There are no answers, or ``draft_tokens`` is below 1.

    Example:
        >>> import numpy as np
        >>> taken = np.array([1.0, 1.0, 0.0, 1.0, 1.0, 1.0])
        >>> acceptance([taken], 3).length
        3.0
    """
    if draft_tokens < 1:
        raise ModelError(f"The number of draft tokens must be at least 1, was {draft_tokens}")
    kept = [answer for answer in chances if len(answer)]
    if not kept:
        raise ModelError("There are no answers to measure acceptance on")
    tokens = np.array([len(answer) for answer in kept], np.float64)
    passes = np.array([expected_passes(answer, draft_tokens) for answer in kept])
    length = float(tokens.sum() / passes.sum())
    low, high = 1.0, draft_tokens + 1.0
    if len(kept) > 1:
        rows = np.random.default_rng(seed).integers(0, len(kept), (_RESAMPLES, len(kept)))
        ratios = tokens[rows].sum(axis=1) / passes[rows].sum(axis=1)
        low, high = (float(edge) for edge in np.quantile(ratios, [0.025, 0.975]))
    return Acceptance(
        answers=len(kept),
        tokens=int(tokens.sum()),
        draft_tokens=draft_tokens,
        length=length,
        low=low,
        high=high,
        rate=float(np.concatenate(kept).mean()),
    )


def expected_passes(chances: npt.NDArray[np.float64], draft_tokens: int) -> float:
    """Return how many passes of the target an answer takes, in expectation.

    Args:
        chances: Of each token to be taken if it was proposed, shape (tokens,).
        draft_tokens: How many are proposed before each pass.

    Example:
        >>> import numpy as np
        >>> expected_passes(np.array([0.5, 0.5]), 1)
        1.5
    """
    count = len(chances)
    taken = chances.tolist()  # single numbers are quicker outside an array
    passes = [0.0] * (count + 1)
    for start in range(count - 1, -1, -1):
        still, later = 1.0, 0.0
        for at in range(start, min(start + draft_tokens, count)):
            # Rejected here: the target's own token stands here, and the next pass begins after it.
            later += still * (1.0 - taken[at]) * passes[at + 1]
            still *= taken[at]
        # All were taken: the target adds one token, unless the answer is at its end.
        later += still * passes[min(start + draft_tokens + 1, count)]
        passes[start] = 1.0 + later
    return passes[0]

"""SentencePiece-style BPE in a GGUF file: a score for each token instead of a list of merges.

llama.cpp joins whichever two neighbours give the token of the highest score (leftmost first),
whether or not a merge was listed; ``tokenizers`` joins only listed pairs, by rank. Both cut every
text alike when each pair whose join is a token is listed, and the ranks of one token's pairs come
together. Tokenizers converted from SentencePiece models are so by construction; others are refused.
"""

from collections.abc import Sequence
from heapq import heappop, heappush

from openwheel.errors import ModelError

BLANK = "\u2581"


def scores_of(vocabulary: dict[str, int], merges: Sequence[tuple[str, str]]) -> dict[str, float]:
    """Return each merged token's score: the negated order in which tokens are joined.

    Args:
        vocabulary: Id of each token of the BPE model.
        merges: Its pairs, in the order of their ranks.

    Raises:
        ModelError: A score for each token cannot say what the merges say.
    """
    order: dict[str, float] = {}
    listed = set(merges)
    last = ""
    for left, right in merges:
        token = left + right
        if token != last and token in order:
            raise ModelError(
                f"The tokenizer's merges of {token!r} do not come together, so one score for it "
                "cannot replace them in a GGUF file"
            )
        order.setdefault(token, -float(len(order)))
        last = token
    for token in vocabulary:
        if token not in order and len(token) == 1:
            continue
        for cut in range(1, len(token)):
            pair = token[:cut], token[cut:]
            if pair[0] in vocabulary and pair[1] in vocabulary and pair not in listed:
                if token.startswith("<0x") and token.endswith(">"):
                    continue
                raise ModelError(
                    f"The tokenizer has no merge of {pair[0]!r} and {pair[1]!r} though {token!r} "
                    "is a token; readers of a GGUF file would join them"
                )
    return order


def encode(text: str, vocabulary: dict[str, int], scores: dict[str, float]) -> list[int]:
    """Cut one text as readers of a GGUF file do, and return the ids of its tokens.

    Args:
        text: Without special tokens; blanks already written as ``BLANK``.
        vocabulary: Id of each token; those of bytes are ``<0x00>`` to ``<0xFF>``.
        scores: Of each token that joins two others.
    """
    parts: list[str] = list(text)
    after = [*range(1, len(parts)), -1]
    before = [*range(-1, len(parts) - 1)]
    queue: list[tuple[float, int, str, int]] = []

    def offer(left: int) -> None:
        right = after[left] if left >= 0 else -1
        if right >= 0 and (joined := parts[left] + parts[right]) in scores:
            heappush(queue, (-scores[joined], left, joined, right))

    for i in range(len(parts)):
        offer(i)
    while queue:
        _, left, joined, right = heappop(queue)
        if not parts[left] or not parts[right] or parts[left] + parts[right] != joined:
            continue
        parts[left], parts[right] = joined, ""
        after[left] = after[right]
        if after[right] >= 0:
            before[after[right]] = left
        offer(before[left])
        offer(left)
    ids: list[int] = []
    for part in parts:
        if part in vocabulary:
            ids.append(vocabulary[part])
        else:
            ids += (vocabulary[f"<0x{byte:02X}>"] for byte in part.encode())
    return ids

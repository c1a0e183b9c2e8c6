"""Whether a draft and its target read and write the same tokens."""

from typing import Any

from openwheel.errors import ModelError

_HARD = (
    "The quick brown fox, 12345 of 6,789.10?  Two  blanks\n\nand\tlines\r\n don't WE'RE camelCase",
    "Straße naïve 漢字かな 한국어 हिन्दी русский 🙂 \u00a0½ €5 {'a': [1, 2]} __init__ http://a.b/c?d=e",
)


def check_same_tokenizer(draft: Any, target: Any, *, names: tuple[str, str]) -> None:
    """Check that both cut text into the same ids, and that each id means the same.

    Speculative decoding compares ids. With other ids every proposal would be rejected, or worse,
    mean something else; translating between vocabularies through text, as transformers can, is
    nothing that vLLM does.

    Args:
        draft: The draft's tokenizer.
        target: The target's.
        names: What both are called, for the error.

    Raises:
        ModelError: They differ; says where.
    """
    ours, theirs = draft.get_vocab(), target.get_vocab()
    if ours != theirs:
        token, i = _first_difference(ours, theirs)
        raise ModelError(
            f"A draft must have its target's tokenizer; {names[0]} has {len(ours)} tokens and "
            f"{names[1]} has {len(theirs)}, and they differ from {token!r} (id {i}) on"
        )
    for text in _HARD:
        if draft(text)["input_ids"] != target(text)["input_ids"]:
            raise ModelError(
                f"A draft must have its target's tokenizer; {names[0]} and {names[1]} have the "
                "same tokens but cut text differently"
            )


def _first_difference(ours: dict[str, int], theirs: dict[str, int]) -> tuple[str, int]:
    apart = {*ours.items()} ^ {*theirs.items()}
    return min(apart, key=lambda pair: (pair[1], pair[0]))

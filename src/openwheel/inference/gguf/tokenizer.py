"""What a GGUF file says of a tokenizer, and which tokenizers it can say it of.

Two kinds: byte-level BPE as GPT-2 has it, and BPE over characters with bytes to fall back on as
SentencePiece models of the Llama family have it. Knows nothing of weights.
"""

import json
from collections.abc import Sequence
from typing import Any

import msgspec

from openwheel.errors import ModelError
from openwheel.inference.gguf import pretokenizers, sentencepiece

_NORMAL, _UNKNOWN, _CONTROL, _USER, _UNUSED, _BYTE = 1, 2, 3, 4, 5, 6
_TEXTS = (
    "The quick brown fox, 12 of 345 (or 6,789.10)?  Two  blanks\n\nand lines\n",
    " Straße naïve 漢字かな交じり 한국어 हिन्दी русский 🙂 \t tab a\u00a0b ½ €5",
    "def f(x): return {\"a\": [1, 2], 'b': x ** 2}  # ok",
    "I'll don't WE'RE camelCase __init__ http://a.b/c?d=e&f=%20",
    "",
    " ",
    "a",
)


class Vocabulary(msgspec.Struct, frozen=True, kw_only=True):
    """A tokenizer as a GGUF file describes it.

    Attributes:
        model: ``gpt2`` (byte-level BPE) or ``llama`` (SentencePiece-style).
        pre: The pre-tokenizer's name in llama.cpp; ``default`` for SentencePiece-style.
        tokens: Text of each token, by id.
        types: llama.cpp's kind of each token.
        scores: Of each token; empty for byte-level BPE.
        merges: In order, the two sides with a blank between; empty for SentencePiece-style.
        special: Id of ``bos``, ``eos``, ``unk``, ``pad`` and ``eot`` where there is one.
        add_bos: Whether a prompt starts with the first of these.
        add_eos: Whether a prompt ends with the second.
        add_space_prefix: Whether a blank is put before a text (SentencePiece-style only).
        chat_template: ``""`` if it has none.
        notes: What the file cannot say, in a sentence each.
    """

    model: str
    pre: str
    tokens: tuple[str, ...]
    types: tuple[int, ...]
    scores: tuple[float, ...] = ()
    merges: tuple[str, ...] = ()
    special: dict[str, int]
    add_bos: bool
    add_eos: bool
    add_space_prefix: bool = False
    chat_template: str = ""
    notes: tuple[str, ...] = ()


def describe(
    tokenizer: Any, size: int, ends: Sequence[int] = (), texts: Sequence[str] = ()
) -> Vocabulary:
    """Return what a GGUF file says of a tokenizer.

    Args:
        tokenizer: A ``transformers`` tokenizer.
        size: Rows of the model's embedding.
        ends: Ids that end an answer, as the generation configuration has them.
        texts: Texts of the task; the SentencePiece-style description must cut them, and some hard
            cases, as the tokenizer does.

    Raises:
        ModelError: A GGUF file cannot describe it, or it is not known to.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise ModelError(
            f"The tokenizer must be a fast one (tokenizer.json) to export to GGUF, was a "
            f"{type(tokenizer).__name__}"
        )
    saved = json.loads(backend.to_str())
    kind = _kind(saved)
    added = backend.get_added_tokens_decoder()
    _check_added(added)
    tokens, types = _tokens(backend, saved, added, size)
    add_bos, add_eos = _adds(tokenizer)
    common: dict[str, Any] = {
        "special": _special(tokenizer, ends),
        "add_bos": add_bos,
        "add_eos": add_eos,
        "chat_template": tokenizer.chat_template
        if isinstance(tokenizer.chat_template, str)
        else "",
        "types": tuple(types),
    }
    pairs = [_pair(merge) for merge in saved["model"]["merges"]]
    if kind == "gpt2":
        rule = pretokenizers.identify(backend)
        return Vocabulary(
            model="gpt2",
            pre=rule.name,
            tokens=tuple(tokens),
            merges=tuple(f"{left} {right}" for left, right in pairs),
            notes=(*_normalisation(saved), *([rule.note] if rule.note else [])),
            **common,
        )
    vocabulary: dict[str, int] = saved["model"]["vocab"]
    plain = {token: i for token, i in vocabulary.items() if i not in added}
    scores = sentencepiece.scores_of(plain, pairs)
    prefix = _space_prefix(backend, vocabulary, scores, [*_TEXTS, *texts])
    return Vocabulary(
        model="llama",
        pre="default",
        tokens=tuple(
            token.replace(sentencepiece.BLANK, " ") if types[i] == _USER else token
            for i, token in enumerate(tokens)
        ),
        scores=tuple(scores.get(token, -1000.0) for token in tokens),
        add_space_prefix=prefix,
        **common,
    )


def _kind(saved: dict[str, Any]) -> str:
    model = saved["model"]
    if model["type"] != "BPE":
        raise ModelError(
            f"The tokenizer must be BPE to export to GGUF, was {model['type']}: no rule here says "
            "how readers of the file would cut text with it"
        )
    for name in ("dropout", "continuing_subword_prefix", "end_of_word_suffix"):
        if model.get(name):
            raise ModelError(f"A GGUF file cannot say the tokenizer's {name} ({model[name]!r})")
    if model.get("byte_fallback"):
        return "llama"
    if "ByteLevel" not in _types(saved.get("pre_tokenizer")):
        raise ModelError(
            "The tokenizer must be byte-level BPE, or BPE that falls back on bytes, to export to "
            "GGUF; it is neither, and text with unknown characters would be cut differently"
        )
    for part in _parts(saved["pre_tokenizer"]):
        if part["type"] == "ByteLevel" and part.get("add_prefix_space"):
            raise ModelError("A GGUF file cannot say the tokenizer's add_prefix_space")
    if unknown := set(_types(saved.get("normalizer"))) - {"NFC", "Sequence"}:
        raise ModelError(
            f"A GGUF file cannot say the tokenizer's normalisation ({', '.join(sorted(unknown))})"
        )
    return "gpt2"


def _normalisation(saved: dict[str, Any]) -> tuple[str, ...]:
    if "NFC" not in _types(saved.get("normalizer")):
        return ()
    return ("Text must be in Unicode form NFC: readers of a GGUF file do not normalise it.",)


def _parts(component: dict[str, Any] | None) -> list[dict[str, Any]]:
    """Return a tokenizer component's parts, itself among them."""
    if component is None:
        return []
    inner = component.get("pretokenizers") or component.get("normalizers") or []
    return [component, *(part for each in inner for part in _parts(each))]


def _types(component: dict[str, Any] | None) -> list[str]:
    return [part["type"] for part in _parts(component)]


def _pair(merge: str | list[str]) -> tuple[str, str]:
    left, right = merge.split(" ", 1) if isinstance(merge, str) else merge
    return left, right


def _check_added(added: dict[int, Any]) -> None:
    for token in added.values():
        for flag in ("single_word", "lstrip", "rstrip"):
            if getattr(token, flag):
                raise ModelError(
                    f"A GGUF file cannot say the flag {flag} of the tokenizer's added token "
                    f"{token.content!r}"
                )


def _tokens(
    backend: Any, saved: dict[str, Any], added: dict[int, Any], size: int
) -> tuple[list[str], list[int]]:
    """Return each id's token and kind; ids that no token has are marked as unused."""
    found: dict[str, int] = backend.get_vocab(with_added_tokens=True)
    if found and max(found.values()) >= size:
        raise ModelError(
            f"The tokenizer has ids up to {max(found.values())}, but the model's embedding has "
            f"only {size} rows"
        )
    tokens = [f"[PAD{i}]" for i in range(size)]
    types = [_UNUSED] * size
    unknown = saved["model"].get("unk_token")
    is_bytes = bool(saved["model"].get("byte_fallback"))
    for token, i in found.items():
        tokens[i] = token
        if token == unknown:
            types[i] = _UNKNOWN
        elif i in added:
            types[i] = _CONTROL if added[i].special else _USER
        elif is_bytes and len(token) == 6 and token.startswith("<0x") and token.endswith(">"):
            types[i] = _BYTE
        else:
            types[i] = _NORMAL
    return tokens, types


def _adds(tokenizer: Any) -> tuple[bool, bool]:
    """Return whether prompts start with the start token and end with the end token."""
    bare = tokenizer("a", add_special_tokens=False)["input_ids"]
    full = tokenizer("a", add_special_tokens=True)["input_ids"]
    for bos in (False, True):
        for eos in (False, True):
            start = [tokenizer.bos_token_id] if bos else []
            end = [tokenizer.eos_token_id] if eos else []
            if [*start, *bare, *end] == full:
                return bos, eos
    raise ModelError(
        "A GGUF file can say only that the start and the end token are added to a prompt; the "
        f"tokenizer makes {full} of {bare}"
    )


def _special(tokenizer: Any, ends: Sequence[int]) -> dict[str, int]:
    found = {
        "bos": tokenizer.bos_token_id,
        "eos": tokenizer.eos_token_id,
        "unk": tokenizer.unk_token_id,
        "pad": tokenizer.pad_token_id,
        "eot": next((i for i in ends if i != tokenizer.eos_token_id), None),
    }
    return {name: i for name, i in found.items() if i is not None}


def _space_prefix(
    backend: Any, vocabulary: dict[str, int], scores: dict[str, float], texts: Sequence[str]
) -> bool:
    """Return whether a blank is put before a text, if either way all texts are cut alike."""
    failed = ""
    for prefix in (True, False):
        failed = ""
        for text in texts:
            escaped = text.replace(" ", sentencepiece.BLANK)
            if prefix and text:
                escaped = sentencepiece.BLANK + escaped
            cut = sentencepiece.encode(escaped, vocabulary, scores)
            if cut != backend.encode(text, add_special_tokens=False).ids:
                failed = text
                break
        if not failed:
            return prefix
    raise ModelError(
        "Readers of a GGUF file would cut text differently from the tokenizer, for example "
        f"{failed[:60]!r}"
    )

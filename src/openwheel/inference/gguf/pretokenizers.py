r"""Which of llama.cpp's pre-tokenizers a byte-level BPE tokenizer has.

A GGUF file does not hold the rule by which text is cut into words before BPE; it names one that
llama.cpp knows (``tokenizer.ggml.pre``). A wrong name still loads and runs, and costs quality that
nobody sees. So the name is not taken from the model's family: a text full of hard cases is cut by
the tokenizer and by each known rule, and the rule must cut it in the same places.

The rules are the patterns that the named tokenizers publish in their ``tokenizer.json``. llama.cpp
tells them apart by a hash over token ids, which knows only published vocabularies; cutting is
independent of the vocabulary, so this works for tokenizers of one's own too.
"""

from typing import Any, NamedTuple

from tokenizers import Regex, pre_tokenizers

from openwheel.errors import ModelError

_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_ENDINGS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_TAIL = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_LLAMA3 = rf"{_ENDINGS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1,3}}|{_TAIL}"
_QWEN2 = rf"{_ENDINGS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}|{_TAIL}"
_QWEN35 = (
    rf"{_ENDINGS}|[^\r\n\p{{L}}\p{{N}}]?[\p{{L}}\p{{M}}]+|\p{{N}}"
    r"| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_CASED_TAIL = r" ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_TEKKEN = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*"
    rf"|\p{{N}}|{_CASED_TAIL}"
)
_GPT4O = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+{_ENDINGS}?"
    rf"|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*{_ENDINGS}?|\p{{N}}{{1,3}}|{_CASED_TAIL}"
)
_DEEPSEEK_V3 = (
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
    r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_SEED = (
    rf"{_ENDINGS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1}}| ?[^\s\p{{L}}\p{{N}}\r\n]+"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)

# Hard cases, each of which some two of the rules cut in different places: contractions in both
# cases, runs of digits, blanks and line ends, punctuation before letters and before line ends,
# mixed case, combining marks, scripts without spaces, a slash before a line end.
_HARD = (
    "I'll say we've 'TWAS don'T we'Re 3 33 333 3333 33333 12345678 v2x10 3.14 ١٢٣٤"
    " \t  word   two    four\n\n\n  \n lines \r\n\r\n end  \n"
    " (paren) ??? !!\n\n ...\r\n ==> $x += 'a'; #tag @you a_b __init__ -- `q` ~/path/ //\n/ |x|"
    " camelCase XMLHttp McDonald IOError ÉCOLE naïve Ünïcode straße ÞÐ"
    " é à व्यक्ति हिन्दी ภาษาไทย עִבְרִית 漢字かな交じり文、テスト。 한국어 中文123数字 русский ΕΛΛΗΝΙΚΆ"
    " 🙂🙃 👩\u200d👩\u200d👧 ½ ² Ⅷ € £5 50% a\u00a0b\u3000c\u200bd tab\tend   "
)


_MARKS = (
    "Words with combining marks (Devanagari, Thai, decomposed accents) are cut differently by "
    "llama.cpp, whose own form of this tokenizer's rule takes a mark for the end of a word."
)


class PreTokenizer(NamedTuple):
    """A rule that llama.cpp knows by name.

    Attributes:
        name: Its name in ``tokenizer.ggml.pre``.
        patterns: Regular expressions applied one after another; each cuts out its matches.
        ignore_merges: Whether a word that is a token as a whole is taken without merging.
        note: Where llama.cpp is known to cut differently all the same.
    """

    name: str
    patterns: tuple[str, ...]
    ignore_merges: bool = False
    note: str = ""


PRE_TOKENIZERS = (
    PreTokenizer("gpt-2", (_GPT2,)),
    PreTokenizer("smollm", (r"\p{N}", _GPT2)),
    PreTokenizer("llama-bpe", (_LLAMA3,), ignore_merges=True),
    PreTokenizer("smaug-bpe", (_LLAMA3,)),
    PreTokenizer("qwen2", (_QWEN2,)),
    PreTokenizer("qwen35", (_QWEN35,)),
    PreTokenizer("tekken", (_TEKKEN,), ignore_merges=True, note=_MARKS),
    PreTokenizer("gpt-4o", (_GPT4O,), note=_MARKS),
    PreTokenizer("deepseek-v3", (r"\p{N}{1,3}", r"[一-龥぀-ゟ゠-ヿ]+", _DEEPSEEK_V3)),
    PreTokenizer("seed-coder", (_SEED,)),
)


def identify(tokenizer: Any) -> PreTokenizer:
    """Return the rule by which a byte-level BPE tokenizer cuts text into words.

    Args:
        tokenizer: A ``tokenizers.Tokenizer``.

    Raises:
        ModelError: It cuts in no way that is known.
    """
    cuts = tuple(word for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(_HARD))
    ignore_merges = bool(tokenizer.model.ignore_merges)
    same = [rule for rule in PRE_TOKENIZERS if _cuts(rule) == cuts]
    for rule in same:
        if rule.ignore_merges == ignore_merges:
            return rule
    if same:
        raise ModelError(
            f"The tokenizer cuts text as {same[0].name} does, but must have ignore_merges="
            f"{str(same[0].ignore_merges).lower()} as that has; it cannot be named in a GGUF file"
        )
    known = ", ".join(rule.name for rule in PRE_TOKENIZERS)
    raise ModelError(
        f"The tokenizer cuts text into words by a rule that is none of those a GGUF file can "
        f"name here ({known})"
    )


def pre_tokenizer(rule: PreTokenizer) -> Any:
    """Return a rule as ``tokenizers`` runs it."""
    splits = [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in rule.patterns]
    to_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return pre_tokenizers.Sequence([*splits, to_bytes])


def _cuts(rule: PreTokenizer) -> tuple[str, ...]:
    return tuple(word for word, _ in pre_tokenizer(rule).pre_tokenize_str(_HARD))

"""Whether a text may be written within a constraint, as llama.cpp asks llguidance."""

import functools
from typing import Any

from llguidance import LLMatcher

from inference.tiny import tiny_tokenizer
from openwheel.inference.lark import lark_of
from openwheel.inference.writer import Constraint


@functools.cache
def _tokenizer() -> tuple[Any, Any]:
    import llguidance.hf

    tokenizer = tiny_tokenizer()
    return tokenizer, llguidance.hf.from_tokenizer(tokenizer)


def may_write(constraint: Constraint, text: str, *, after: str = "") -> bool:
    """Return whether the text may be written, token by token, and end there."""
    tokenizer, known = _tokenizer()
    grammar = lark_of(constraint, after=after).partition("\n")[2]
    matcher = LLMatcher(known, LLMatcher.grammar_from_lark(grammar), log_level=0)
    assert not matcher.is_error(), matcher.get_error()
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    return bool(matcher.consume_tokens(ids)) and bool(matcher.is_accepting())

"""Which tokenizers a GGUF file can describe; all others are refused with the reason."""

import json

import pytest
from tokenizers import AddedToken, Regex, Tokenizer, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from export import tiny
from openwheel.errors import ModelError
from openwheel.inference.gguf.pretokenizers import PRE_TOKENIZERS
from openwheel.inference.gguf.tokenizer import describe

NAMES = [rule.name for rule in PRE_TOKENIZERS]


def wrapped(backend):
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<|bos|>", eos_token="<|end|>"
    )


def changed(tokenizer, **model):
    saved = json.loads(tokenizer.backend_tokenizer.to_str())
    saved["model"].update(model)
    return wrapped(Tokenizer.from_str(json.dumps(saved)))


@pytest.mark.parametrize("name", NAMES)
def test_a_byte_level_tokenizer_is_named_by_what_it_does(name):
    found = describe(tiny.byte_level(name), tiny.SIZE)
    assert (found.model, found.pre) == ("gpt2", name)
    assert len(found.tokens) == len(found.types) == tiny.SIZE


def test_the_same_cuts_by_other_means_have_the_same_name():
    tokenizer = tiny.byte_level("smollm")
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(False)]
    )
    assert describe(tokenizer, tiny.SIZE).pre == "smollm"


def test_cuts_that_no_rule_makes_are_refused():
    tokenizer = tiny.byte_level("qwen2")
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"\p{N}{1,4}|\p{L}+|\s+"), "isolated"),
            pre_tokenizers.ByteLevel(False, use_regex=False),
        ]
    )
    with pytest.raises(ModelError, match="a rule that is none of those a GGUF file can name"):
        describe(tokenizer, tiny.SIZE)


def test_how_whole_words_are_merged_must_be_as_the_name_says():
    tokenizer = changed(tiny.byte_level("qwen2"), ignore_merges=True)
    with pytest.raises(ModelError, match="as qwen2 does, but must have ignore_merges=false"):
        describe(tokenizer, tiny.SIZE)


def test_nfc_is_told_and_other_normalisation_refused():
    tokenizer = tiny.byte_level()
    assert describe(tokenizer, tiny.SIZE).notes == ()
    tokenizer.backend_tokenizer.normalizer = normalizers.NFC()
    assert "NFC" in describe(tokenizer, tiny.SIZE).notes[0]
    tokenizer.backend_tokenizer.normalizer = normalizers.Lowercase()
    with pytest.raises(ModelError, match=r"normalisation \(Lowercase\)"):
        describe(tokenizer, tiny.SIZE)


def test_a_blank_before_the_text_cannot_be_said_of_byte_level_bpe():
    tokenizer = tiny.byte_level()
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    with pytest.raises(ModelError, match="add_prefix_space"):
        describe(tokenizer, tiny.SIZE)


@pytest.mark.parametrize("flag", ["lstrip", "rstrip", "single_word"])
def test_flags_of_added_tokens_cannot_be_said(flag):
    tokenizer = tiny.byte_level()
    tokenizer.add_tokens([AddedToken("<strip>", **{flag: True})])
    with pytest.raises(ModelError, match=f"the flag {flag} of the tokenizer's added token"):
        describe(tokenizer, tiny.SIZE)


def test_kinds_of_tokens():
    tokenizer = tiny.byte_level(bos=True)
    found = describe(tokenizer, tiny.SIZE, ends=[tokenizer.eos_token_id, 2])
    kind = dict(zip(found.tokens, found.types, strict=True))
    assert (kind["<|end|>"], kind["<tool>"], kind["a"], kind["[PAD510]"]) == (3, 4, 1, 5)
    assert (found.add_bos, found.add_eos) == (True, False)
    assert found.special == {"bos": 0, "eos": 1, "pad": 3, "eot": 2}
    assert found.chat_template == tiny.TEMPLATE


@pytest.mark.parametrize("prefix", [True, False])
def test_a_sentencepiece_tokenizer_has_scores_instead_of_merges(prefix):
    tokenizer = tiny.sentencepiece(prefix=prefix)
    found = describe(tokenizer, tiny.SIZE, texts=tiny.LINES)
    assert (found.model, found.merges, found.add_space_prefix) == ("llama", (), prefix)
    kind = dict(zip(found.tokens, found.types, strict=True))
    assert (kind["<0x0A>"], kind["<unk>"], kind["<|end|>"]) == (6, 2, 3)


def test_merges_that_scores_cannot_say_are_refused():
    with pytest.raises(ModelError, match=r"has no merge of|do not come together"):
        describe(tiny.sentencepiece(whole=False), tiny.SIZE)


def test_merges_of_one_token_that_do_not_come_together_are_refused():
    tokenizer = tiny.sentencepiece()
    merges = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"]
    twice = next(i for i in range(1, len(merges)) if "".join(merges[i]) == "".join(merges[i - 1]))
    apart = [*merges[:twice], *merges[twice + 1 :], merges[twice]]
    with pytest.raises(ModelError, match="do not come together"):
        describe(changed(tokenizer, merges=apart), tiny.SIZE)


def test_other_models_are_refused():
    backend = Tokenizer.from_str(
        json.dumps(
            {
                "version": "1.0",
                "model": {"type": "Unigram", "unk_id": 0, "vocab": [["<unk>", 0.0], ["a", -1.0]]},
                "added_tokens": [],
            }
        )
    )
    with pytest.raises(ModelError, match="must be BPE to export to GGUF, was Unigram"):
        describe(wrapped(backend), tiny.SIZE)


def test_more_tokens_than_the_embedding_has_rows():
    with pytest.raises(ModelError, match="the model's embedding has only 300 rows"):
        describe(tiny.byte_level(), 300)

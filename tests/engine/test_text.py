from hypothesis import given
from hypothesis import strategies as st

from engine.tiny import tiny_tokenizer
from openwheel.engine.text import Characters, StopTexts, Vocabulary


def test_a_character_split_over_tokens_is_never_given_half():
    tokenizer = tiny_tokenizer()
    vocabulary = Vocabulary(tokenizer, [tokenizer.eos_token_id])
    text = "naïve 日本語 🙂 schön"
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    characters = Characters()
    pieces = [characters.feed(vocabulary.bytes_of(token)) for token in ids]
    assert "" in pieces  # some tokens end within a character
    assert not any("\ufffd" in piece for piece in pieces)
    assert "".join(pieces) + characters.close() == text


def test_half_a_character_at_the_end_shows_that_something_is_missing():
    characters = Characters()
    assert characters.feed("é".encode()[:1]) == ""
    assert characters.close() == "\ufffd"


def test_special_tokens_are_left_out_unless_their_text_matters():
    tokenizer = tiny_tokenizer(special=("[THINK]",))
    ids = tokenizer("[THINK]<|im_start|>yes", add_special_tokens=False)["input_ids"]
    plain = Vocabulary(tokenizer, [tokenizer.eos_token_id])
    keeping = Vocabulary(tokenizer, [tokenizer.eos_token_id], ["[THINK]"])
    assert b"".join(map(plain.bytes_of, ids)) == b"yes"
    assert b"".join(map(keeping.bytes_of, ids)) == b"[THINK]yes"


def test_a_stop_text_ends_the_answer_wherever_it_was_split():
    for cuts in ([3], [4], [5], [2, 4, 6]):
        text = "yes\n\nUser: no"
        stops = StopTexts(["\n\nUser"])
        parts = [text[a:b] for a, b in zip([0, *cuts], [*cuts, None], strict=True)]
        assert "".join(map(stops.feed, parts)) + stops.close() == "yes"
        assert stops.found == "\n\nUser"


def test_what_only_looked_like_a_stop_text_is_given_in_the_end():
    stops = StopTexts(["END"])
    assert stops.feed("the EN") == "the "
    assert stops.feed("TRY E") == "ENTRY "
    assert stops.close() == "E"


@given(st.text("ab", max_size=30), st.lists(st.text("ab", min_size=1, max_size=3), max_size=3))
def test_stop_texts_cut_as_on_the_whole_text(text, stops):
    finder = StopTexts(stops)
    given_out = "".join(map(finder.feed, text)) + finder.close()
    # Letter by letter, the stop text that is complete first counts.
    ends = [text.find(stop) + len(stop) for stop in stops if stop in text]
    first = min(ends, default=None)
    if first is None:
        assert given_out == text
    else:
        assert given_out == text[: first - len(finder.found)]

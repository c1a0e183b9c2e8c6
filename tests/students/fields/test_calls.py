"""Which of several calls the values of an input belong to."""

import itertools

from openwheel.students.fields.align import TagSpan
from openwheel.students.fields.calls import Calling, Tool, part
from openwheel.students.fields.features import word_hash
from openwheel.students.fields.words import words_of

CITY, UNIT, DAY = 1, 2, 3
WEATHER = Tool((0, CITY, UNIT, DAY), (((CITY, UNIT), 8), ((CITY, UNIT, DAY), 5)))
BOOK = Tool((0, DAY), (((DAY,), 9),))
PING = Tool((0,), (((), 4),))
CALLING = Calling({"weather": WEATHER, "book": BOOK, "ping": PING}, shared=(UNIT,))


def found(text, *values):
    """Return values of a text as the tagger finds them, each given by its field and its word."""
    words = [word.text for word in words_of(text)]
    made = []
    for field, word in values:
        place = words.index(word)
        made.append((TagSpan(field, place, place, 0.9), word))
    return sorted(made, key=lambda one: one[0].first)


def parted(text, names, *values, calling=CALLING):
    made = part(calling, names, found(text, *values), words_of(text))
    if made is None:
        return None
    groups = [{field: own[0][1] for field, own in group.items()} for group in made.groups]
    return groups, made.torn


def test_values_go_to_calls_in_their_order_and_one_is_shared():
    text = "weather in Oslo and Rome in celsius"
    values = ((CITY, "Oslo"), (CITY, "Rome"), (UNIT, "celsius"))
    wanted = [{CITY: "Oslo", UNIT: "celsius"}, {CITY: "Rome", UNIT: "celsius"}]
    assert parted(text, ["weather"] * 2, *values) == (wanted, 0)


def test_values_of_each_field_in_a_row():
    text = "Oslo and Rome, celsius and kelvin"
    values = ((CITY, "Oslo"), (CITY, "Rome"), (UNIT, "celsius"), (UNIT, "kelvin"))
    wanted = [{CITY: "Oslo", UNIT: "celsius"}, {CITY: "Rome", UNIT: "kelvin"}]
    assert parted(text, ["weather"] * 2, *values) == (wanted, 0)


def test_a_value_that_one_call_has_goes_where_calls_are_as_in_training():
    text = "Oslo in celsius and on friday Rome in kelvin"
    values = ((CITY, "Oslo"), (UNIT, "celsius"), (DAY, "friday"), (CITY, "Rome"), (UNIT, "kelvin"))
    between = tuple(
        (word_hash(word), times, 10) for word, times in (("and", 10), ("on", 10), ("in", 0))
    )
    calling = Calling(CALLING.tools, (), between)
    groups, torn = parted(text, ["weather"] * 2, *values, calling=calling)
    assert groups == [
        {CITY: "Oslo", UNIT: "celsius"},
        {DAY: "friday", CITY: "Rome", UNIT: "kelvin"},
    ]
    assert torn == 0


def test_tools_that_share_the_name_of_an_argument():
    text = "Oslo in celsius, ping, book friday"
    values = ((CITY, "Oslo"), (UNIT, "celsius"), (DAY, "friday"))
    groups, torn = parted(text, ["weather", "ping", "book"], *values)
    assert groups == [{CITY: "Oslo", UNIT: "celsius"}, {}, {DAY: "friday"}]
    assert torn == 0


def test_what_cannot_be_parted_is_none():
    assert parted("Oslo", ["ping", "ping"], (CITY, "Oslo")) is None
    assert parted("Oslo", ["ping", "unknown"], (CITY, "Oslo")) is None
    three = ((CITY, "Oslo"), (CITY, "Rome"), (CITY, "Bonn"))
    assert parted("Oslo Rome Bonn", ["weather"] * 2, *three) is None


def test_arguments_that_no_call_had_are_counted():
    groups, torn = parted("Oslo and Rome", ["weather"] * 2, (CITY, "Oslo"), (CITY, "Rome"))
    assert (len(groups), torn) == (2, 2)


def test_every_cut_keeps_the_order_of_the_values():
    names = ["weather", "book", "weather"]
    words = ["a", "b", "c", "d"]
    for fields in itertools.product((CITY, UNIT, DAY), repeat=4):
        made = parted(" ".join(words), names, *zip(fields, words, strict=True))
        if made is not None:
            kept = [value for group in made[0] for value in group.values()]
            assert set(kept) == set(words)

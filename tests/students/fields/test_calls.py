"""Which of several calls the values of an input belong to."""

import itertools

from openwheel.students.fields.align import TagSpan
from openwheel.students.fields.calls import Calling, Pattern, Tool, nested, part, plain
from openwheel.students.fields.features import word_hash
from openwheel.students.fields.words import words_of

CITY, UNIT, DAY = 1, 2, 3
WEATHER = Tool((0, CITY, UNIT, DAY), (((CITY, UNIT), 8), ((CITY, UNIT, DAY), 5)))
BOOK = Tool((0, DAY), (((DAY,), 9),))
PING = Tool((0,), (((), 4),))
CALLING = Calling(
    {"weather": WEATHER, "book": BOOK, "ping": PING},
    shared=(UNIT,),
)


def found(text, *values):
    """Return the values of fields as the tagger finds them, each given by its word."""
    words = [word.text for word in words_of(text)]
    made = {}
    for field, word in values:
        place = words.index(word)
        made.setdefault(field, []).append((TagSpan(field, place, place, 0.9), word))
    return made


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
    calling = Calling(CALLING.tools, (), (), between)
    groups, torn = parted(text, ["weather"] * 2, *values, calling=calling)
    assert groups == [
        {CITY: "Oslo", UNIT: "celsius"},
        {DAY: "friday", CITY: "Rome", UNIT: "kelvin"},
    ]
    assert torn == 0


def test_values_are_spread_as_they_mostly_were():
    names = ["weather"] * 4
    together = "\n".join(names)
    twice = Pattern(together, CITY, 2, (0, 0, 1, 1), 0.95)
    last = Pattern(together, DAY, 1, (-1, 0, -1, -1), 1.0)
    calling = Calling(CALLING.tools, (twice, last), (UNIT,))
    text = "Oslo and Rome today and then friday in celsius"
    values = ((CITY, "Oslo"), (CITY, "Rome"), (DAY, "friday"), (UNIT, "celsius"))
    groups, torn = parted(text, names, *values, calling=calling)
    assert groups == [
        {CITY: "Oslo", UNIT: "celsius"},
        {CITY: "Oslo", UNIT: "celsius", DAY: "friday"},
        {CITY: "Rome", UNIT: "celsius"},
        {CITY: "Rome", UNIT: "celsius"},
    ]
    assert torn == 0


def test_tools_that_share_the_name_of_an_argument():
    text = "Oslo in celsius, ping, book friday"
    values = ((CITY, "Oslo"), (UNIT, "celsius"), (DAY, "friday"))
    groups, torn = parted(text, ["weather", "ping", "book"], *values)
    assert groups == [{CITY: "Oslo", UNIT: "celsius"}, {}, {DAY: "friday"}]
    assert torn == 0


def test_what_cannot_be_parted_is_none():
    assert parted("Oslo", ["ping", "ping"], (CITY, "Oslo")) == ([{}, {}], 0)
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


def test_arguments_stand_below_the_name_of_their_tool():
    one = {"name": "f", "arguments": {"a": 1}}
    other = {"name": "g", "arguments": {"a": [2]}}
    both = nested([one, other, one])
    assert both["name"] == "f\ng\nf"
    assert both["arguments"] == {"f": {"a": [1, 1]}, "g": {"a": [2]}}
    assert plain(nested([other])) == other
    assert nested([{"name": None}]) == nested([one, {"name": None}]) == {"name": None}
    mixed = [{"name": "f", "arguments": {"a": value}} for value in (1, {"b": 1})]
    assert nested(mixed) == {"name": None}

import pytest

from openwheel.loop.records import MOST_VALUES, accepted, encode_settings

SEEN = accepted(
    encode_settings(settings)
    for settings in [
        {"model": '"m"', "temperature": "0"},
        {"model": '"m"', "temperature": "0.7", "stop": '["\\n"]'},
        {"model": '"m-mini"', "temperature": "0", "max_tokens": "5"},
    ]
)


@pytest.mark.parametrize(
    "settings",
    [
        {"model": '"m"', "temperature": "0"},
        {"model": '"m-mini"', "temperature": "0.7"},
        {"model": '"m"', "temperature": "0.3"},
        {"model": '"m"', "temperature": "0", "max_tokens": "5", "stop": '["\\n"]'},
        None,
    ],
)
def test_what_was_seen_and_what_lies_between_is_accepted(settings):
    assert SEEN.accepts(settings)


@pytest.mark.parametrize(
    "settings",
    [
        {"model": '"other"', "temperature": "0"},
        {"model": '"m"', "temperature": "1.5"},
        {"model": '"m"'},
        {"model": '"m"', "temperature": '"warm"'},
        {"model": '"m"', "temperature": "0", "max_tokens": "4"},
        {"model": '"m"', "temperature": "0", "stop": '["x"]'},
        {"model": '"m"', "temperature": "0", "reasoning_effort": '"high"'},
    ],
)
def test_what_was_never_seen_is_not(settings):
    assert not SEEN.accepts(settings)


def test_a_setting_that_always_differs_is_free():
    every = accepted(encode_settings({"request_tag": f'"{n}"'}) for n in range(MOST_VALUES + 1))
    assert every.accepts({"request_tag": '"new"'})
    assert every.accepts({})
    assert not every.accepts({"temperature": "1"})


def test_logs_that_do_not_tell_their_settings_rule_nothing_out():
    unknown = accepted([encode_settings(None), encode_settings(None)])
    assert unknown.accepts({"model": '"m"', "temperature": "2"})
    some = accepted([encode_settings(None), encode_settings({"model": '"m"'})])
    assert not some.accepts({"model": '"m"', "temperature": "2"})

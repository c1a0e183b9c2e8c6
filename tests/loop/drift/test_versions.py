import pytest

from openwheel.loop.drift.versions import Sighting, Version, changes


def found(known, new, *, live=True, evidence=1_000):
    """Return what is news when new versions come after known ones."""
    sightings = [
        Sighting(Version(*version), live or i < len(known), i + 1, f"e{i}", 0.0)
        for i, version in enumerate([*known, *new])
    ]
    return [
        (kind, tuple(one.version))
        for kind, one in changes(sightings, until=len(known), evidence=evidence)
    ]


GPU = ("gpu", "big-1", "fp_a")


@pytest.mark.parametrize(
    ("new", "kind"),
    [
        (("gpu", "big-2", "fp_a"), "model"),
        (("other", "big-1", "fp_a"), "model"),
        (("gpu", "big-1", "fp_b"), "fingerprint"),
    ],
)
def test_what_did_not_answer_the_evidence_is_news(new, kind):
    assert found([GPU], [new]) == [(kind, new)]


@pytest.mark.parametrize(
    ("known", "new"),
    [
        ([GPU], GPU),
        ([GPU, ("cpu", "small", "")], ("cpu", "small", "")),  # several teachers: any of them
        ([GPU], ("gpu", "", "")),  # it does not say who it is
        ([GPU], ("gpu", "big-1", "")),
        ([("gpu", "big-1", "")], GPU),  # kept from before there were fingerprints
        ([("", "big-1", "")], GPU),  # from a log, or from before endpoints were kept
        ([("", "", "")], GPU),
        ([("", "big", "")], ("gpu", "big-2026-01-05", "fp_a")),
        ([("gpu", "", ""), ("cpu", "small", "")], GPU),
        ([], GPU),
    ],
)
def test_what_the_evidence_says_nothing_of_is_no_news(known, new):
    assert found(known, [new]) == []


def test_a_log_that_names_another_model_is_evidence_on_that():
    assert found([("", "big", "")], [("gpu", "big-mini", "")]) == [
        ("model", ("gpu", "big-mini", ""))
    ]


def test_an_imported_log_changes_nothing():
    assert found([GPU], [("", "big-2", "")], live=False) == []


def test_what_was_told_at_last_is_what_later_ones_are_compared_with():
    told = ("gpu", "big-1", "fp_a")
    later = ("gpu", "big-1", "fp_b")
    assert found([("gpu", "big-1", "")], [told, later]) == [("fingerprint", later)]


def test_each_version_is_news_once():
    new = ("gpu", "big-2", "fp_a")
    assert found([GPU], [new, new]) == [("model", new)]


def test_fingerprints_that_come_with_every_few_answers_say_nothing():
    many = [("gpu", "big-1", f"fp_{i}") for i in range(8)]
    new = ("gpu", "big-1", "fp_new")
    assert found(many, [new], evidence=1_000) == []
    assert found(many, [new], evidence=2_000) == [("fingerprint", new)]
    assert found(many, [("gpu", "big-2", "fp_new")]) == [("model", ("gpu", "big-2", "fp_new"))]

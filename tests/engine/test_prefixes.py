from openwheel.engine.prefixes import SHORTEST, Prefixes

SHARED = list(range(40))


def asked(prefixes, last, adapter=""):
    """Ask, and keep what is worth keeping, as a scheduler does; return what was known of it."""
    prompt = [*SHARED, last, last + 1]
    shared = prefixes.note(adapter, prompt)
    if shared:
        prefixes.put(adapter, prompt[:shared], f"cache of {shared}", 10)
    return prefixes.find(adapter, prompt)


def test_a_beginning_is_kept_when_it_comes_again_and_known_from_then_on():
    prefixes = Prefixes(100, sliceable=False)
    assert asked(prefixes, 100) == (None, 0)
    assert asked(prefixes, 200) == ("cache of 40", 40)
    assert prefixes.note("", [*SHARED, 7, 8]) == 0  # it is kept already
    assert asked(prefixes, 300) == ("cache of 40", 40)
    assert (prefixes.read, prefixes.spared) == (126, 80)


def test_the_last_token_is_always_read():
    prefixes = Prefixes(100, sliceable=True)
    prompt = list(range(30))
    prefixes.note("", prompt)
    assert prefixes.note("", prompt) == 29
    prefixes.put("", prompt, "cache", 1)
    assert prefixes.find("", prompt) == ("cache", 29)


def test_a_part_of_a_beginning_serves_only_where_it_can_be_cut_out():
    for sliceable, known in ((True, 20), (False, 0)):
        prefixes = Prefixes(100, sliceable=sliceable)
        prefixes.put("", SHARED, "cache", 10)
        assert prefixes.find("", [*SHARED[:20], *range(500, 530)])[1] == known


def test_adapters_remember_apart_and_are_forgotten_apart():
    prefixes = Prefixes(100, sliceable=True)
    for adapter in ("a", "b"):
        for last in (100, 200):
            asked(prefixes, last, adapter)
    assert asked(prefixes, 300, "c")[1] == 0
    prefixes.forget("a")
    assert prefixes.find("a", SHARED)[1] == 0
    assert prefixes.find("b", SHARED)[1] == 39


def test_memory_is_bounded_and_the_least_used_goes():
    prefixes = Prefixes(25, sliceable=True)
    for start in (0, 1000, 2000):
        prefixes.put("", list(range(start, start + 40)), f"cache {start}", 10)
        prefixes.find("", list(range(41)))  # uses the first
    assert prefixes.held_bytes == 20
    assert prefixes.find("", list(range(41)))[1] == 40
    assert prefixes.find("", list(range(1000, 1041)))[1] == 0
    prefixes.put("", list(range(3000, 3040)), "too large", 26)
    assert prefixes.held_bytes == 20


def test_nothing_is_kept_for_a_few_tokens():
    prefixes = Prefixes(100, sliceable=True)
    few = list(range(SHORTEST - 1))
    prefixes.note("", [*few, 77, 78])
    assert prefixes.note("", [*few, 88, 89]) == 0

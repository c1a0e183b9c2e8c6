from openwheel.engine.prefixes import SHORTEST, Prefixes

SHARED = list(range(40))


def asked(prefixes, last, adapter=""):
    """Ask, and keep what is worth keeping, as a scheduler does."""
    prompt = [*SHARED, last, last + 1]
    plan = prefixes.plan(adapter, prompt)
    if plan.keep:
        prefixes.put(adapter, prompt[: plan.keep], f"cache of {plan.keep}", 10)
    return plan


def test_a_beginning_is_kept_when_it_comes_again_and_known_from_then_on():
    prefixes = Prefixes(100, sliceable=False)
    assert asked(prefixes, 100).keep == 0
    assert asked(prefixes, 200).keep == len(SHARED)
    third = asked(prefixes, 300)
    assert (third.cache, third.known, third.keep) == ("cache of 40", 40, 0)
    assert prefixes.spared == 40


def test_the_last_token_is_always_read():
    prefixes = Prefixes(100, sliceable=True)
    prompt = list(range(30))
    for _ in range(3):
        plan = prefixes.plan("", prompt)
        assert max(plan.known, plan.keep) <= 29
        if plan.keep:
            prefixes.put("", prompt[: plan.keep], "cache", 1)


def test_a_part_of_a_beginning_serves_only_where_it_can_be_cut_out():
    for sliceable, known in ((True, 20), (False, 0)):
        prefixes = Prefixes(100, sliceable=sliceable)
        prefixes.put("", SHARED, "cache", 10)
        plan = prefixes.plan("", [*SHARED[:20], *range(500, 530)])
        assert plan.known == known


def test_adapters_remember_apart_and_are_forgotten_apart():
    prefixes = Prefixes(100, sliceable=True)
    for adapter in ("a", "b"):
        for last in (100, 200):
            asked(prefixes, last, adapter)
    assert asked(prefixes, 300, "c").known == 0
    prefixes.forget("a")
    assert asked(prefixes, 300, "a").known == 0
    assert asked(prefixes, 300, "b").known == 40


def test_memory_is_bounded_and_the_least_used_goes():
    prefixes = Prefixes(25, sliceable=True)
    for start in (0, 1000, 2000):
        tokens = list(range(start, start + 40))
        prefixes.put("", tokens, f"cache {start}", 10)
        prefixes.plan("", [0, *range(1, 41)])  # uses the first
    assert prefixes.held_bytes == 20
    assert prefixes.plan("", list(range(41))).known == 40
    assert prefixes.plan("", list(range(1000, 1041))).known == 0
    prefixes.put("", list(range(3000, 3040)), "too large", 26)
    assert prefixes.held_bytes == 20


def test_nothing_is_kept_for_a_few_tokens():
    prefixes = Prefixes(100, sliceable=True)
    few = list(range(SHORTEST - 1))
    prefixes.plan("", [*few, 77, 78])
    assert prefixes.plan("", [*few, 88, 89]).keep == 0

import json
import math
import re
from pathlib import Path

import msgspec
import pytest

from openwheel.gate import Certificate, Compared, Evidence, Slice, Test, Window, spent, verify
from openwheel.gate.certificate import ByAnswer

DOCUMENT = Path(__file__).parents[2] / "docs" / "certificates.md"

NOT_RECOMPUTED = {
    # What a certificate says beyond the numbers of its gate: only the id covers it.
    r"statement|task|task_name|student|rung|created",
    r"files\..*|versions\..*",
    r"(training|calibration_window|deferred_window)\.((first|last)_(seq|time)|sha256)",
    # Sizes of which verify knows no more than that they are large enough, or sum to no more.
    r"(training|calibration_window|deferred_window)\.exchanges|slices\.\d\.exchanges",
    r"slices\.\d\.name|deferred_slices\.0",
    # Nothing in the counts tells at which confidence they were counted, beyond their order.
    r"tests\.\d+\.threshold",
    # Of what stands beside the tests verify knows that it is possible.
    r"calibration\.n|design_effect|unfinished\.(name|exchanges)|populations\.\d\.(exchanges|answered|disagreements)",
    r"populations\.\d\.partial\.\d\.[01]",
    r"answers\.\d\.(answer|teacher|student|agreed)",
    # Of the two ways to count, the p-value is that of the weaker: the other changes nothing.
    r"tests\.\d+\.(answered|disagreements)(_with_repeats)?",
    r"tests\.\d+\.partial(_with_repeats)?\.\d+\.[01]",
    r"tests\.\d+\.weighed(_with_repeats)?\.\d+\.[012]",
    # Where the p-value is 1, no bet changes it.
    r"tests\.\d+\.rate",
}
"""Fields whose change verify cannot see if the id is made anew. docs/certificates.md lists them."""


def leaves(value, path=()):
    """Every field of a certificate as JSON, with its path."""
    children = value.items() if isinstance(value, dict) else enumerate(value)
    for key, child in children:
        if isinstance(child, (dict, list)):
            yield from leaves(child, (*path, key))
        else:
            yield (*path, key), child


def changed(value):
    """Wrong values near the true one and far from it."""
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        return [value - 1, value + 1, value + 1_000_000]
    if isinstance(value, float):
        return [value * 0.99 - 1e-6, value * 1.01 + 1e-6, 0.0 if value else 0.5, -1.0]
    return ["anytime" if value == "binomial" else "binomial", f"{value}x"]


def with_value(certificate, path, value, *, sealed):
    fields = msgspec.to_builtins(certificate)
    inside = fields
    for key in path[:-1]:
        if isinstance(inside[key], tuple):
            inside[key] = list(inside[key])
        inside = inside[key]
    inside[path[-1]] = value
    found = msgspec.convert(fields, Certificate)
    return found.sealed() if sealed else found


EVERY = pytest.mark.parametrize(
    "every_value", [False, pytest.param(True, marks=pytest.mark.evidence)]
)


def tampered(certificate, *, sealed, every_value):
    """Change each number: to every wrong value, or to one near it.

    Of the tests all are changed, or the first and those about the certified one.
    """
    # Losses between 0 and 1 take longer to recount: then not all, but every twelfth.
    step = 12 if any(test.partial for test in certificate.tests) else 1
    if not every_value:
        step = len(certificate.tests)
    for number, (path, value) in enumerate(leaves(json.loads(msgspec.json.encode(certificate)))):
        if path[0] == "tests" and path[1] % step and abs(path[1] - certificate.chosen) > 1:
            continue
        values = changed(value)
        # In turn the one below and the one above.
        for other in values if every_value else [values[number % min(2, len(values))]]:
            try:
                yield path, with_value(certificate, path, other, sealed=sealed)
            except msgspec.ValidationError:
                continue  # not even a certificate


def edited(certificate, **fields):
    return msgspec.structs.replace(certificate, **fields).sealed()


def test_a_certificate_holds_and_says_what_its_counts_say(certificate):
    found = verify(certificate)
    assert found.holds
    assert found.problems == ()
    assert found.bound == pytest.approx(certificate.bound)
    assert found.bound <= certificate.epsilon


def test_a_certificate_comes_back_from_json_as_it_was(certificate):
    encoded = msgspec.json.encode(certificate)
    back = msgspec.json.decode(encoded, type=Certificate)
    assert back == certificate
    assert back.digest() == certificate.id
    assert verify(back).holds
    # Also through another program's JSON, which writes in another order and with white space.
    other = json.dumps(json.loads(encoded), indent=2, sort_keys=True).encode()
    assert verify(msgspec.json.decode(other, type=Certificate)).holds


@pytest.mark.parametrize("method", ["binomial", "anytime"])
def test_a_certificate_of_schema_1_still_verifies(method):
    """Written by the gate as it was in November 2026, when its id covered every float."""
    kept = (Path(__file__).parent / "certificates" / f"{method}.json").read_bytes()
    certificate = msgspec.json.decode(kept, type=Certificate)
    assert verify(certificate).holds
    assert json.loads(msgspec.json.encode(certificate)) == json.loads(kept)
    forged = msgspec.structs.replace(certificate, bound=certificate.bound * (1 + 1e-9))
    assert "its id is not the hash of its content: it was altered" in verify(forged).problems


def test_the_id_does_not_depend_on_the_last_bit_of_a_float(certificate):
    """Processors and builds of NumPy differ in it."""
    nudged = 1 + 2e-15
    other = msgspec.structs.replace(
        certificate,
        bound=certificate.bound * nudged,
        delta_spent=certificate.delta_spent * nudged,
        threshold=certificate.threshold * nudged,
        tests=tuple(
            msgspec.structs.replace(
                test,
                p_value=test.p_value * nudged,
                level=test.level * nudged,
                weight=test.weight * nudged,
                threshold=test.threshold * nudged,
            )
            for test in certificate.tests
        ),
    )
    assert other != certificate
    assert verify(other).holds


def test_what_compared_is_covered_by_the_id(certificate):
    with_it = edited(certificate, compared=Compared("rouge:0.7", "d" * 64))
    assert with_it.id != certificate.id
    assert verify(with_it).holds
    judged = Compared("judge", "d" * 64, "teacher", {"flips": 0.01})
    assert not verify(msgspec.structs.replace(with_it, compared=judged)).holds


@pytest.mark.parametrize(
    "partial",
    [((0, 3),), ((1000, 3),), ((500, 0),), ((500, 1), (500, 1)), ((-1, 2),), ((501, 1), (500, 1))],
)
def test_losses_that_no_gate_writes_are_seen(certificate, partial):
    tests = list(certificate.tests)
    tests[-1] = msgspec.structs.replace(tests[-1], partial=partial)
    assert not verify(edited(certificate, tests=tuple(tests))).holds
    tests[-1] = msgspec.structs.replace(certificate.tests[-1], partial_with_repeats=partial)
    assert not verify(edited(certificate, tests=tuple(tests))).holds


def test_the_binomial_method_is_not_for_losses_between(make_certificate):
    certificate = make_certificate("betting")
    found = verify(edited(certificate, method="binomial"))
    assert "its method is for losses of 0 and 1, and it has others" in found.problems


@EVERY
def test_every_change_is_seen_by_the_id(certificate, every_value):
    count = 0
    for path, forged in tampered(certificate, sealed=False, every_value=every_value):
        assert not verify(forged).holds, path
        count += 1
    assert count > (400 if every_value else 100)


@EVERY
def test_every_change_of_a_number_is_seen_without_the_id(certificate, every_value):
    chosen = certificate.chosen
    unseen = set()
    for path, forged in tampered(certificate, sealed=True, every_value=every_value):
        if path == ("id",):
            continue
        found = verify(forged)
        if found.holds:
            unseen.add(".".join(map(str, path)))
        else:
            assert found.problems
    known = re.compile("|".join(sorted(NOT_RECOMPUTED)))
    assert [name for name in sorted(unseen) if not known.fullmatch(name)] == []
    # At the certified threshold every number is seen, but for weighed counts that decide nothing.
    certified = [name for name in unseen if name.startswith(f"tests.{chosen}.")]
    assert not [name for name in certified if ".weighed" not in name]
    # What is listed as not recomputed is so: else the list would hide what it does not know.
    assert {"statement", "task", "files.model.json", "training.sha256", "created"} <= unseen


def test_thresholds_out_of_order_are_seen(certificate):
    tests = list(certificate.tests)
    first = msgspec.structs.replace(tests[0], threshold=tests[1].threshold)
    assert (
        "order from strict to lax"
        in verify(edited(certificate, tests=(first, *tests[1:]))).problems[0]
    )


def test_a_threshold_left_out_is_seen(certificate):
    """Leaving out failures would hide what was tried; the levels then no longer follow."""
    start = next(i for i, test in enumerate(certificate.tests) if test.weight > 0 and test.passed)
    tests = certificate.tests[:start] + certificate.tests[start + 1 :]
    found = verify(
        edited(certificate, tests=tests, chosen=certificate.chosen - (start < certificate.chosen))
    )
    assert not found.holds


def test_a_laxer_threshold_that_failed_cannot_be_chosen(certificate):
    at = next(i for i in range(certificate.chosen + 1, len(certificate.tests)))
    test = certificate.tests[at]
    assert not test.passed
    forged = edited(
        certificate,
        chosen=at,
        threshold=test.threshold,
        calibration=msgspec.structs.replace(
            certificate.calibration, answered=test.answered, disagreements=test.disagreements
        ),
        observed=test.loss / test.answered,
        coverage=test.answered_with_repeats / certificate.calibration_window.exchanges,
        repeat_disagreement=test.loss_with_repeats / test.answered_with_repeats,
        slices=(),
    )
    assert "its threshold did not pass the gate" in verify(forged).problems


def test_delta_is_the_share_of_the_attempt(certificate):
    for attempt in (1, 3):
        forged = edited(certificate, attempt=attempt)
        assert f"attempt {attempt} may spend" in verify(forged).problems[0]
    # More than its share, and less: neither is what the procedure does.
    for delta in (certificate.delta * 2, certificate.delta / 2):
        assert not verify(edited(certificate, delta=delta)).holds
    assert not verify(edited(certificate, delta_spent=spent(certificate.delta, 1))).holds


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"epsilon": 0.0}, "epsilon and delta"),
        ({"epsilon": math.nan}, "epsilon and delta"),
        ({"delta": 1.0}, "epsilon and delta"),
        ({"attempt": 0}, "attempt"),
        ({"chosen": -1}, "chosen threshold"),
        ({"chosen": 10_000}, "chosen threshold"),
        ({"tests": ()}, "chosen threshold"),
        ({"schema": 3}, "schema"),
        ({"share": 0.0}, "share of delta"),
        ({"design_effect": 0.5}, "design effect"),
        ({"design_effect": math.nan}, "design effect"),
        ({"populations": ()}, "new and repeated"),
        ({"populations": (Slice("new", 9, 9, 9), Slice("repeated", 1, 1, 1))}, "new and repeated"),
        ({"unfinished": Slice("unfinished", 9, 9, 8)}, "unfinished"),
        ({"answers": (ByAnswer("mill", 5, 5, 6),)}, "by answer"),
        ({"threshold": math.nan}, "threshold"),
        ({"bound": math.nan}, "bound"),
        ({"weighted_disagreement": 0.06}, "its weighted disagreement 0.06 is above epsilon 0.05"),
        ({"weighted_disagreement": math.nan}, "its weighted disagreement nan is above epsilon"),
        ({"repeat_disagreement": math.nan}, "repeat_disagreement"),
    ],
)
def test_what_cannot_be_is_named(certificate, fields, problem):
    found = verify(edited(certificate, **fields))
    assert not found.holds
    assert any(problem in text for text in found.problems)


@pytest.mark.parametrize(
    "field", ["answered", "disagreements", "threshold", "weight", "p_value", "level"]
)
def test_impossible_numbers_in_a_test_do_not_break_verify(certificate, field):
    for value in (-5, 10**9, math.nan, math.inf):
        integer = field in ("answered", "disagreements")
        if integer and not math.isfinite(value):
            continue
        test = msgspec.structs.replace(certificate.tests[certificate.chosen], **{field: value})
        tests = list(certificate.tests)
        tests[certificate.chosen] = test
        assert not verify(edited(certificate, tests=tuple(tests))).holds


def test_by_hand_with_scipy_alone(certificate):
    """The recipe of docs/certificates.md, on the JSON as it lies in the file."""
    recipe, anytime, betting = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    assert len(recipe.split("\n\n\n")[-1].splitlines()) <= 10
    space = {"certificate": json.loads(msgspec.json.encode(certificate)), "print": lambda *_: None}
    recipe = recipe.replace('json.load(open("certificate.json"))', "certificate")
    test = certificate.tests[certificate.chosen]
    if test.partial:
        assert certificate.design_effect == 1
        space["partials"] = {
            (t.disagreements, t.answered): t.partial for t in certificate.tests
        } | {
            (t.disagreements_with_repeats, t.answered_with_repeats): t.partial_with_repeats
            for t in certificate.tests
        }
        written_out = (
            "def test_of(k, n, e):\n"
            "    k, n = int(k), int(n)\n"
            "    part = partials[k, n]\n"
            "    some = [step / 1000 for step, count in part for _ in range(count)]\n"
            "    losses = some + [1] * (k - len(some)) + [0] * (n - k)\n"
            f"    one_look = {certificate.method == 'betting'}\n"
            '    return mean_at_least(losses, e, one_look, test.get("rate", 0))\n'
        )
        recipe = betting + written_out + recipe.replace("max(binomial(", "max(test_of(")
    elif test.weighed:
        written_out = (
            "def weighed(triples, effect, e):\n"
            "    weights, losses, counts = np.array(triples).T\n"
            "    times = counts.astype(int)\n"
            "    losses, weights = np.repeat(losses / 1000, times), np.repeat(weights, times)\n"
            '    return mean_at_least(losses, e, False, test["rate"], weights, effect)\n'
        )
        taken = '(test["disagreements" + s] / d, test["answered" + s] / d)'
        assert taken in recipe
        betting = betting.replace("weights=1", "weights=1, effect=1").replace(
            ".sum(0)", ".sum(0) / effect"
        )
        recipe = recipe.replace(taken, '(test["weighed" + s], d)')
        recipe = betting + written_out + recipe.replace("max(binomial(", "max(weighed(")
        recipe = recipe.replace("bound = max(", "bound = lambda: max(")
    elif certificate.method == "anytime":
        assert "rate" in space["certificate"]["tests"][certificate.chosen]
        taken = 'binomial(k, n, c["epsilon"])'
        assert taken in recipe
        recipe = anytime + recipe.replace(taken, 'anytime(k, n, c["epsilon"], test["rate"])')
    exec(recipe, space)
    assert space["passed"]
    assert space["level"] == pytest.approx(test.level)
    assert space["p_value"] == pytest.approx(test.p_value)
    if certificate.method == "binomial":
        assert space["bound"] == pytest.approx(certificate.bound)


@pytest.mark.parametrize("kind", [Certificate, Compared, Test, Evidence, Window, Slice, ByAnswer])
def test_every_field_is_in_the_documents(kind):
    text = DOCUMENT.read_text()
    assert [field for field in kind.__struct_fields__ if f"`{field}`" not in text] == []


@pytest.mark.parametrize("name", ["gate.md", "certificates.md"])
def test_the_documents_never_promise_more_than_the_gate(name):
    text = (DOCUMENT.parent / name).read_text().lower()
    assert "guarantee" not in text
    assert "formal" not in text.replace("information", "")

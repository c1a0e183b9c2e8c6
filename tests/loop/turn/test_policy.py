"""The policy in the loop: what is left out of training, what is not promoted, what is kept."""

import msgspec
import pytest

from made_up import tickets
from openwheel.errors import PolicyError
from openwheel.gate import verify
from openwheel.loop.offline.learn import learn
from openwheel.loop.settings import LoopSettings
from openwheel.loop.turn.lineage import lineage_of
from openwheel.loop.turn.turn import turn
from openwheel.settings import PolicySection, Settings, TeacherSection
from openwheel.store import Exchange
from openwheel.trust import Policy
from openwheel.wire import Answer

HUNYUAN = "tencent/Hunyuan-7B-Instruct"
HUNYUAN_LICENCE = "LicenseRef-Tencent-Hunyuan-Community"


def settings(**section):
    teachers = (TeacherSection(name="gpu", url="http://gpu"),)
    policy = Policy.of(Settings(policy=PolicySection(**section), teachers=teachers))
    return LoopSettings(rungs=("linear",), policy=policy)


def exchanges(n, *, seed, model):
    """Return traffic of one model, as the gateway stores it."""
    return [
        Exchange(
            id=f"{model}-{seed}-{i}",
            request=msgspec.json.encode({"messages": [{"role": "user", "content": row["input"]}]}),
            answer=Answer(row["output"]),
            source="teacher",
            model=model,
            teacher="gpu",
        )
        for i, row in enumerate(tickets(n, seed=seed))
    ]


def mixed(allowed, forbidden):
    """Return traffic of two models, in turns as far as both last."""
    one = exchanges(allowed, seed=1, model="qwen3:8b")
    other = exchanges(forbidden, seed=2, model=HUNYUAN)
    pairs = [both for pair in zip(one, other, strict=False) for both in pair]
    rest = min(allowed, forbidden)
    return [*pairs, *one[rest:], *other[rest:]]


def test_answers_that_may_not_teach_are_left_out_and_said(store, registry):
    store.append(mixed(1_000, 300))
    (finding,) = learn(store, settings(), source="made up").tasks
    assert finding.certified
    assert finding.n == 1_000
    assert any("5(b)" in warning and "left out" in warning for warning in finding.warnings)
    (certificate,) = registry.certificates()
    lineage = lineage_of(registry, finding.student)
    (taught,) = lineage.taught_by
    assert (taught.teacher, taught.model) == ("gpu", "qwen3:8b")
    assert (taught.checkpoint, taught.licences) == ("Qwen/Qwen3-8B", ("Apache-2.0",))
    assert taught.exchanges == lineage.training.exchanges == certificate.training.exchanges
    assert lineage.training.sha256 == certificate.training.sha256
    (left,) = lineage.left_out
    assert (left.model, left.exchanges) == (HUNYUAN, 300)
    assert lineage.base is None
    assert lineage.files == certificate.files
    assert [short.id for short in lineage.certificates] == [certificate.id]
    assert certificate.lineage == registry.candidate(finding.student).made_of().digest()
    assert certificate.licences == (
        f"teacher gpu qwen3:8b: Apache-2.0, {taught.exchanges:,} exchanges",
    )
    assert verify(certificate).holds


def test_with_a_written_permission_they_teach_and_the_lineage_shows_it(store, registry):
    store.append(exchanges(1_000, seed=1, model=HUNYUAN))
    (finding,) = learn(
        store, settings(overrides={HUNYUAN_LICENCE: "contract 123"}), source="made up"
    ).tasks
    assert finding.certified
    lineage = lineage_of(registry, finding.student[:9])
    assert lineage.overrides == {HUNYUAN_LICENCE: "contract 123"}
    assert lineage.taught_by[0].licences == (HUNYUAN_LICENCE,)
    assert any(condition.about == "region" for condition in lineage.conditions)
    assert f"override {HUNYUAN_LICENCE}: contract 123" in registry.certificates()[0].licences


def test_a_task_whose_every_answer_is_left_out_stays_with_its_teacher(store, registry):
    store.append(exchanges(400, seed=1, model=HUNYUAN))
    done = turn(store, settings())
    assert {event.kind for event in done.events} == {"vetoed", "waiting"}
    (finding,) = learn(store, settings(), source="made up").tasks
    assert not finding.certified
    assert finding.n == 0
    assert registry.certificates() == []


def test_a_turn_leaves_out_and_says_so(store, registry):
    store.append(mixed(1_000, 300))
    done = turn(store, settings())
    (vetoed,) = (event for event in done.events if event.kind == "vetoed")
    assert HUNYUAN in vetoed.reason
    assert any(event.kind == "promoted" for event in done.events)
    (candidate, _, _) = registry.candidates()[0]
    assert {taught.model for taught in candidate.made_of().taught_by} == {"qwen3:8b"}


def test_a_student_is_not_promoted_once_the_policy_has_changed(store, registry):
    store.append(exchanges(1_000, seed=1, model=HUNYUAN))
    allowing = settings(overrides={HUNYUAN_LICENCE: "contract 123"})
    learn(store, allowing, source="made up")
    (certificate,) = registry.certificates()
    forbidding = settings()
    with pytest.raises(PolicyError, match=r"5\(b\)"):
        registry.promote(
            certificate, by="user", reason="by hand", audit=0.05, policy=forbidding.policy
        )
    assert registry.promotions()[certificate.task].by == "turn"

    done = turn(store, forbidding)
    assert any(event.kind == "demoted" and "5(b)" in event.reason for event in done.events)
    promotion = registry.promotions()[certificate.task]
    assert (promotion.certificate, promotion.by) == (None, "policy")
    registry.promote(certificate, by="user", reason="again", audit=0.05, policy=allowing.policy)
    assert registry.promotions()[certificate.task].certificate == certificate


def test_an_encoder_that_may_not_be_built_on_is_refused_before_it_is_loaded():
    policy = settings().policy
    with pytest.raises(PolicyError, match=r"Qwen2.5-3B-Instruct.*non-commercial"):
        LoopSettings(
            rungs=("encoder",), encoder="Qwen/Qwen2.5-3B-Instruct", policy=policy
        ).checked()


def test_students_from_before_there_were_lineages_are_known_as_such(store, registry, fill):
    fill(tickets(1_500))
    learn(store, LoopSettings(rungs=("linear",)), source="made up")
    candidate = registry.candidates()[0][0]
    old = msgspec.structs.replace(candidate, id="linear-old", lineage=None)
    registry.add_candidate(old)
    lineage = lineage_of(registry, "linear-old")
    assert not lineage.complete
    assert Policy().may_promote(lineage).allowed
    assert not settings(unknown="refuse").policy.may_promote(lineage).allowed

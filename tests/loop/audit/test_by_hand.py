import pytest

from openwheel.errors import SettingError
from openwheel.loop.audit.records import write_step
from openwheel.loop.audit.state import Alarm, new_state
from openwheel.loop.audit.status import audit_status
from openwheel.loop.audit.step import audit
from openwheel.loop.by_hand import promote_by_hand
from openwheel.loop.settings import LoopSettings

SETTINGS = LoopSettings()


@pytest.fixture
def name(registry):
    return registry.tasks()[0].task.name


def off(store, registry, until):
    audit(store, registry, SETTINGS, until=until)
    (promotion,) = registry.promotions().values()
    return promotion


def test_who_was_never_taken_off_by_evidence_is_promoted_as_before(registry, name):
    (before,) = registry.promotions().values()
    registry.demote(before.task_id, by="user", reason="by hand")
    assert promote_by_hand(registry, SETTINGS, name) == before.certificate
    (promotion,) = registry.promotions().values()
    assert (promotion.by, promotion.against_evidence) == ("user", False)
    assert registry.plans()[promotion.since].canary == 1


def test_who_an_alarm_took_off_comes_back_only_against_the_evidence(store, registry, audited, name):
    assert off(store, registry, audited("x" * 60)).certificate is None
    with pytest.raises(SettingError, match=r"by evidence .*audited answers") as said:
        promote_by_hand(registry, SETTINGS, name)
    assert "--against-evidence" in str(said.value)
    promote_by_hand(registry, SETTINGS, name, against_evidence=True)
    (promotion,) = registry.promotions().values()
    assert promotion.by == "override"
    assert "audited answers" in promotion.reason  # kept with the promotion
    assert registry.plans()[promotion.since].canary == SETTINGS.canary
    (status,) = audit_status(store)
    assert status.against_evidence
    assert status.audits == 0  # its monitors start over, and the alarm stays
    assert status.alarms


def test_nor_does_a_slice_come_back_by_taking_the_student_off_and_putting_it_on(
    store, registry, audited, name
):
    audited("." * 120)
    promotion = off(store, registry, audited("x" * 20, customer="acme"))
    assert registry.plans()[promotion.since].deferred == ("acme",)
    registry.demote(promotion.task_id, by="user", reason="by hand")
    with pytest.raises(SettingError, match="in slice 'acme'"):
        promote_by_hand(registry, SETTINGS, name)


def test_that_a_judge_has_no_budget_left_is_no_evidence(store, registry, name):
    (promotion,) = registry.promotions().values()
    student = promotion.certificate.student
    state = new_state(
        promotion=promotion.since,
        task=promotion.task_id,
        student=student,
        epsilon=0.05,
        delta=0.05,
        run_length=1e6,
        cursor=promotion.after_seq,
    )
    alarm = Alarm(student=student, by="judge", epsilon=0.05, seq=state.cursor)
    assert write_step(store, promotion, state, before=None, plan=None, alarms=[alarm])
    assert registry.promotions()[promotion.task_id].certificate is None
    promote_by_hand(registry, SETTINGS, name)
    assert registry.promotions()[promotion.task_id].by == "user"

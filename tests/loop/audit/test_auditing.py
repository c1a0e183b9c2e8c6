import threading

from openwheel.loop.learner.learner import auditing_in_background
from openwheel.loop.settings import LoopSettings


def test_an_alarm_is_heard_while_a_turn_goes_on(store, registry, audited):
    heard, said = threading.Event(), []

    def tell(events):
        said.extend(events)
        if events:
            heard.set()

    with auditing_in_background(
        store, LoopSettings(), tell=tell, after=store.last_seq(), every=0.02
    ):
        audited("x" * 12)
        assert heard.wait(30)
    assert "demoted" in [event.kind for event in said]
    (promotion,) = registry.promotions().values()
    assert promotion.certificate is None


def test_a_turn_that_decided_before_the_alarm_promotes_nobody(registry, store, audited):
    (certificate,) = registry.certificates()
    (before,) = registry.promotions().values()
    registry.demote(certificate.task, by="audit", reason="an alarm meanwhile")
    done = registry.promote(
        certificate, by="turn", reason="more", audit=0.05, expected_promotion=before.id
    )
    assert not done
    (promotion,) = registry.promotions().values()
    assert promotion.certificate is None
    assert registry.promote(
        certificate, by="turn", reason="again", audit=0.05, expected_promotion=promotion.id
    )

import msgspec
import pytest

from made_up import tickets
from openwheel.errors import SettingError
from openwheel.loop.settings import LoopSettings
from openwheel.loop.turn.turn import turn

SETTINGS = LoopSettings()


@pytest.fixture
def certificate(store, registry, fill):
    """Return a certificate that nobody has kept yet, of a student that a turn promoted."""
    fill(tickets(1_000))
    turn(store, SETTINGS)
    (kept,) = registry.certificates()
    return msgspec.structs.replace(kept, created="2001-01-01T00:00:00+00:00").sealed()


def promote(registry, certificate, **arguments):
    return registry.promote(certificate, by="turn", reason="", audit=0.2, **arguments)


def test_a_new_certificate_is_kept_with_the_promotion_or_not_at_all(registry, certificate):
    """Were it kept first, a turn killed just then would leave a student that none looks at."""
    seen = registry.promotions()[certificate.task].id
    registry.set_state(certificate.student, "shadow")
    assert not promote(registry, certificate, expected_promotion=seen - 1)
    assert certificate.id not in {one.id for one in registry.certificates()}
    assert [state for _, state, _ in registry.candidates()] == ["shadow"]
    assert promote(registry, certificate, expected_promotion=seen)
    assert registry.promotions()[certificate.task].certificate == certificate
    assert [state for _, state, _ in registry.candidates()] == ["certified"]
    assert promote(registry, certificate)  # again, with what was kept
    assert len(registry.certificates()) == 2


def test_a_certificate_that_does_not_hold_promotes_nobody(registry, certificate):
    altered = msgspec.structs.replace(certificate, threshold=0.0)
    before = registry.promotions()
    with pytest.raises(SettingError, match="was altered"):
        promote(registry, altered)
    assert registry.promotions() == before
    assert len(registry.certificates()) == 1

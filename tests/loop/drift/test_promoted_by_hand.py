import pytest

from openwheel.errors import SettingError
from openwheel.loop.by_hand import promote_by_hand
from openwheel.loop.settings import LoopSettings
from openwheel.loop.turn.turn import turn

from .conftest import Who

SETTINGS = LoopSettings()
NEXT = Who(model="big-2", fingerprint="fp_z")


def test_who_another_teacher_took_off_needs_a_new_certificate(store, registry, traffic):
    traffic(1_000)
    turn(store, SETTINGS)
    (first,) = registry.certificates()
    name = registry.tasks()[0].task.name
    traffic(5, NEXT)
    turn(store, SETTINGS, after=1_000)
    with pytest.raises(SettingError, match="another model"):
        promote_by_hand(registry, SETTINGS, name)
    promote_by_hand(registry, SETTINGS, name, against_evidence=True)
    assert registry.promotions()[first.task].against_evidence
    traffic(250, NEXT)
    turn(store, SETTINGS, after=1_005)
    promotion = registry.promotions()[first.task]
    assert promotion.certificate != first  # it was certified again meanwhile
    assert not promotion.against_evidence
    registry.demote(first.task, by="user", reason="by hand")
    assert promote_by_hand(registry, SETTINGS, name) == promotion.certificate

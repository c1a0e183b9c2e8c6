"""A gateway for tests, whose settings are named without their tables."""

from openwheel.gateway import create_app
from openwheel.settings import (
    CaptureSection,
    GatewaySection,
    Settings,
    TaskSection,
    TeacherSection,
)


def make_app(teacher, serving, capture=None, *, best_effort=None, prices=None, **given):
    """Return a gateway; what is named like a setting of ``[gateway]`` or ``[capture]`` is one.

    Args:
        best_effort: Whether students may give their best, by task; ``*`` stands for all others.
        prices: What a million tokens cost, read and written, by the teacher's name.
    """
    wanted = dict(best_effort or {})
    gateway = {name: given.pop(name) for name in GatewaySection.__struct_fields__ if name in given}
    captured = {name: given.pop(name) for name in CaptureSection.__struct_fields__ if name in given}
    settings = Settings(
        gateway=GatewaySection(best_effort=wanted.pop("*", False), **gateway),
        capture=CaptureSection(**captured),
        tasks={name: TaskSection(best_effort=may) for name, may in wanted.items()},
        teachers=tuple(
            TeacherSection(url="http://unused", name=name, price_input=read, price_output=written)
            for name, (read, written) in (prices or {}).items()
        ),
    )
    return create_app(teacher, serving, capture, settings=settings, **given)

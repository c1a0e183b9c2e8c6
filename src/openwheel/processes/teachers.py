"""Makes the teachers that the settings name."""

import functools
from collections.abc import Callable, Sequence

from openwheel.errors import SettingError
from openwheel.importing import LogProblems, read_log
from openwheel.loop.drift.self_disagreement import ConnectAgain
from openwheel.loop.judging import Connect
from openwheel.settings import REPLAY, Settings, TeacherSection, teacher_names
from openwheel.teachers import (
    ChatDecisions,
    HttpTeacher,
    Member,
    NoTeacher,
    RecordedTeacher,
    Teacher,
    TeacherPool,
    asking,
    asking_again,
)
from openwheel.trust import Policy


def make_pool(
    sections: Sequence[TeacherSection], *, keep_credentials: bool, policy: Policy | None = None
) -> TeacherPool | NoTeacher:
    """Return the teachers as one, which answers nothing if there are none.

    Args:
        sections: The settings of each.
        keep_credentials: Whether a teacher without a key gets those that clients send.
        policy: May forbid teachers, and models of them; by default what licences alone forbid.

    Raises:
        PolicyError: A teacher may not be asked.
        SettingError: A setting of one is not valid.
        LogError: A recording cannot be read.
    """
    if not sections:
        return NoTeacher()
    names = teacher_names(sections)
    policy = policy or Policy(teachers=dict(zip(names, sections, strict=True)))
    for decision in policy.refused_teachers():
        decision.require()
    if policy.judges_models:
        policy.terms_of("", "any")  # reads the catalogue now, and not with the first request
    return TeacherPool(
        [
            Member(
                teacher=make_teacher(section, name, keep_credentials=keep_credentials),
                name=name,
                api=section.api,
                models=section.models,
                weight=section.weight,
                retries=section.retries,
                refuses=functools.partial(_refusal, policy, name) if policy.judges_models else None,
            )
            for section, name in zip(sections, names, strict=True)
        ]
    )


def _refusal(policy: Policy, teacher: str, model: str) -> str:
    decision = policy.may_send(teacher, model)
    return "" if decision.allowed else str(decision)


def make_teacher(section: TeacherSection, name: str, *, keep_credentials: bool) -> Teacher:
    """Return one teacher; see `make_pool`."""
    if section.url.startswith(REPLAY):
        problems = LogProblems()
        log = read_log(section.url.removeprefix(REPLAY), problems=problems)
        recorded = RecordedTeacher(log, pace=section.pace)
        problems.require_usable()
        return recorded
    if not section.url.startswith(("http://", "https://")):
        raise SettingError(
            "A teacher (--teacher, or url in [[teachers]]) must be a URL (http://... or "
            f"https://...), local:MODEL or replay:LOG, was {section.url!r}"
        )
    teacher = HttpTeacher(
        section.url,
        name=name,
        api=section.api,
        key_env=section.key_env or None,
        keep_credentials=keep_credentials,
        connect_timeout=section.connect_timeout,
        read_timeout=section.read_timeout,
    )
    if not section.decisions_from:
        return teacher
    if section.api != "openai":
        raise SettingError(
            f"The teacher {name!r} has decisions_from = {section.decisions_from!r}, which is for "
            f"the API openai; its api is {section.api!r}"
        )
    return ChatDecisions(teacher)


def connect_teachers(settings: Settings) -> Connect | None:
    """Return a connection to the teachers for a judge; None if none can be asked."""
    make = _reachable(settings)
    return None if make is None else functools.partial(asking, make)


def connect_again(settings: Settings) -> ConnectAgain | None:
    """Return a connection to ask teachers twice; None if none can be asked."""
    make = _reachable(settings)
    return None if make is None else functools.partial(asking_again, make)


def _reachable(settings: Settings) -> Callable[[], Teacher] | None:
    if not any(section.url.startswith(("http://", "https://")) for section in settings.teachers):
        return None
    policy = Policy.of(settings)
    return lambda: make_pool(settings.teachers, keep_credentials=False, policy=policy)

"""Making the teachers that the settings name."""

from collections.abc import Mapping, Sequence

from openwheel.endpoints import HttpTeacher, Member, RecordedTeacher, Teacher, TeacherPool
from openwheel.errors import SettingError
from openwheel.gateway import Price
from openwheel.settings import REPLAY, TeacherSection, teacher_names
from openwheel.traffic import LogProblems, read_log


def make_pool(sections: Sequence[TeacherSection], *, keep_credentials: bool) -> TeacherPool:
    """Return the teachers as one.

    Args:
        sections: The settings of each.
        keep_credentials: Whether a teacher without a key gets those that clients send.

    Raises:
        SettingError: There is none, or a setting of one is not what it must be.
        LogError: A recording cannot be read.
    """
    if not sections:
        raise SettingError(
            "There is no teacher: name one with --teacher URL, or with [[teachers]] in "
            "openwheel.toml"
        )
    names = teacher_names(sections)
    return TeacherPool(
        [
            Member(
                teacher=make_teacher(section, name, keep_credentials=keep_credentials),
                name=name,
                api=section.api,
                models=section.models,
                weight=section.weight,
                retries=section.retries,
            )
            for section, name in zip(sections, names, strict=True)
        ]
    )


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
            f"https://...) or replay:LOG, was {section.url!r}"
        )
    return HttpTeacher(
        section.url,
        name=name,
        api=section.api,
        key_env=section.key_env or None,
        keep_credentials=keep_credentials,
        connect_timeout=section.connect_timeout,
        read_timeout=section.read_timeout,
    )


def prices(sections: Sequence[TeacherSection]) -> Mapping[str, Price]:
    """Return what each teacher's tokens cost, by its name."""
    return {
        name: Price(section.price_input, section.price_output)
        for section, name in zip(sections, teacher_names(sections), strict=True)
    }

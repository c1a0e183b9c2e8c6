"""Tests a configuration before anything depends on it: ``openwheel check``."""

import asyncio
import os
import shutil
import socket
from collections.abc import Callable, Collection, Iterable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
import typer

from openwheel.cli import options
from openwheel.cli.output import out, print_json
from openwheel.errors import CatalogError, OpenwheelError, PolicyError, SettingError
from openwheel.settings import LOCAL, Settings, TeacherSection, teacher_names
from openwheel.settings.place import is_url, may_exist, shown_place

if TYPE_CHECKING:
    from openwheel.trust import Decision

State = Literal["ok", "warning", "failed"]
_LITTLE_ROOM = 1 << 30


class Finding(msgspec.Struct, frozen=True):
    """What was checked, how it stands, and what was seen."""

    what: str
    state: State
    said: str


def check(
    config: options.Config = None,
    teacher: Annotated[
        str, typer.Option(help="Check this teacher's URL instead of the settings file's.")
    ] = "",
    teacher_key_env: Annotated[str, options.setting("teachers[].key_env")] = "",
    json: options.Json = False,
) -> None:
    """Check the settings, the store, the address and every teacher; exit code 1 if one fails.

    Teachers are asked for their list of models, with their key, and for nothing else.
    """
    findings = list(_findings(config, teacher, teacher_key_env))
    if json:
        print_json({"findings": findings})
    else:
        for finding in findings:
            out.print(f"{finding.state:8} {finding.what}: {finding.said}")
    if any(finding.state == "failed" for finding in findings):
        raise typer.Exit(1)


def _findings(config: Path | None, teacher: str, key_env: str) -> Iterator[Finding]:
    try:
        settings = options.settings_from(config)
        from openwheel.loop.settings import LoopSettings
        from openwheel.trust import Policy

        policy = Policy.of(settings)
        LoopSettings.of(settings)
    except (CatalogError, PolicyError, SettingError) as error:
        yield Finding("settings", "failed", str(error))
        return
    file = config or (options.CONFIG if options.CONFIG.exists() else None)
    yield Finding("settings", "ok", str(file) if file else "no settings file, all defaults")
    if teacher:
        settings = msgspec.structs.replace(
            settings, teachers=(TeacherSection(url=teacher, key_env=key_env),)
        )
        policy = Policy.of(settings)
    yield from _store(settings)
    yield _address(settings)
    if settings.loop.encoder:
        yield _encoder(settings.loop.encoder)
    if settings.telemetry.endpoint:
        yield _attempt("telemetry", lambda: _telemetry(settings))
    yield from _policy([*policy.on_teachers(), *policy.on_bases(settings)])
    refused = {name for name in policy.teachers if not policy.may_send(name).allowed}
    yield from asyncio.run(_teachers(settings, refused))


def _store(settings: Settings) -> Iterator[Finding]:
    from openwheel.access import KeyStore
    from openwheel.loop.registry import Registry
    from openwheel.loop.settings import of_no_task
    from openwheel.sockets import is_loopback
    from openwheel.store import Store

    place = settings.store.path
    path = shown_place(place)
    folder = None if is_url(place) else Path(place).absolute().parent
    if folder is not None and not may_exist(place):
        able = folder.is_dir() and os.access(folder, os.W_OK)
        message = "will be made" if able else f"cannot be made: {folder} is no folder to write in"
        yield Finding(f"store {path}", "ok" if able else "failed", message)
    else:
        try:
            with Store.open(place, create=False, busy_seconds=2.0) as store:
                with store.write():
                    pass
                count = store.count()
                names = {record.task.name for record in Registry(store).tasks()}
        except OpenwheelError as error:
            yield Finding(f"store {path}", "failed", str(error))
        else:
            yield Finding(f"store {path}", "ok", f"{count:,} exchanges, writable")
            yield from _turns(place)
            for message in of_no_task(settings.tasks, names) if names else ():
                yield Finding("tasks", "warning", message)
    if folder is not None and folder.is_dir():
        free = shutil.disk_usage(folder).free
        little = free < _LITTLE_ROOM
        yield Finding("disk", "warning" if little else "ok", f"{free / (1 << 30):.1f} GiB free")
    in_force = settings.access.require_keys
    if in_force is None and may_exist(place):
        try:
            with Store.open(place, create=False, busy_seconds=2.0) as store:
                in_force = bool(KeyStore(store).list())
        except OpenwheelError:
            in_force = False  # said above
    try:
        public = not is_loopback(settings.gateway.host)
    except SettingError:
        return  # the address is checked next
    if in_force:
        yield Finding("keys", "ok", "requests need a key")
    elif public and settings.access.require_keys is None:
        yield Finding(
            "keys",
            "failed",
            f"{settings.gateway.host} can be reached from other machines, and requests need no "
            "key: make one with `openwheel keys create NAME`",
        )
    else:
        state: State = "warning" if public else "ok"
        yield Finding("keys", state, "requests need no key")


def _turns(place: str) -> Iterator[Finding]:
    """Yield what turns failed at and wait for."""
    from openwheel.loop.registry import Registry
    from openwheel.loop.turn import failures
    from openwheel.store import Store

    with Store.open(place, create=False, busy_seconds=2.0) as store:
        names = {record.task.id: record.task.name for record in Registry(store).tasks()}
        for task, wait in failures.waits(failures.read(store), store.clock()).items():
            subject = "turns" if task is None else f"turns of {names.get(task, task)}"
            yield Finding(subject, "warning", wait.message)


def _address(settings: Settings) -> Finding:
    from openwheel.sockets import listen, url_of

    gateway = settings.gateway

    def bind() -> str:
        with listen(gateway.host, gateway.port) as sock:
            return f"{url_of(sock)} can be listened on"

    return _attempt("address", bind)


def _encoder(encoder: str) -> Finding:
    folder = Path(encoder)
    if folder.is_dir():
        lacks = [
            name for name in ("config.json", "model.safetensors") if not (folder / name).exists()
        ]
        if lacks:
            return Finding("encoder", "failed", f"{encoder} has no {' and no '.join(lacks)}")
        return Finding("encoder", "ok", f"{encoder} is a folder with a model")
    if encoder.startswith((".", "/")) or encoder.count("/") > 1:
        return Finding("encoder", "failed", f"{encoder} is no folder")
    return Finding("encoder", "warning", f"{encoder} is taken for a hub id, and was not fetched")


def _telemetry(settings: Settings) -> str:
    from urllib.parse import urlsplit

    from openwheel.gateway.tracing import make_tracer

    telemetry = settings.telemetry
    tracer = make_tracer(telemetry)
    if tracer is not None:
        tracer.close(0.1)
    parts = urlsplit(telemetry.endpoint)
    address = (parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80))
    try:
        with socket.create_connection(address, timeout=3.0):
            return f"{telemetry.endpoint} accepts connections"
    except OSError as error:
        raise SettingError(f"{telemetry.endpoint} cannot be reached: {error}") from None


def _policy(decisions: "Iterable[Decision]") -> Iterator[Finding]:
    """Yield what the policy has against each teacher and base, and what it warns of."""
    for decision in decisions:
        if not decision.allowed:
            yield Finding("policy", "failed", str(decision))
        elif decision.warnings:
            yield Finding("policy", "warning", f"{decision}, but: {'; '.join(decision.warnings)}")


async def _teachers(settings: Settings, refused: Collection[str]) -> list[Finding]:
    if not settings.teachers:
        message = (
            "there is none: use --teacher URL or [[teachers]] in the file; without one, only "
            "promoted students answer"
        )
        return [Finding("teachers", "failed", message)]
    try:
        names = teacher_names(settings.teachers)
    except SettingError as error:
        return [Finding("teachers", "failed", str(error))]
    # One that the policy refuses is sent nothing, not even a question for its models.
    probes = [
        _teacher(section, name)
        for section, name in zip(settings.teachers, names, strict=True)
        if name not in refused
    ]
    return list(await asyncio.gather(*probes))


async def _teacher(section: TeacherSection, name: str) -> Finding:
    from openwheel.processes.teachers import make_teacher
    from openwheel.teachers import ChatDecisions, HttpTeacher, RecordedTeacher

    subject = f"teacher {name}"
    if section.url.startswith(LOCAL):
        return _local(section, subject)
    offered: list[str] = []
    try:
        teacher = make_teacher(section, name, keep_credentials=False)
        try:
            if isinstance(teacher, ChatDecisions):
                teacher = teacher.teacher
            if isinstance(teacher, HttpTeacher):
                offered = await teacher.models()
            elif isinstance(teacher, RecordedTeacher):
                offered = list(teacher.models)
        finally:
            await teacher.close()
    except OpenwheelError as error:
        return Finding(subject, "failed", str(error))
    missing = [
        pattern
        for pattern in section.models
        if not any(fnmatchcase(model, pattern) for model in offered)
    ]
    if missing:
        return Finding(subject, "warning", f"does not list {', '.join(missing)}")
    shown = ", ".join(offered[:5]) + (", ..." if len(offered) > 5 else "")
    return Finding(
        subject, "ok", f"{len(offered)} models: {shown}" if offered else "it lists no models"
    )


def _local(section: TeacherSection, subject: str) -> Finding:
    from openwheel.inference.checkpoint import find_checkpoint
    from openwheel.processes.local import local_model

    model = local_model(section)
    if not Path(model.source).is_dir():
        return Finding(
            subject, "warning", f"{model.source} is taken for a hub id, and was not fetched"
        )
    return _attempt(
        subject,
        lambda: (
            f"{model.source} is a folder with a model of type "
            f"{find_checkpoint(model.source, revision=model.revision).model_type}"
        ),
    )


def _attempt(subject: str, work: Callable[[], str]) -> Finding:
    try:
        return Finding(subject, "ok", work())
    except OpenwheelError as error:
        return Finding(subject, "failed", str(error))

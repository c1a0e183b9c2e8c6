"""Teachers that are models run on this machine: each an engine with a socket of its own."""

import os
import socket
from collections.abc import Mapping
from pathlib import Path

import msgspec

from openwheel.processes.child import Child
from openwheel.processes.order import LocalModel, Order
from openwheel.settings import LOCAL, Settings, TeacherSection
from openwheel.sockets import listen, url_of

_ENGINE = "openwheel.processes.engine"


class LocalTeacher(msgspec.Struct, frozen=True, eq=False):
    """An engine for a local teacher.

    Attributes:
        url: The teacher's, as the settings have it.
        sock: What it listens on, for as long as the supervisor lives.
        child: Its process.
        order: What it was told.
    """

    url: str
    sock: socket.socket
    child: Child
    order: Order


def local_model(section: TeacherSection) -> LocalModel:
    """Return the model that a local teacher is.

    ``local:FOLDER`` is served by the folder's name, ``local:ID@COMMIT`` by the id, unless the
    section lists the one model that clients ask for.
    """
    source, _, revision = section.url.removeprefix(LOCAL).partition("@")
    if Path(source).expanduser().is_dir():
        # Processes of their own need not have this folder as theirs.
        source = str(Path(source).expanduser().absolute())
    exact = [name for name in section.models if "*" not in name]
    usual = Path(source).name if Path(source).is_absolute() else source
    return LocalModel(source, revision, exact[0] if exact else usual)


def make_local(section: TeacherSection, settings: Settings, runtime: Path) -> LocalTeacher:
    """Return an engine for a local teacher, not started yet.

    Raises:
        SettingError: No socket can be listened on.
    """
    sock = listen("127.0.0.1", 0)
    order = Order(
        settings=settings,
        runtime=str(runtime),
        descriptor=sock.fileno(),
        local=local_model(section),
    )
    threads = settings.engine.threads or os.cpu_count() or 1
    child = Child(_ENGINE, order, f"The engine of {section.url}", threads=threads)
    return LocalTeacher(section.url, sock, child, order)


def is_same(teacher: LocalTeacher, section: TeacherSection, settings: Settings) -> bool:
    """Return whether an engine is what a section asks for, so that it may go on."""
    return (
        teacher.order.local == local_model(section)
        and teacher.order.settings.engine == settings.engine
    )


def with_local(settings: Settings, locals_: Mapping[str, LocalTeacher]) -> Settings:
    """Return the settings with the addresses of local teachers in place of their models."""
    return msgspec.structs.replace(
        settings,
        teachers=tuple(_addressed(section, locals_) for section in settings.teachers),
    )


def _addressed(section: TeacherSection, locals_: Mapping[str, LocalTeacher]) -> TeacherSection:
    local = locals_.get(section.url)
    if local is None:
        return section
    model = local_model(section)
    is_folder = Path(model.source).is_absolute()
    return msgspec.structs.replace(
        section,
        url=f"{url_of(local.sock)}/v1",
        name=section.name or model.name,
        checkpoint=section.checkpoint or ("" if is_folder else model.source),
    )

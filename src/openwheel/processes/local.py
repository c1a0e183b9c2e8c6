"""Runs teachers and students' bases on this machine, each by an engine with its own socket."""

import socket
from collections.abc import Mapping
from pathlib import Path

import msgspec

from openwheel.processes.child import Child
from openwheel.processes.order import LocalModel, Order
from openwheel.settings import LOCAL, LmSection, Settings, TeacherSection
from openwheel.sockets import listen, url_of

_ENGINE = "openwheel.processes.engine"

STUDENTS = "the base of students"
"""Stands for the base of the rung ``lm`` where teachers have their URL."""


class LocalEngine(msgspec.Struct, frozen=True, eq=False):
    """An engine for a local model.

    Attributes:
        model: The model it runs.
        sock: The socket it listens on, for as long as the supervisor lives.
        child: Its process.
        order: Its order.
    """

    model: LocalModel
    sock: socket.socket
    child: Child
    order: Order


def local_model(section: TeacherSection) -> LocalModel:
    """Return the model that a local teacher is.

    ``local:FOLDER`` is served by the folder's name, ``local:ID@COMMIT`` by the id, unless the
    section lists the one model that clients ask for.
    """
    source, _, revision = section.url.removeprefix(LOCAL).partition("@")
    source = _absolute(source)
    exact = [name for name in section.models if "*" not in name]
    usual = Path(source).name if Path(source).is_absolute() else source
    return LocalModel(source, revision, exact[0] if exact else usual)


def local_models(settings: Settings) -> dict[str, LocalModel]:
    """Return the models to run on this machine: by the URL of a teacher, or `STUDENTS`.

    A teacher that is also the base of students is run once.
    """
    models = {
        section.url: local_model(section)
        for section in settings.teachers
        if section.url.startswith(LOCAL)
    }
    base = _base(settings)
    if base is None:
        return models
    for url, model in models.items():
        if (model.source, model.revision) == (base.source, base.revision):
            models[url] = models[STUDENTS] = msgspec.structs.replace(
                model, adapters=True, teaches=True
            )
            return models
    models[STUDENTS] = base
    return models


def _base(settings: Settings) -> LocalModel | None:
    """Return the base of the rung ``lm``, if students have one and no server elsewhere has it."""
    lm: LmSection = settings.lm
    if not lm.base or lm.server or "lm" not in (settings.loop.rungs or ("lm",)):
        return None
    if lm.gguf:
        return LocalModel(str(Path(lm.gguf).expanduser().absolute()), "", lm.base, adapters=True)
    return LocalModel(_absolute(lm.base), lm.revision, lm.base, adapters=True)


def _absolute(source: str) -> str:
    """Return a folder's absolute path, since child processes may have another current folder."""
    folder = Path(source).expanduser()
    return str(folder.absolute()) if folder.exists() else source


def make_local(model: LocalModel, settings: Settings, runtime: Path) -> LocalEngine:
    """Return an engine for a local model, not started yet, with a socket on loopback."""
    sock = listen("127.0.0.1", 0)
    order = Order(settings=settings, runtime=str(runtime), descriptor=sock.fileno(), local=model)
    child = Child(_ENGINE, order, f"The engine of {model.source}")
    return LocalEngine(model, sock, child, order)


def is_same(engine: LocalEngine, model: LocalModel, settings: Settings) -> bool:
    """Return whether an engine fits these settings, so that it may go on."""
    return engine.model == model and engine.order.settings.engine == settings.engine


def with_local(settings: Settings, engines: Mapping[str, LocalEngine]) -> Settings:
    """Return the settings with the addresses of local engines in place of their models."""
    teachers = tuple(_addressed(section, engines) for section in settings.teachers)
    lm = settings.lm
    if STUDENTS in engines:
        url = url_of(engines[STUDENTS].sock)
        lm = msgspec.structs.replace(lm, server=url, server_api="llama.cpp")
    return msgspec.structs.replace(settings, teachers=teachers, lm=lm)


def _addressed(section: TeacherSection, engines: Mapping[str, LocalEngine]) -> TeacherSection:
    engine = engines.get(section.url)
    if engine is None:
        return section
    model = engine.model
    is_folder = Path(model.source).is_absolute()
    return msgspec.structs.replace(
        section,
        url=f"{url_of(engine.sock)}/v1",
        name=section.name or model.name,
        checkpoint=section.checkpoint or ("" if is_folder else model.source),
    )

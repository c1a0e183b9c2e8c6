"""Runs the gateway, learners, and turns of the loop."""

import contextlib
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from openwheel.cli import options
from openwheel.cli.output import out, print_json, warn
from openwheel.cli.progress import shown, stopping
from openwheel.errors import SettingError
from openwheel.settings import LOCAL, REPLAY, Settings, TeacherSection, override
from openwheel.settings.place import may_exist, shown_place

StorePath = Annotated[str, options.setting("store.path", "--db")]
LogLevel = Annotated[str, options.setting("log.level", metavar="debug|info|warning|error")]
LogFormat = Annotated[str, options.setting("log.format", metavar="text|json")]


@options.grouped
def up(
    config: options.Config = None,
    teacher: Annotated[
        str,
        typer.Option(
            help="Base URL of an OpenAI-compatible endpoint, local:MODEL for a model run on this "
            "machine, or replay:LOG for recorded answers; instead of the [[teachers]] of the "
            "settings file."
        ),
    ] = "",
    teacher_key_env: Annotated[str, options.setting("teachers[].key_env")] = "",
    pace: Annotated[float, options.setting("teachers[].pace")] = 0.0,
    host: Annotated[str, options.setting("gateway.host")] = "",
    port: Annotated[int | None, options.setting("gateway.port")] = None,
    workers: Annotated[int | None, options.setting("gateway.workers")] = None,
    capture: Annotated[str, options.setting("capture.mode", metavar="fast|strict|off")] = "",
    turns: Annotated[bool | None, options.setting("loop.turns", "--turns/--no-turns")] = None,
    learner: Annotated[
        bool | None, options.setting("gateway.learner", "--learner/--no-learner")
    ] = None,
    console: Annotated[
        bool | None, options.setting("console.enabled", "--console/--no-console")
    ] = None,
    db: StorePath = "",
    log_level: LogLevel = "",
    log_format: LogFormat = "",
    *,
    loop: options.LoopOptions,
) -> None:
    """Run the gateway: point a client's base URL at it.

    Certified students answer what they are confident of, a teacher the rest. Every exchange is
    stored, and a learner process beside the gateway takes turns of the loop as traffic grows.
    SIGHUP reads the settings file again, without dropping a connection.
    """
    changes = {
        "gateway.host": host or None,
        "gateway.port": port,
        "gateway.workers": workers,
        "capture.mode": capture or None,
        "loop.turns": turns,
        "gateway.learner": learner,
        "console.enabled": console,
        "store.path": db or None,
        "log.level": log_level or None,
        "log.format": log_format or None,
        **loop.changes(),
    }

    def read() -> Settings:
        named = TeacherSection(url=teacher, key_env=teacher_key_env, pace=pace) if teacher else None
        return gateway_settings(config, changes, named)

    settings = read()
    from openwheel.logs import set_up_logs
    from openwheel.processes import supervise
    from openwheel.sockets import listen, url_of

    set_up_logs(settings.log.level, settings.log.format)
    with listen(settings.gateway.host, settings.gateway.port) as sock:
        url = url_of(sock)

        def ready() -> None:
            out.print(f"Openwheel listens on {url}/v1")

        file = (config or options.CONFIG).absolute()
        code = supervise(settings, sock, ready=ready, reload=read, config=file)
    if code:
        raise typer.Exit(code)


def gateway_settings(
    config: Path | None, changes: dict[str, Any], teacher: TeacherSection | None
) -> Settings:
    """Return the settings of a gateway: the file's, changed by the command line's.

    Raises:
        SettingError: One is not what it must be, or nobody could answer.
        PolicyError: The policy forbids a teacher, the encoder or the base.
    """
    settings = override(options.settings_from(config), changes)
    if teacher is not None:
        if not teacher.url.startswith(("http://", "https://", LOCAL, REPLAY)):
            raise SettingError(
                "--teacher must be a URL (http://... or https://...), local:MODEL or replay:LOG, "
                f"was {teacher.url!r}"
            )
        settings = msgspec.structs.replace(settings, teachers=(teacher,))
    if not settings.teachers:
        _require_students(settings)
    _check_policy(settings)
    return settings


def _require_students(settings: Settings) -> None:
    """Say which tasks students answer alone.

    Raises:
        SettingError: There is no teacher, and no student is promoted.
    """
    from openwheel.loop.registry import Registry
    from openwheel.store import Store

    place, tasks = settings.store.path, list[str]()
    if may_exist(place):
        with Store.open(place) as store:
            registry = Registry(store)
            names = {record.task.id: record.task.name for record in registry.tasks()}
            promoted = registry.promotions()
        tasks = [names[task] for task, one in promoted.items() if one.certificate is not None]
    if not tasks:
        raise SettingError(
            "There is no teacher: name one with --teacher URL, or with [[teachers]] in "
            f"openwheel.toml. Nor is any student promoted in {shown_place(place)}, which could "
            "answer without one"
        )
    warn(
        f"There is no teacher. Certified students answer, of {', '.join(sorted(tasks))}; other "
        "requests are refused. Nothing is audited, so no change of the traffic is noticed."
    )


def _check_policy(settings: Settings) -> None:
    """Refuse to start with a teacher, an encoder or a base that the policy forbids.

    Raises:
        PolicyError: The message names the clause.
    """
    from openwheel.trust import Policy

    policy = Policy.of(settings)
    for decision in policy.refused_teachers():
        decision.require()
    if settings.loop.turns:
        options.check_bases(policy, settings)


@options.grouped
def learner(
    config: options.Config = None,
    db: StorePath = "",
    log_level: LogLevel = "",
    log_format: LogFormat = "",
    *,
    loop: options.LoopOptions,
) -> None:
    """Learn from what gateways store that run with --no-learner, on this machine or others.

    It audits promoted students, takes turns of the loop as traffic grows, and keeps the store
    within its limits. SIGTERM ends it at any moment; new settings take a restart.
    """
    changes = {
        "store.path": db or None,
        "log.level": log_level or None,
        "log.format": log_format or None,
        **loop.changes(),
    }
    settings = override(options.settings_from(config), changes)
    _check_policy(settings)
    from openwheel.processes.learner import learn_alone

    learn_alone(settings)


@options.grouped
def turn(
    db: options.Database = options.DEFAULT_DATABASE,
    json: options.Json = False,
    *,
    loop: options.LoopOptions,
) -> None:
    """Take one turn of the loop on the stored traffic: curate, train, judge, promote."""
    settings = loop.settings().beside_gateway()
    from openwheel.loop.turn.limits import Limits, apply_limits

    configured = options.settings_from(None)
    for problem in apply_limits(Limits.of(configured)):
        warn(problem)
    from openwheel.loop.resources import open_resources
    from openwheel.loop.turn.turn import turn as run
    from openwheel.store import Store

    with (
        stopping(
            lambda: (
                f"{shown_place(db)} keeps its traffic, and what was certified. The next turn "
                "goes on."
            )
        ),
        shown() as progress,
        Store.open(db, create=False, objects=configured.store.objects) as store,
        options.learning(store) as leases,
        _stopped_as_by_hand(),
        open_resources(settings, options.connect(), options.connect_again()) as resources,
    ):
        done = run(store, settings, leases=leases, resources=resources, progress=progress)
    if json:
        print_json({"looked_at": done.looked_at, "events": done.events})
    else:
        for event in done.events:
            out.print(f"{event.task}: {event.kind}. {event.reason}")


@contextlib.contextmanager
def _stopped_as_by_hand() -> Iterator[None]:
    """Have SIGTERM do what control-C does, so that a turn that is stopped is none that died."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)

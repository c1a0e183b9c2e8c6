"""Commands that run: the gateway, and turns of the loop."""

import logging
import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Annotated

import typer

from openwheel.cli import options
from openwheel.cli.output import note, out, print_json, warn
from openwheel.errors import SettingError

if TYPE_CHECKING:
    from openwheel.endpoints import Teacher
    from openwheel.loop.registry import Event

RESTART_AFTER = 5.0
"""Seconds before a learner that ended is started again, so that a broken one does not spin."""


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(up)
    app.command()(turn)


def up(
    teacher: Annotated[
        str,
        typer.Option(
            help="Base URL of an OpenAI-compatible endpoint, or replay:LOG for recorded answers."
        ),
    ],
    teacher_key_env: Annotated[
        str, typer.Option(help="Environment variable that holds the teacher's key.")
    ] = "",
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes any free one.")] = 8000,
    public: Annotated[
        bool,
        typer.Option("--public", help="Allow an address that other machines reach. No keys yet."),
    ] = False,
    turns: Annotated[
        bool, typer.Option("--turns/--no-turns", help="Whether to learn as traffic grows.")
    ] = True,
    pace: Annotated[
        float, typer.Option(help="With replay: wait this share of the recorded latency.")
    ] = 0.0,
    epsilon: options.Epsilon = 0.05,
    delta: options.Delta = 0.05,
    rungs: options.Rungs = "",
    encoder: options.Encoder = "",
    audit: options.Audit = 0.05,
    db: options.Database = options.DEFAULT_DATABASE,
) -> None:
    """Run the gateway: point an OpenAI client's base URL at it.

    Certified students answer what they are confident of, the teacher the rest. Every exchange is
    stored, and a learner process beside the gateway takes turns of the loop as traffic grows.
    """
    options.loop_settings(epsilon=epsilon, delta=delta, rungs=rungs, encoder=encoder, audit=audit)
    from openwheel.gateway import CaptureWriter, create_app, run_gateway
    from openwheel.loop.registry import Registry
    from openwheel.loop.serving import RegistryServing
    from openwheel.traffic import Store

    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    endpoint = _teacher(teacher, teacher_key_env, pace)
    # fmt: off
    learner = [
        sys.executable, "-m", "openwheel", "turn", "--watch", "--db", str(db),
        "--epsilon", str(epsilon), "--delta", str(delta), "--audit", str(audit),
        "--rungs", rungs, "--encoder", encoder,
    ]
    # fmt: on
    with Store.open(db) as store:
        serving = RegistryServing(Registry(store))
        capture = CaptureWriter(store)
        app = create_app(endpoint, serving, capture, students=serving.students)
        stopping = threading.Event()
        watcher = threading.Thread(target=_keep_learner, args=(learner, stopping))
        if turns:
            watcher.start()

        def ready(bound_host: str, bound_port: int) -> None:
            shown = f"[{bound_host}]" if ":" in bound_host else bound_host
            out.print(f"Openwheel listens on http://{shown}:{bound_port}/v1", markup=False)

        try:
            run_gateway(app, host, port, allow_public=public, ready=ready)
        finally:
            stopping.set()
            if turns:
                watcher.join()
            capture.close()


def turn(
    watch: Annotated[
        bool, typer.Option("--watch", help="Go on: audit, and take a turn whenever one is due.")
    ] = False,
    epsilon: options.Epsilon = 0.05,
    delta: options.Delta = 0.05,
    rungs: options.Rungs = "",
    encoder: options.Encoder = "",
    audit: options.Audit = 0.05,
    db: options.Database = options.DEFAULT_DATABASE,
    json: options.Json = False,
) -> None:
    """Take one turn of the loop on the stored traffic: curate, train, judge, promote."""
    settings = options.loop_settings(
        epsilon=epsilon, delta=delta, rungs=rungs, encoder=encoder, audit=audit
    )
    from openwheel.loop.learner import run_learner
    from openwheel.loop.lock import learner_lock
    from openwheel.loop.turn import turn as run
    from openwheel.students.encoder import SentenceEncoder
    from openwheel.traffic import Store

    with Store.open(db, create=False) as store, learner_lock(db):
        loaded = SentenceEncoder(encoder) if "encoder" in settings.rungs else None
        if watch:
            # Students are trained on what is left of the processor; requests come first.
            os.nice(10)
            parent = os.getppid()
            # A learner whose gateway was killed must not go on by itself.
            run_learner(
                store,
                settings,
                tell=_tell,
                encoder=loaded,
                stop=lambda: os.getppid() != parent,
            )
            return
        done = run(store, settings, encoder=loaded, progress=note)
    if json:
        print_json({"looked_at": done.looked_at, "events": done.events})
    else:
        for event in done.events:
            out.print(f"{event.task}: {event.kind}. {event.reason}", markup=False)


def _tell(event: "Event") -> None:
    note(f"[turn] {event.task}: {event.kind}. {event.reason}")


def _teacher(where: str, key_env: str, pace: float) -> "Teacher":
    """Return the teacher that ``--teacher`` names."""
    from openwheel.endpoints import HttpTeacher, RecordedTeacher
    from openwheel.traffic import LogProblems, read_log

    if where.startswith("replay:"):
        problems = LogProblems()
        recorded = RecordedTeacher(
            read_log(where.removeprefix("replay:"), problems=problems), pace=pace
        )
        problems.require_usable()
        return recorded
    if not where.startswith(("http://", "https://")):
        raise SettingError(
            f"--teacher must be a URL (http://... or https://...) or replay:LOG, was {where!r}"
        )
    return HttpTeacher(where, key_env=key_env or None)


def _keep_learner(command: list[str], stopping: threading.Event) -> None:
    """Run the learner as a process of its own until told to stop; start it again if it ends."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    while not stopping.is_set():
        process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL)
        while process.poll() is None:
            if stopping.wait(0.2):
                process.terminate()
                process.wait()
                return
        warn(f"the learner ended with code {process.returncode}; it starts again soon")
        stopping.wait(RESTART_AFTER)

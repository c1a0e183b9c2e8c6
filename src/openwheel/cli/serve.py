"""The command that runs a model behind the OpenAI API."""

import contextlib
import os
import sys
import threading
from pathlib import Path
from typing import Annotated

import typer

from openwheel.cli import options
from openwheel.cli.output import note, out
from openwheel.errors import SettingError


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(serve)


def serve(
    model: Annotated[
        str, typer.Argument(help="A folder with a model, or its id on the Hugging Face hub.")
    ],
    adapter: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=FOLDER", help="An adapter to serve; may be given repeatedly."),
    ] = None,
    name: Annotated[str, typer.Option(help="What the model is served as; MODEL by default.")] = "",
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes any free one.")] = 8100,
    precision: Annotated[
        str, typer.Option(metavar="auto|float32|bfloat16|float16", help="What it computes in.")
    ] = "auto",
    device: Annotated[
        str, typer.Option(help="A torch device, or auto: an accelerator if there is one.")
    ] = "auto",
    revision: Annotated[
        str, typer.Option(help="The hub's commit, 40 hexadecimal digits, for a model of the hub.")
    ] = "",
    max_batch: Annotated[
        int, typer.Option(min=0, help="The most answers written at a time; 0 for 16.")
    ] = 0,
    context: Annotated[
        int,
        typer.Option(
            min=0,
            help="The most tokens of a prompt with its answer; 0 for what the model was made "
            "for, 8,192 at most.",
        ),
    ] = 0,
    reasoning: Annotated[
        str,
        typer.Option(
            metavar="auto|none|think|think_answer|mistral|harmony",
            help="The form in which the model thinks; auto reads it from its chat template.",
        ),
    ] = "auto",
    tools: Annotated[
        str,
        typer.Option(
            metavar="auto|none|tags|mistral|llama|harmony",
            help="The form in which it calls tools, likewise.",
        ),
    ] = "auto",
    allow_adapters: Annotated[
        bool,
        typer.Option(
            "--allow-adapters",
            help="Let clients of this machine load and unload adapters, as vLLM does.",
        ),
    ] = False,
    allow_public: Annotated[
        bool,
        typer.Option(
            "--allow-public", help="Listen on an address that other machines reach, without keys."
        ),
    ] = False,
    with_parent: Annotated[
        bool, typer.Option("--with-parent", help="End when standard input does.")
    ] = False,
    json: options.Json = False,
) -> None:
    """Run a small open-weight model on this machine behind the OpenAI API.

    Adapters are served under their own names, as the `model` of a request.
    """
    adapters = dict(_adapter(one) for one in adapter or [])
    from openwheel.sockets import is_loopback, listen, url_of

    loopback = is_loopback(host)
    if not loopback and not allow_public:
        raise SettingError(
            f"The host {host!r} can be reached from other machines, and this API has no keys; "
            "--allow-public says that this is meant so"
        )
    if allow_adapters and not loopback:
        raise SettingError("--allow-adapters needs a loopback address: clients name folders here")
    # Before torch is loaded: threads that spin while they wait starve the other processes.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")

    with contextlib.closing(listen(host, port)) as sock:
        from openwheel.engine.open import open_engine

        with open_engine(
            model,
            name=name,
            adapters=adapters,
            revision=revision,
            precision=precision,
            device=device,
            max_batch=max_batch,
            context=context,
            reasoning=reasoning,
            tools=tools,
        ) as engine:
            import msgspec

            from openwheel.engine.process import Ready
            from openwheel.engine.server import EngineServer

            url = url_of(sock)

            def ready() -> None:
                if json:
                    said = Ready(url, engine.models())
                    sys.stdout.write(msgspec.json.encode(said).decode() + "\n")
                    sys.stdout.flush()
                else:
                    out.print(f"{engine.name} answers on {url}/v1")

            server = EngineServer(engine, sock, adapters=allow_adapters, ready=ready)
            if with_parent:
                _when_alone(server)
            if not engine.abilities.batch:
                note("This model's answers are written one at a time: together, they may change")
            server.run()


def _adapter(given: str) -> tuple[str, Path]:
    name, equals, folder = given.partition("=")
    if not name or not equals or not folder:
        raise SettingError(f"--adapter must be NAME=FOLDER, was {given!r}")
    return name, Path(folder)


def _when_alone(server: object) -> None:
    from openwheel.engine.server import EngineServer

    assert isinstance(server, EngineServer)

    def wait() -> None:
        while os.read(0, 1 << 16):
            pass
        server.stop()

    threading.Thread(target=wait, name="openwheel-parent-watch", daemon=True).start()

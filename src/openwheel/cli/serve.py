"""Serves a small model on this machine, by llama.cpp."""

import contextlib
import sys
from pathlib import Path
from typing import Annotated, cast, get_args

import msgspec
import typer

from openwheel.cli import options
from openwheel.cli.output import out
from openwheel.errors import SettingError


def serve(
    model: Annotated[
        str,
        typer.Argument(
            help="A GGUF file, a folder with a model, or its id on the Hugging Face hub."
        ),
    ],
    adapter: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=FOLDER", help="An adapter to serve; may be given repeatedly."),
    ] = None,
    name: Annotated[str, typer.Option(help="What the model is served as; MODEL by default.")] = "",
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes any free one.")] = 8100,
    precision: Annotated[
        str,
        typer.Option(
            metavar="f32|bf16|f16|q8_0", help="In which the GGUF file of a folder is made."
        ),
    ] = "q8_0",
    revision: Annotated[
        str, typer.Option(help="The hub's commit, 40 hexadecimal digits, for a model of the hub.")
    ] = "",
    slots: Annotated[
        int, typer.Option(min=0, help="The most answers written at a time; 0 for 4.")
    ] = 0,
    context: Annotated[
        int,
        typer.Option(min=0, help="The most tokens of a prompt with its answer; 0 for 4,096."),
    ] = 0,
    threads: Annotated[
        int, typer.Option(min=0, help="Threads that compute; 0 for as many as there are cores.")
    ] = 0,
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
    json: options.Json = False,
) -> None:
    """Serve a small open-weight model on this machine behind the OpenAI API, by llama.cpp.

    Adapters are served under their own names, as the `model` of a request. A folder is written as
    a GGUF file first, once.
    """
    adapters = dict(_adapter(option) for option in adapter or [])
    from openwheel.settings import EngineSection, Precision
    from openwheel.sockets import is_loopback, listen, url_of

    loopback = is_loopback(host)
    if not loopback and not allow_public:
        raise SettingError(
            f"The host {host!r} can be reached from other machines, and this API has no keys; "
            "--allow-public says that this is meant so"
        )
    if allow_adapters and not loopback:
        raise SettingError("--allow-adapters needs a loopback address: clients name folders here")
    precisions = get_args(Precision)
    if precision not in precisions:
        raise SettingError(f"--precision must be one of {', '.join(precisions)}, was {precision!r}")
    section = EngineSection(
        precision=cast(Precision, precision),
        threads=threads,
        slots=slots or EngineSection().slots,
        context=context,
    )
    from openwheel.inference.local import make_front
    from openwheel.inference.server import FrontServer

    front = make_front(model, section, name=name, revision=revision)
    with contextlib.closing(listen(host, port)) as sock:
        url = url_of(sock)

        def ready() -> None:
            if json:
                message = {"url": url, "models": front.models()}
                sys.stdout.write(msgspec.json.encode(message).decode() + "\n")
                sys.stdout.flush()
            else:
                out.print(f"{front.name} answers on {url}/v1")

        server = FrontServer(front, sock, adapters=adapters, changes=allow_adapters, ready=ready)
        server.run()


def _adapter(option: str) -> tuple[str, Path]:
    name, equals, folder = option.partition("=")
    if not name or not equals or not folder:
        raise SettingError(f"--adapter must be NAME=FOLDER, was {option!r}")
    return name, Path(folder)

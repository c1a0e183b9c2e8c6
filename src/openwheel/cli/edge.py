"""Packs students for small machines, and runs them there."""

import os
from pathlib import Path
from typing import Annotated

import typer

from openwheel.cli import options
from openwheel.cli.output import iso, note, out, print_json
from openwheel.errors import SettingError
from openwheel.settings import override


def bundle(
    tasks: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[TASK...]", help="Tasks, by name or id; by default all with a student."
        ),
    ] = None,
    out_file: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="The bundle to write.")
    ] = None,
    key: Annotated[
        Path | None, typer.Option(help="The private key that signs it, from --new-key.")
    ] = None,
    new_key: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Make a pair of keys and do no more: FILE, and FILE.pub for the edges.",
        ),
    ] = None,
    unheard: Annotated[float | None, options.setting("edge.unheard")] = None,
    config: options.Config = None,
    db: options.Database = options.DEFAULT_DATABASE,
    json: options.Json = False,
) -> None:
    """Pack promoted students in one signed file, for `openwheel edge`."""
    from openwheel.edge import make_bundle, new_keys

    if new_key is not None:
        public = new_keys(new_key)
        if json:
            print_json({"private": str(new_key), "public": str(public)})
        else:
            note(f"{new_key} signs bundles: keep it to yourself. Edges get {public}.")
        return
    if out_file is None or key is None:
        raise SettingError("openwheel bundle needs --out FILE and --key FILE (or --new-key FILE)")
    settings = override(options.settings_from(config), {"edge.unheard": unheard})
    from openwheel.loop.registry import Registry
    from openwheel.store import Store
    from openwheel.trust import Policy

    with Store.open(db, create=False) as store:
        made = make_bundle(
            Registry(store),
            out_file,
            key,
            tasks=tasks or (),
            unheard=settings.edge.unheard,
            policy=Policy.of(settings),
        )
    shown = {
        "file": str(out_file),
        "sha256": made.sha256,
        "bytes": out_file.stat().st_size,
        "created": iso(made.contents.created),
        "tasks": made.names,
    }
    if json:
        print_json(shown)
    else:
        out.print(f"{out_file}: {', '.join(made.names)} ({shown['bytes']:,} bytes)")


@options.grouped
def edge(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="A bundle to begin with.")],
    config: options.Config = None,
    upstream: Annotated[str, options.setting("edge.upstream")] = "",
    public_key: Annotated[str, options.setting("edge.public_key")] = "",
    key_env: Annotated[str, options.setting("edge.key_env")] = "",
    spool: Annotated[str, options.setting("edge.spool")] = "",
    spool_bytes: Annotated[int | None, options.setting("edge.spool_bytes")] = None,
    poll: Annotated[float | None, options.setting("edge.poll")] = None,
    link_timeout: Annotated[float | None, options.setting("edge.link_timeout")] = None,
    unheard: Annotated[float | None, options.setting("edge.unheard")] = None,
    queue: Annotated[bool | None, options.setting("edge.queue", "--queue/--no-queue")] = None,
    host: Annotated[str, options.setting("gateway.host")] = "",
    port: Annotated[int | None, options.setting("gateway.port")] = None,
    log_level: Annotated[
        str, options.setting("log.level", metavar="debug|info|warning|error")
    ] = "",
    log_format: Annotated[str, options.setting("log.format", metavar="text|json")] = "",
) -> None:
    """Run certified students on a small machine; forward the rest to a gateway upstream.

    Goes on through an outage of the link: what is certified is answered, exchanges are kept and
    sent later.
    """
    changes = {
        "edge.upstream": upstream or None,
        "edge.public_key": public_key or None,
        "edge.key_env": key_env or None,
        "edge.spool": spool or None,
        "edge.spool_bytes": spool_bytes,
        "edge.poll": poll,
        "edge.link_timeout": link_timeout,
        "edge.unheard": unheard,
        "edge.queue": queue,
        "gateway.host": host or None,
        "gateway.port": port,
        "log.level": log_level or None,
        "log.format": log_format or None,
    }
    settings = override(options.settings_from(config), changes)
    if not os.environ.get(settings.edge.key_env):
        raise SettingError(
            f"The environment variable {settings.edge.key_env} must hold a key of the upstream "
            "gateway, made there by `openwheel keys create NAME --edge`"
        )
    from openwheel.edge import run_edge
    from openwheel.logs import set_up_logs

    set_up_logs(settings.log.level, settings.log.format)
    run_edge(bundle, settings, ready=lambda url: out.print(f"The edge listens on {url}/v1"))

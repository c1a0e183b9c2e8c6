"""Opens the console on a store without a gateway."""

from typing import Annotated

import typer

from openwheel.cli import options
from openwheel.cli.output import out
from openwheel.settings.place import shown_place


def console(
    db: options.Database = options.DEFAULT_DATABASE,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of this machine; 0 takes any free one.")
    ] = 8001,
) -> None:
    """Serve the console of a store on this machine, without a gateway: read only.

    `openwheel up` serves it at /console, where people can act as well.
    """
    from openwheel.access import KeyStore
    from openwheel.asgi_server import AsgiServer
    from openwheel.console import STOP_S, Console
    from openwheel.console.door import Door
    from openwheel.logs import set_up_logs
    from openwheel.loop.settings import LoopSettings
    from openwheel.sockets import listen, url_of
    from openwheel.store import Store

    settings = options.settings_from(None)
    set_up_logs(settings.log.level, settings.log.format)
    with Store.open(db, read_only=True) as store, listen("127.0.0.1", port) as sock:
        keys = KeyStore(store)
        in_force = settings.access.require_keys
        app = Console(
            store,
            Door(keys, lambda: bool(keys.list()) if in_force is None else in_force),
            LoopSettings.of(settings),
            hide_text=settings.console.hide_text,
        ).app()
        url = f"{url_of(sock)}/console"
        AsgiServer(
            app,
            sock,
            ready=lambda: out.print(f"The console of {shown_place(db)}: {url}"),
            stop_timeout=STOP_S,
        ).run()

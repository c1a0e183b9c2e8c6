"""The console: pages that show whether the promise is kept, and let a person act.

It reads the store in a process of its own, never on a gateway worker. `counts` counts traffic by
the hour, `board` puts together what the first screen shows, `task` and `exchanges` the other pages,
`door` says who may see and who may act, and `app` serves all of it.
"""

from openwheel.console.app import STOP_S, Console

__all__ = ["STOP_S", "Console"]

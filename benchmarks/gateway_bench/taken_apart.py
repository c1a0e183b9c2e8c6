"""Openwheel's gateway with its student taken apart, so that the gateway's own cost is seen.

Run by the benchmark as ``python taken_apart.py PORT TEACHER_PORT DATABASE free|timed``: with a
student that costs nothing, or with the promoted one and a clock around it, read at ``/decided``.
"""

import sys
import time

from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse
from starlette.routing import Route

from openwheel.gateway import CaptureWriter, create_app, run_gateway
from openwheel.loop.registry import Registry
from openwheel.loop.serving import Decision, Pending, RegistryServing, Serving
from openwheel.store import Store
from openwheel.teachers import HttpTeacher
from openwheel.wire import Request

_DECISION = Decision(
    answer="hydraulics", task="route", student="s1", confidence=0.9, audit_probability=0.0
)


class Free:
    """Answers every request alike."""

    def refresh(self) -> bool:
        """Do nothing."""
        return False

    def decide(self, request: Request, task: str = "", key: str = "") -> Decision:
        """Answer."""
        del request, task, key
        return _DECISION


class Timed:
    """Asks another and adds up the CPU that it takes, of the thread that asks."""

    def __init__(self, serving: Serving) -> None:
        self._serving = serving
        self.seconds = 0.0
        self.count = 0

    def refresh(self) -> bool:
        """Load what was promoted or demoted since."""
        return self._serving.refresh()

    def decide(self, request: Request, task: str = "", key: str = "") -> Decision | Pending:
        """Decide, and count what it took."""
        began = time.thread_time()
        decision = self._serving.decide(request, task, key)
        self.seconds += time.thread_time() - began
        self.count += 1
        return decision


def main() -> None:
    with Store.open(sys.argv[3]) as store:
        timed = Timed(Free() if sys.argv[4] == "free" else RegistryServing(Registry(store)))

        async def decided(request: HttpRequest) -> JSONResponse:
            del request
            return JSONResponse({"seconds": timed.seconds, "count": timed.count})

        capture = CaptureWriter(store)
        app = create_app(
            HttpTeacher(f"http://127.0.0.1:{sys.argv[2]}/v1"),
            timed,
            capture,
            routes=[Route("/decided", decided)],
        )
        run_gateway(app, port=int(sys.argv[1]))
        capture.close()


if __name__ == "__main__":
    main()

"""A store with a promoted student and audits, its console, and a visitor that keeps cookies."""

import contextlib
import http.client
import json
import random
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlencode, urlsplit

import pytest
from starlette.types import ASGIApp

from made_up import QUEUES, ticket, tickets, write_log
from openwheel.access import KeyStore
from openwheel.asgi_server import AsgiServer
from openwheel.console import STOP_S, Console
from openwheel.console.door import Door
from openwheel.importing import LogProblems, read_log
from openwheel.loop.audit.step import audit
from openwheel.loop.offline.learn import learn
from openwheel.loop.registry import Registry
from openwheel.loop.settings import LoopSettings
from openwheel.loop.turn.curate import assign_new
from openwheel.sockets import listen, url_of
from openwheel.store import Exchange, Store
from openwheel.wire import Answer, Usage

NOW = 1_800_000_000.0


@pytest.fixture(scope="session")
def learned_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a store whose one task has a promoted student."""
    folder = tmp_path_factory.mktemp("learned")
    log = write_log(folder / "log.jsonl", tickets(1_500, seed=3))
    with Store.open(folder / "openwheel.db") as store:
        store.append(list(read_log(log, in_order=True, problems=LogProblems())))
        learn(store, LoopSettings(), source="made up")
    return folder


@pytest.fixture
def path(learned_once: Path, tmp_path: Path) -> Path:
    """Return a copy of that store."""
    shutil.copytree(learned_once, tmp_path, dirs_exist_ok=True)
    return tmp_path / "openwheel.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    with Store.open(path) as opened:
        yield opened


@pytest.fixture
def registry(store: Store) -> Registry:
    return Registry(store)


@pytest.fixture
def task(registry: Registry) -> str:
    """Return the id of its task."""
    return registry.tasks()[0].task.id


@pytest.fixture
def traffic(store: Store, registry: Registry) -> Callable[..., int]:
    """Put what came through a gateway into the store, an exchange for each character.

    ``s`` the student answered; ``.`` and ``x`` audits that agree and disagree, ``d`` and ``D`` a
    request that the student deferred, and would have answered as the teacher did, or otherwise.
    Returns the newest exchange.
    """
    rng = random.Random(7)

    def put(kinds: str, *, text: str = "", answer: str = "", time: float = NOW) -> int:
        (promotion,) = registry.promotions().values()
        student = promotion.certificate.student
        newest = store.last_seq()
        exchanges = []
        for i, kind in enumerate(kinds):
            asked = text or ticket(rng, rng.choice(list(QUEUES)))
            request = json.dumps({"messages": [{"role": "user", "content": asked}]}).encode()
            identity = f"chatcmpl-{newest}-{i}"
            said = {"x": "account", "D": "account"}.get(kind, answer or "billing")
            if kind == "s":
                exchange = Exchange(
                    id=identity, time=time + i, request=request, answer=Answer("billing"),
                    source="student", student=student, confidence=0.98, latency_ms=1.0,
                    audit_probability=0.05, unbiased=False,
                )  # fmt: skip
            else:
                audited = kind in ".x"
                exchange = Exchange(
                    id=identity + ("-audit" if audited else ""), time=time + i, request=request,
                    answer=Answer(said), source="teacher", teacher="big", latency_ms=400.0,
                    usage=Usage(100, 10), student=student, confidence=0.97 if audited else 0.3,
                    student_answer="billing" if audited else None,
                    student_guess=None if audited else "billing",
                    audit_probability=0.05, unbiased=audited,
                )  # fmt: skip
            exchanges.append(exchange)
        store.append(exchanges)
        until = assign_new(store, registry, after=newest)
        audit(store, registry, LoopSettings(), until=until)
        return store.last_seq()

    return put


class Page(NamedTuple):
    """A response, with its body as text."""

    status: int
    headers: http.client.HTTPMessage
    text: str

    @property
    def token(self) -> str:
        found = re.search(r'name="token" value="([^"]+)"', self.text)
        assert found, self.text
        return found[1]


class Visitor:
    """A person without a browser: keeps cookies, and goes where forms lead."""

    def __init__(self, url: str) -> None:
        self.host = urlsplit(url).netloc
        self.cookie = ""

    def ask(
        self, method: str, path: str, fields: dict[str, str] | None = None, **headers: str
    ) -> Page:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.cookie:
            sent.setdefault("cookie", self.cookie)
        if fields is not None:
            sent["content-type"] = "application/x-www-form-urlencoded"
        connection = http.client.HTTPConnection(self.host, timeout=30)
        try:
            body = None if fields is None else urlencode(fields)
            connection.request(method, path, body, sent)
            response = connection.getresponse()
            page = Page(response.status, response.headers, response.read().decode())
        finally:
            connection.close()
        if set_cookie := page.headers.get("set-cookie"):
            self.cookie = set_cookie.partition(";")[0]
        return page

    def get(self, path: str, **headers: str) -> Page:
        return self.ask("GET", path, **headers)

    def act(self, path: str, *, seen: str = "/console", **fields: str) -> Page:
        """Load a page, and send one of its forms."""
        token = self.get(seen).token
        return self.ask("POST", path, {"token": token, **fields})


@contextlib.contextmanager
def console_thread(app: ASGIApp) -> Iterator[str]:
    """Serve a console from a thread, and return its address."""
    with contextlib.closing(listen("127.0.0.1", 0)) as sock:
        started = threading.Event()
        server = AsgiServer(app, sock, ready=started.set, stop_timeout=STOP_S)
        thread = threading.Thread(target=server.run)
        thread.start()
        try:
            assert started.wait(30)
            yield url_of(sock)
        finally:
            server.stop()
            thread.join()


@pytest.fixture
def console(store: Store, path: Path) -> Iterator[Callable[..., Visitor]]:
    """Serve the console of the store, and return a visitor."""
    with contextlib.ExitStack() as stack:

        def serve(*, keys: bool = False, acts: bool = True, **options: object) -> Visitor:
            read_only = stack.enter_context(Store.open(path, read_only=True))
            app = Console(
                read_only,
                Door(KeyStore(read_only), lambda: keys),
                LoopSettings(),
                actions=store if acts else None,
                **options,
            ).app()
            return Visitor(stack.enter_context(console_thread(app)))

        yield serve

"""What an attacker meets: the gateways of `tests/gateway` and `tests/processes`, and keys."""

import contextlib
import json

import pytest

from gateway.conftest import gateway, http, student, upstream  # noqa: F401 - fixtures
from gateway.keyed import COMPLETION, EMBEDDINGS, MESSAGE, Guarded, whole
from gateway.making import make_app
from openwheel.access import Access, KeyStore
from openwheel.gateway import CaptureWriter, gateway_thread
from openwheel.store import Store
from openwheel.teachers import HttpTeacher
from processes.conftest import load, teacher, up, wait_for  # noqa: F401 - fixtures

PRICES = {"big": (1_000.0, 1_000.0)}


@pytest.fixture
def by_path(upstream):  # noqa: F811
    """Answer each API as it would."""

    async def script(received, writer):
        answers = {"/v1/messages": MESSAGE, "/v1/embeddings": EMBEDDINGS}
        writer.write(whole(answers.get(received.path, COMPLETION)))

    upstream.answer = script
    return upstream


@pytest.fixture
def guarded(tmp_path, upstream, student):  # noqa: F811
    """Start a gateway whose store is a file, where keys may be made."""
    with contextlib.ExitStack() as stack:

        def start(teacher=None, *, serving=None, required=None, **settings) -> Guarded:
            store = stack.enter_context(Store.open(tmp_path / "openwheel.db"))
            access = Access(store, tmp_path / "limits", required=required)
            capture = CaptureWriter(store)
            stack.callback(capture.close, 0.1)
            app = make_app(
                teacher or HttpTeacher(upstream.url, name="big"),
                serving or student(student=""),
                capture,
                access=access,
                refresh_every=0.05,
                prices=PRICES,
                **settings,
            )
            url = stack.enter_context(gateway_thread(app))
            return Guarded(url, store, access, KeyStore(store), capture)

        yield start


@pytest.fixture
def ask(http):  # noqa: F811
    """Send a request with a key, a body as JSON if there is one."""

    def send(running, method, path, secret="", **fields):
        headers = {"authorization": f"Bearer {secret}"} if secret else {}
        body = json.dumps(fields).encode() if fields else None
        return http(method, running.url + path, body, headers)

    return send

"""A teacher that comes and goes, always on the same port."""

import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

from openwheel.wire import APIS, Answer


class Restartable:
    """Answers every API with one text while it is up; nothing listens while it is down."""

    def __init__(self, text: str = "shipping") -> None:
        self.text = text
        self.received: list[bytes] = []
        self._server: ThreadingHTTPServer | None = None
        self._hold()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.down()
        self._held.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def up(self) -> None:
        """Listen."""
        self._held.close()
        server = _Server(("127.0.0.1", self.port), _Handler)
        server.teacher = self
        self._server = server
        self._thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        self._thread.start()

    def down(self) -> None:
        """Listen no more."""
        if self._server is not None:
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()
            self._server = None
            self._hold(self.port)

    def _hold(self, port: int = 0) -> None:
        """Bind without listening, so that nobody else takes the port."""
        self._held = socket.socket()
        self._held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._held.bind(("127.0.0.1", port))
        self.port = self._held.getsockname()[1]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    teacher: Restartable


class _Handler(BaseHTTPRequestHandler):  # HTTP/1.0: a connection each, none outlives the server
    def do_POST(self) -> None:
        teacher = self.server.teacher
        body = self.rfile.read(int(self.headers["content-length"]))
        teacher.received.append(body)
        api = next(api for api in APIS.values() if api.path == self.path)
        request = api.read_request(body)
        if request.stream:
            kind, said = "text/event-stream", b"".join(api.events(Answer(teacher.text), request))
        else:
            kind, said = "application/json", api.body(Answer(teacher.text), request)
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, *_: object) -> None:
        pass


PATHS = {name: api.path for name, api in APIS.items()}


def request_of(api: str, text: str, *, stream: bool = False, **fields: object) -> bytes:
    """Return the body of a request of one of the four APIs."""
    said = [{"role": "user", "content": text}]
    asked: dict[str, object] = {
        "chat": {"messages": said},
        "messages": {"messages": said, "max_tokens": 9},
        "responses": {"input": text, "store": False},
        "completions": {"prompt": text},
    }[api]
    return json.dumps({"model": "m", **asked, "stream": stream, **fields}).encode()

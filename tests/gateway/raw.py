"""A client of raw bytes."""

import json
import socket
import time

BODY = b'{"messages":[{"role":"user","content":"x"}]}'
COMPLETION = b'{"choices":[{"index":0,"message":{"content":"yes"},"finish_reason":"stop"}]}'
GET = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"


def post(body=BODY, *, path=b"/v1/chat/completions", head=b"", version=b"1.1"):
    line = b"POST %s HTTP/%s\r\nhost: x\r\ncontent-length: %d\r\n%s\r\n"
    return line % (path, version, len(body), head) + body


class Response:
    """One response as it came: its parts, and whether its framing was whole."""

    def __init__(self, file):
        line = file.readline()
        while line.startswith(b"HTTP/1.1 100"):
            file.readline()
            line = file.readline()
        if not line:
            raise EOFError
        self.status = int(line.split()[1])
        self.headers = {}
        while (field := file.readline().strip()) != b"":
            name, _, value = field.partition(b":")
            self.headers[name.decode().lower()] = value.strip().decode()
        if self.headers.get("transfer-encoding") == "chunked":
            self.body = b"".join(iter(lambda: self._chunk(file), b""))
        elif "content-length" in self.headers:
            size = int(self.headers["content-length"])
            self.body = file.read(size)
            if len(self.body) < size:
                raise EOFError
        else:
            self.body = file.read()

    @staticmethod
    def _chunk(file):
        size = int(file.readline(), 16)
        data = file.read(size)
        file.readline()
        return data

    @property
    def code(self):
        error = json.loads(self.body)["error"]
        assert error["type"] == "invalid_request_error"
        assert error["message"]
        return error["code"]


class Client:
    """A client that sends what it likes, when it likes."""

    def __init__(self, port, *, receive_buffer=0):
        self.sock = socket.socket()
        if receive_buffer:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.sock.settimeout(10)
        self.sock.connect(("127.0.0.1", port))
        self.file = self.sock.makefile("rb")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()
        self.sock.close()

    def send(self, data):
        self.sock.sendall(data)

    def send_again(self, data, *, times):
        for _ in range(times):
            self.send(data)

    def response(self):
        return Response(self.file)

    def is_closed(self):
        """Wait for the end of the connection, before which nothing may come."""
        return self.file.read(1) == b""

    def answered(self):
        """Return whether anything has come."""
        self.sock.setblocking(False)
        try:
            return bool(self.sock.recv(1, socket.MSG_PEEK))
        except BlockingIOError:
            return False
        finally:
            self.sock.settimeout(10)


def health(client):
    client.send(GET)
    return json.loads(client.response().body)


def wait_for(done, seconds=10.0):
    deadline = time.monotonic() + seconds
    while not (found := done()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return found

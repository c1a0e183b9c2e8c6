import asyncio
import http.server
import threading

import pytest

from openwheel.endpoints import HttpTeacher, TeacherTimeoutError
from openwheel.errors import SettingError, TeacherError


@pytest.fixture
def server():
    """An endpoint that answers with the path it was asked for; ``/slow`` never does."""
    over = threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            if self.path.endswith("/slow"):
                over.wait(10)
                return
            if self.path.endswith("/moved"):
                self.send_response(307)
                self.send_header("location", "/v1/elsewhere")
            else:
                self.send_response(200)
            self.send_header("content-length", str(len(self.path)))
            self.end_headers()
            self.wfile.write(self.path.encode())

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_port}"
        over.set()
        httpd.shutdown()
        thread.join()


def get(teacher, path):
    async def send():
        async with teacher:
            response = await teacher.send("GET", path, [], b"")
            return response, b"".join([chunk async for chunk in response.chunks])

    return asyncio.run(send())


@pytest.mark.parametrize(
    ("base", "path", "asked"),
    [
        ("", "/v1/models", "/v1/models"),
        ("/", "/v1/models", "/v1/models"),
        ("/v1", "/v1/models", "/v1/models"),
        ("/v1/", "/v1/models?limit=1", "/v1/models?limit=1"),
        ("/api/v1", "/v1/a%2Fb", "/api/v1/a%2Fb"),
        ("/v1beta/openai/", "/v1/models", "/v1beta/openai/models"),
    ],
)
def test_base_url_stands_for_v1(server, base, path, asked):
    assert get(HttpTeacher(server + base), path)[1] == asked.encode()


def test_redirects_are_the_clients_to_follow(server):
    response, _ = get(HttpTeacher(server), "/v1/moved")
    assert response.status == 307
    assert (b"location", b"/v1/elsewhere") in response.headers


def test_too_slow(server):
    with pytest.raises(TeacherTimeoutError, match=r"127\.0\.0\.1:\d+ did not answer in time"):
        get(HttpTeacher(server, read_timeout=0.1), "/v1/slow")


def test_unreachable():
    with pytest.raises(TeacherError, match=r"127\.0\.0\.1:1 could not be reached"):
        get(HttpTeacher("http://127.0.0.1:1"), "/v1/models")
    with pytest.raises(TeacherError, match=r"nowhere\.invalid could not be reached"):
        get(HttpTeacher("http://nowhere.invalid"), "/v1/models")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("localhost:8000", "must look like"),
        ("ftp://x/v1", "must look like"),
        ("", "must look like"),
        ("http://x:port/", "not a URL"),
        ("http://[::1/v1", "not a URL"),
        ("http://me:hunter2@x/v1", "credentials"),
        ("http://x/v1?key=hunter2", "query"),
        ("me:hunter2@x", "must look like"),
    ],
)
def test_bad_urls_name_the_fault_and_no_secret(url, message):
    with pytest.raises(SettingError, match=message) as caught:
        HttpTeacher(url)
    assert "hunter2" not in str(caught.value)


def test_key_comes_from_the_environment(monkeypatch):
    monkeypatch.delenv("THE_KEY", raising=False)
    with pytest.raises(SettingError, match="THE_KEY"):
        HttpTeacher("http://x/v1", key_env="THE_KEY")
    monkeypatch.setenv("THE_KEY", "hunter2\nx")
    with pytest.raises(SettingError, match="printable") as caught:
        HttpTeacher("http://x/v1", key_env="THE_KEY")
    assert "hunter2" not in str(caught.value)

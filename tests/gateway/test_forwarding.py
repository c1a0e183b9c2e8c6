"""What passes between client and teacher passes as it came."""

import asyncio
import http.client
import json
import threading

import openai
import pytest

# Odd on purpose: whitespace, key order, an unknown field, a number a float would not hold.
REQUEST = (
    b'{ "zz_unknown":12345678901234567890123,\n\t"model" : "m",'
    b' "messages":[{"role":"user","content":"h\\u00e9 \xc3\xa9"}] ,"temperature":1.0}\n'
)
DEEP = b'{"x":' + b"[" * 5_000 + b"]" * 5_000 + b"}"
ANSWER = (
    b'{"id":"x","choices":[ {"index":0,"message":{"role":"assistant","content":"yes",'
    b'"reasoning_content":"hm"},"finish_reason":"stop"}],\n "model":"m-1", "odd": 1e400}  \n'
)
STREAM = [
    b'data: {"model":"m-1","choices":[{"index":0,"delta":{"role":"assistant","content":"a"}}]}\n\n',
    b': keep-alive\r\n\r\ndata: {"choices":[{"index":0,"delta":{"content":"\xc3',
    b'\xa9"},"finish_reason":null}]}\r\n\r\n',
    b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n',
]


@pytest.fixture
def url(gateway):
    return gateway().url + "/v1/chat/completions"


def test_bodies_pass_byte_for_byte(url, upstream, http):
    upstream.answers(ANSWER)
    response = http("POST", url, REQUEST, {"content-type": "application/json"})
    assert response.data == ANSWER
    assert upstream.received[0].body == REQUEST
    assert upstream.received[0].line == "POST /v1/chat/completions HTTP/1.1"


def test_large_bodies_pass(url, upstream, http):
    text = b"x" * (3 << 20)
    body = b'{"messages":[{"role":"user","content":"%s"}]}' % text
    upstream.answers(b'{"choices":[{"message":{"content":"%s"}}]}' % text)
    response = http("POST", url, body)
    assert len(response.data) > len(text)
    assert upstream.received[0].body == body
    assert "transfer-encoding" not in upstream.received[0].headers


@pytest.mark.parametrize(
    ("status", "head"),
    [
        ("429 Too Many Requests", "retry-after: 7\r\nretry-after-ms: 6500"),
        ("400 Bad Request", "x-request-id: req_1\r\nx-ratelimit-remaining-tokens: 12"),
        ("503 Service Unavailable", "content-type: text/html"),
        ("529 Site is overloaded", "x-should-retry: false"),
    ],
)
def test_errors_pass_with_status_headers_and_body(url, upstream, http, status, head):
    body = b'{"error": {"message":"slow  down", "odd": [1 ,2]}}'
    upstream.answers(body, status=status, head=head)
    response = http("POST", url, REQUEST)
    assert response.status == int(status[:3])
    assert response.data == body
    for line in head.split("\r\n"):
        name, value = line.split(": ")
        assert response.headers[name] == value
    assert response.headers["x-openwheel-source"] == "teacher"


def test_headers_of_one_connection_stay_there(url, upstream, http):
    upstream.answers(
        ANSWER,
        head="connection: keep-alive, x-hop\r\nkeep-alive: timeout=5\r\nx-hop: 1\r\nx-end: 2",
    )
    sent = {
        "connection": "keep-alive, x-mine",
        "x-mine": "1",
        "te": "trailers",
        "accept-encoding": "gzip, br",
        "x-openwheel-task": "route",
        "x-stainless-lang": "python",
        "authorization": "Bearer theirs",
    }
    response = http("POST", url, REQUEST, sent)
    assert "x-hop" not in response.headers
    assert "keep-alive" not in response.headers
    assert response.headers["x-end"] == "2"
    got = upstream.received[0].headers
    assert got.keys().isdisjoint({"x-mine", "te", "x-openwheel-task", "user-agent"})
    assert got["accept-encoding"] == "identity"
    assert got["authorization"] == "Bearer theirs"
    assert got["x-stainless-lang"] == "python"


def test_coded_answer_passes_with_its_coding(url, upstream, http):
    upstream.answers(b"\x1f\x8bnot really", head="content-encoding: gzip")
    response = http("POST", url, REQUEST)
    assert response.data == b"\x1f\x8bnot really"
    assert response.headers["content-encoding"] == "gzip"


def test_other_paths_and_methods_are_forwarded(gateway, upstream, http):
    url = gateway().url
    upstream.answers(b'{"object": "list", "data": []}')
    http("POST", f"{url}/v1/embeddings?a=%2Fb&c=d%20e", b"not json", {"content-type": "text/x"})
    http("GET", f"{url}/v1/models")
    http("DELETE", f"{url}/v1/files/a%2Fb")
    upstream.writes(b"HTTP/1.1 200 OK\r\ncontent-length: 30\r\n\r\n")
    head = http("HEAD", f"{url}/v1/models/x")
    assert [request.line for request in upstream.received] == [
        "POST /v1/embeddings?a=%2Fb&c=d%20e HTTP/1.1",
        "GET /v1/models HTTP/1.1",
        "DELETE /v1/files/a%2Fb HTTP/1.1",
        "HEAD /v1/models/x HTTP/1.1",
    ]
    assert upstream.received[0].body == b"not json"
    assert upstream.received[0].headers["content-type"] == "text/x"
    assert head.headers["content-length"] == "30"


@pytest.mark.parametrize(
    "path",
    [
        "/v1/../admin",
        "/v1/%2e%2E/admin",
        "/v1/x/..%2fy",
        "/v1/..",
        "/v1%2f..%2fadmin",
        "/v1/x%2f..%2f..%2fadmin",
        "/v1/x%2F.%2e%2Fadmin",
        "/v1/..%5cadmin",
        "/v1%5c..%5cadmin",
        "/v1/..;/admin",
        "/v1/..%3bx/admin",
        "/v1/%252e%252e/admin",
        "/v1/%25252e%25252e/admin",
        "/v1/%25252525252e%252e/admin",
        "/v1/..%00/admin",
        "/v1/%20../admin",
        "/v1/%c0%ae%c0%ae/admin",
        "/v1/%ef%bc%8e%ef%bc%8e/admin",
        "/v1/x/./y",
        "/v1/a%0d%0ab",
    ],
)
def test_paths_that_climb_out_are_not_forwarded(gateway, upstream, path):
    connection = http.client.HTTPConnection(gateway().url.removeprefix("http://"))
    connection.request("GET", path)
    assert connection.getresponse().status == 404
    connection.close()
    assert not upstream.received


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b'{"messages": 3}', b"\xff\xfe", b"[" * 100_000, DEEP, b'{"model":"m"}'],
)
def test_a_body_that_cannot_be_read_is_the_teachers_to_judge(gateway, upstream, http, body):
    running = gateway()
    upstream.answers(ANSWER)
    response = http("POST", f"{running.url}/v1/chat/completions", body)
    assert response.data == ANSWER
    assert upstream.received[0].body == body
    assert running.exchanges(0) == []


def test_stream_chunks_pass_as_they_arrive(gateway, upstream):
    running = gateway()
    arrived = threading.Semaphore(0)

    async def script(_, writer):
        writer.write(upstream.stream_head)
        for chunk in STREAM:
            writer.write(upstream.chunked(chunk))
            # A chunk is sent only once the one before it has reached the client.
            await asyncio.to_thread(arrived.acquire, timeout=10)
        await asyncio.sleep(0.1)
        writer.write(b"0\r\n\r\n")

    upstream.answer = script
    connection = http.client.HTTPConnection(running.url.removeprefix("http://"), timeout=5)
    connection.request("POST", "/v1/chat/completions", REQUEST.replace(b"{", b'{"stream":true,', 1))
    response = connection.getresponse()
    received = []
    while chunk := response.read1():
        received.append(chunk)
        arrived.release()
    connection.close()
    assert received == STREAM
    [exchange] = running.exchanges(1)
    assert exchange.answer.text == "aé"
    assert exchange.model == "m-1"
    assert exchange.teacher.startswith("127.0.0.1:")  # by default its host
    assert exchange.latency_ms > 100


def test_operator_key_replaces_the_clients(gateway, upstream, http, monkeypatch):
    from openwheel.teachers import HttpTeacher

    monkeypatch.setenv("BIG_KEY", "sk-operator")
    running = gateway(HttpTeacher(upstream.url, key_env="BIG_KEY"))
    upstream.answers(ANSWER)
    http(
        "POST",
        f"{running.url}/v1/chat/completions",
        REQUEST,
        {"authorization": "Bearer theirs", "x-api-key": "theirs", "cookie": "a=b"},
    )
    got = upstream.received[0].headers
    assert got["authorization"] == "Bearer sk-operator"
    assert "theirs" not in str(got)
    assert "cookie" not in got


def test_cookies_of_one_client_are_not_sent_for_another(url, upstream, http):
    upstream.answers(ANSWER, head="set-cookie: session=one; Path=/")
    assert http("POST", url, REQUEST).headers["set-cookie"] == "session=one; Path=/"
    http("POST", url, REQUEST)
    assert "cookie" not in upstream.received[1].headers


def test_rate_limit_reaches_the_sdk(gateway, upstream):
    upstream.answers(json.dumps({"error": {"message": "slow"}}).encode(), status="429 Slow")
    with (
        openai.OpenAI(base_url=gateway().url + "/v1", api_key="x", max_retries=0) as client,
        pytest.raises(openai.RateLimitError),
    ):
        client.chat.completions.create(model="m", messages=[{"role": "user", "content": "x"}])

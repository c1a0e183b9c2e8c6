"""Budgets: who leaves before the answer pays for what was sent."""

import asyncio
import contextlib
import json

from gateway.keyed import CHAT, EMBEDDINGS, eventually
from gateway.raw import Client, post
from openwheel.gateway.recorder import BYTES_A_TOKEN
from openwheel.teachers import HttpTeacher
from teacher import hangs_up, respond, silent


def leave(running, upstream, body, secret, path=b"/v1/chat/completions"):
    """Send a request and go away once the teacher has it."""
    before = len(upstream.received)
    head = b"authorization: Bearer %s\r\n" % secret.encode()
    with Client(int(running.url.rpartition(":")[2])) as client:
        client.send(post(body, path=path, head=head))
        assert eventually(lambda: len(upstream.received) > before)


def test_who_leaves_before_the_answers_head_pays_for_the_request(guarded, upstream, ask):
    running = guarded()
    upstream.answer = silent
    key, secret = running.key(budget=1.0)
    body = json.dumps({**CHAT, "user": "x" * 4_000}).encode()
    leave(running, upstream, body, secret)
    # A thousand dollars a million tokens: this one request costs more than the budget.
    spent = running.spent(key, len(body) // BYTES_A_TOKEN)
    assert spent.micro_dollars >= 1_000 * len(body) // BYTES_A_TOKEN
    refusal = ask(running, "POST", "/v1/chat/completions", secret, **CHAT)
    assert json.loads(refusal.data)["error"]["code"] == "insufficient_quota"
    assert len(upstream.received) == 1


def test_what_is_estimated_for_an_answer_is_no_more_than_was_asked_for(guarded, upstream):
    running = guarded()
    upstream.answer = silent
    key, secret = running.key()
    body = json.dumps({**CHAT, "max_tokens": 1, "seed": 1}).encode()
    leave(running, upstream, body, secret)
    tokens = len(body) // BYTES_A_TOKEN
    assert tokens < running.spent(key, tokens).tokens <= tokens + 3


def test_embeddings_that_nobody_waits_for_cost_their_request(guarded, upstream):
    running = guarded()
    key, secret = running.key()

    async def half(_, writer):
        writer.write(respond(json.dumps(EMBEDDINGS).encode())[:-20])
        await asyncio.Event().wait()

    body = b'{"model":"e","input":"%s"}' % (b"x" * 400)
    for upstream.answer in (silent, half):
        before = running.spent(key).tokens
        leave(running, upstream, body, secret, b"/v1/embeddings")
        least = before + len(body) // BYTES_A_TOKEN
        assert running.spent(key, least).tokens >= least


def test_a_teacher_that_takes_too_long_is_paid_too(guarded, upstream, ask):
    running = guarded(HttpTeacher(upstream.url, name="big", read_timeout=0.1))
    upstream.answer = silent
    key, secret = running.key()
    assert ask(running, "POST", "/v1/chat/completions", secret, **CHAT).status == 504
    assert running.spent(key, 10).micro_dollars > 0


def test_what_was_not_sent_or_was_not_answered_is_free(guarded, upstream, ask):
    running = guarded()
    key, secret = running.key()
    upstream.answer = hangs_up
    assert ask(running, "POST", "/v1/chat/completions", secret, **CHAT).status == 502
    upstream.down()
    assert ask(running, "POST", "/v1/chat/completions", secret, **CHAT).status == 502
    assert running.spent(key).tokens == 0


def test_reading_lists_costs_nothing_where_the_client_leaves(guarded, upstream):
    running = guarded()
    upstream.answer = silent
    key, secret = running.key()
    head = b"GET /v1/models HTTP/1.1\r\nhost: x\r\nauthorization: Bearer %s\r\n\r\n"
    with contextlib.closing(Client(int(running.url.rpartition(":")[2])).sock) as sock:
        sock.sendall(head % secret.encode())
        assert eventually(lambda: upstream.received)
    assert eventually(upstream.disconnected.is_set)
    assert running.spent(key).tokens == 0

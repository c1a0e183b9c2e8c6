"""Pools of teachers as the tests make and ask them."""

from openwheel.teachers import (
    HttpTeacher,
    Member,
    TeacherPool,
    TeacherRequest,
)

CHAT = "/v1/chat/completions"
SEVERAL = [429, 500, 502, 503, 504, 529]


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


def member(url, name, *, teacher=None, **fields):
    settings = teacher or {}
    api = fields.get("api", "openai")
    return Member(HttpTeacher(url, name=name, api=api, **settings), name, **fields)


def same():
    """Draw what leaves members of one weight in listed order."""
    return 0.5


def listed(members, **settings):
    """Make a pool that asks ready members of one weight in listed order."""
    return TeacherPool(members, rng=same, **settings)


async def ask(pool, path=CHAT, method="POST", body=b"{}", headers=(), model="m"):
    response = await pool.send(TeacherRequest(method, path, list(headers), body, model))
    try:
        return response, b"".join([chunk async for chunk in response.chunks])
    finally:
        response.close()


async def who(pool, *args, **settings):
    return (await ask(pool, *args, **settings))[0].teacher

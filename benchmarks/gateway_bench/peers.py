"""Plain proxies of Starlette with httpx or aiohttp: what forwarding costs before capture.

Run by the benchmark in an environment that has them: ``python peers.py httpx|aiohttp PORT
TEACHER``. Uvicorn runs them with uvloop and httptools, one worker, no access log.
"""

import contextlib
import importlib
import sys
from collections.abc import AsyncIterator
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

_OF_REQUESTS = {"host", "connection", "content-length", "transfer-encoding", "accept-encoding"}
_OF_ANSWERS = {"connection", "transfer-encoding"}


def _without(dropped: set[str], headers: Any) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower() not in dropped}


def _httpx(teacher: str) -> Starlette:
    # By name, since the project's own environment has no httpx.
    httpx = importlib.import_module("httpx")
    client = httpx.AsyncClient(limits=httpx.Limits(max_connections=None), timeout=600)

    async def forward(request: Request) -> StreamingResponse:
        asked = client.build_request(
            request.method,
            teacher + request.url.path,
            headers=_without(_OF_REQUESTS, request.headers),
            content=await request.body(),
        )
        answer = await client.send(asked, stream=True)

        async def chunks() -> AsyncIterator[bytes]:
            async with contextlib.aclosing(answer):
                async for chunk in answer.aiter_raw():
                    yield chunk

        return StreamingResponse(
            chunks(), answer.status_code, _without(_OF_ANSWERS, answer.headers)
        )

    return Starlette(routes=[Route("/{path:path}", forward, methods=["GET", "POST"])])


def _aiohttp(teacher: str) -> Starlette:
    import aiohttp

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector, auto_decompress=False) as session:
            app.state.session = session
            yield

    async def forward(request: Request) -> StreamingResponse:
        session: aiohttp.ClientSession = request.app.state.session
        answer = await session.request(
            request.method,
            teacher + request.url.path,
            headers=_without(_OF_REQUESTS, request.headers),
            data=await request.body(),
        )

        async def chunks() -> AsyncIterator[bytes]:
            async with answer:
                async for chunk in answer.content.iter_any():
                    yield chunk

        return StreamingResponse(chunks(), answer.status, _without(_OF_ANSWERS, answer.headers))

    return Starlette(
        routes=[Route("/{path:path}", forward, methods=["GET", "POST"])], lifespan=lifespan
    )


if __name__ == "__main__":
    made = {"httpx": _httpx, "aiohttp": _aiohttp}[sys.argv[1]]
    uvicorn.run(
        made(f"http://127.0.0.1:{sys.argv[3]}"),
        host="127.0.0.1",
        port=int(sys.argv[2]),
        loop="uvloop",
        http="httptools",
        ws="none",
        log_level="warning",
        access_log=False,
    )

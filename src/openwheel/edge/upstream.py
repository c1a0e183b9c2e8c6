"""The upstream gateway's side: takes batches of edges, tells them what to do, serves the bundle."""

import asyncio
import hashlib
import logging
import threading
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from openwheel.access import Access, Key, RefusedError
from openwheel.edge.checks import checked
from openwheel.edge.messages import (
    BUNDLE_PATH,
    EXCHANGES_PATH,
    MOST_BYTES,
    MOST_SENT,
    MOST_UNPACKED,
    STATE_PATH,
    Batch,
    Refused,
    Taken,
)
from openwheel.edge.standing import Standing, State, standings
from openwheel.errors import RequestError, StoreError
from openwheel.gateway.asgi import (
    JSON,
    BodyTooLargeError,
    ClientGoneError,
    header,
    method_not_allowed,
    read_body,
    send_body,
    send_error,
    send_json,
    send_too_large,
)
from openwheel.gateway.authorization import Guard, send_refusal
from openwheel.gateway.edges import require_edge
from openwheel.loop.registry import Registry
from openwheel.store import Exchange
from openwheel.tasks import TaskMatcher
from openwheel.wire import APIS

logger = logging.getLogger(__name__)

_LONGEST_ID: Final = 200
_CHUNK: Final = 1 << 20


def edge_routes(registry: Registry, access: Access, bundle: str, *, keeps: bool) -> list[Route]:
    """Return the routes that edges use.

    Args:
        registry: Says what is promoted; its store takes the exchanges.
        access: Checks keys.
        bundle: The file of the bundle that edges get, ``""`` for none.
        keeps: Whether exchanges are kept here at all.
    """
    known = _Known(registry)
    guard = Guard(access)
    offered = _Offered(Path(bundle) if bundle else None)
    return [
        Route(STATE_PATH, _StateEndpoint(known, offered, guard)),
        Route(BUNDLE_PATH, _BundleEndpoint(offered, guard)),
        Route(EXCHANGES_PATH, _ExchangesEndpoint(known, guard, keeps=keeps)),
    ]


class _Table(NamedTuple):
    """What is known of tasks and students at one moment."""

    version: tuple[int, ...]
    matcher: TaskMatcher
    names: dict[str, str]
    stopped: bool
    ever: dict[str, str]  # the task of each student that was ever promoted


class _Known:
    """What the registry says; read anew when it has changed. Its methods block."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self._lock = threading.Lock()
        self._table: _Table | None = None
        self._standings: dict[str, dict[str, Standing]] = {}

    def table(self) -> _Table:
        """Return what is known now."""
        with self._lock:
            version = self.registry.version()
            if self._table is None or self._table.version != version:
                tasks = [record.task for record in self.registry.tasks()]
                self._standings = {}
                self._table = _Table(
                    version,
                    TaskMatcher(tasks),
                    {task.id: task.name for task in tasks},
                    self.registry.stopped(),
                    {
                        row.student_id: row.task_id
                        for row in self.registry.promotion_rows()
                        if row.student_id is not None
                    },
                )
            return self._table

    def state(self, key: Key, bundle: str) -> State:
        """Return what the edge of a key is to do: with the tasks that its key may send."""
        table = self.table()
        with self._lock:
            if key.name not in self._standings:
                self._standings[key.name] = standings(self.registry, outside=key.name)
            students = {
                task: standing
                for task, standing in self._standings[key.name].items()
                if key.allows_task(table.names.get(task, ""))
            }
        return State(edge=key.name, stopped=table.stopped, students=students, bundle=bundle)


class _Offered:
    """The bundle that is served; its hash is computed when the file changes."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._seen: tuple[int, int, int] | None = None
        self._sha256 = ""
        self._problem = ""

    def sha256(self) -> str:
        """Return the hash of the file, ``""`` if there is none that can be read."""
        if self.path is None:
            return ""
        with self._lock:
            try:
                status = self.path.stat()
                seen = (status.st_ino, status.st_size, status.st_mtime_ns)
                if seen != self._seen:
                    with self.path.open("rb") as file:
                        self._sha256 = hashlib.file_digest(file, "sha256").hexdigest()
                    self._seen = seen
                self._problem = ""
            except OSError as error:
                self._seen, self._sha256 = None, ""
                if str(error) != self._problem:  # once, not at each look of each edge
                    self._problem = str(error)
                    logger.error("The bundle for edges cannot be read: %s", error)
            return self._sha256


class _StateEndpoint:
    """``GET /v1/edge/state``: what an edge is to do, with an entity tag."""

    def __init__(self, known: _Known, offered: _Offered, guard: Guard) -> None:
        self._known = known
        self._offered = offered
        self._guard = guard

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        """Answer one request; 304 if the edge has this state already."""
        if scope["method"] != "GET":
            await method_not_allowed(scope, send, "GET")
            return
        try:
            key = require_edge(self._guard.identify(scope))
            state = await asyncio.to_thread(self._read, key)
        except RefusedError as error:
            await send_refusal(send, error, APIS["chat"])
            return
        except StoreError as error:
            logger.error("An edge could not be told what to do: %s", error)
            await _send_unavailable(send)
            return
        tag = state.etag.encode()
        if header(scope, b"if-none-match") == tag:
            await send_body(send, 304, b"", [(b"etag", tag)])
            return
        await send_body(send, 200, state.encode(), [JSON, (b"etag", tag)])

    def _read(self, key: Key) -> State:
        return self._known.state(key, self._offered.sha256())


class _BundleEndpoint:
    """``GET /v1/edge/bundle``: the bundle as it was signed elsewhere."""

    def __init__(self, offered: _Offered, guard: Guard) -> None:
        self._offered = offered
        self._guard = guard

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        """Answer one request."""
        if scope["method"] != "GET":
            await method_not_allowed(scope, send, "GET")
            return
        try:
            require_edge(self._guard.identify(scope))
        except RefusedError as error:
            await send_refusal(send, error, APIS["chat"])
            return
        path = self._offered.path
        try:
            if path is None:
                raise FileNotFoundError
            # Held open, so that a file that is replaced meanwhile is sent whole.
            file = await asyncio.to_thread(path.open, "rb")
        except OSError:
            message = "This gateway serves no bundle: bundle of [edge] names none that can be read."
            await send_error(send, 404, message, code="no_bundle")
            return
        with file:
            size = file.seek(0, 2)
            file.seek(0)
            headers = [
                (b"content-type", b"application/zip"),
                (b"content-length", str(size).encode()),
            ]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            left = size
            while left:
                chunk = await asyncio.to_thread(file.read, min(_CHUNK, left))
                if not chunk:
                    raise OSError(f"The bundle {path} was cut while it was sent")
                left -= len(chunk)
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b""})


class _ExchangesEndpoint:
    """``POST /v1/edge/exchanges``: takes a batch; each exchange is stored once, by its id."""

    def __init__(self, known: _Known, guard: Guard, *, keeps: bool) -> None:
        self._known = known
        self._guard = guard
        self._keeps = keeps

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, once what is new is on disk."""
        if scope["method"] != "POST":
            await method_not_allowed(scope, send, "POST")
            return
        try:
            key = require_edge(self._guard.identify(scope))
            if not self._keeps:
                message = "This gateway keeps no exchanges (capture.mode is off)."
                await send_error(send, 404, message, code="capture_off")
                return
            self._guard.count(key)
            body = await read_body(scope, receive, MOST_BYTES)
            packed = header(scope, b"content-encoding") == b"deflate"
            taken = await asyncio.to_thread(self._take, body, key, packed=packed)
        except BodyTooLargeError as error:
            await send_too_large(send, error, APIS["chat"])
        except RefusedError as error:
            await send_refusal(send, error, APIS["chat"])
        except ClientGoneError:
            return
        except RequestError as error:
            await send_error(send, 400, f"{error}.", code="edge_batch")
        except StoreError as error:
            logger.error("Exchanges of an edge could not be stored: %s", error)
            await _send_unavailable(send)
        else:
            await send_json(send, 200, taken)

    def _take(self, body: bytes, key: Key, *, packed: bool) -> Taken:
        exchanges = _read_batch(body, packed=packed)
        table = self._known.table()
        kept: list[Exchange] = []
        refused: list[Refused] = []
        for exchange in exchanges:
            try:
                kept.append(checked(exchange, key, table.matcher, table.ever))
            except RequestError as error:
                refused.append(Refused(exchange.id[:_LONGEST_ID], str(error)))
        if refused:
            logger.warning(
                "Of %d exchanges of the edge %s %d are not taken; the first: %s",
                len(exchanges),
                key.name,
                len(refused),
                refused[0].reason,
            )
        stored = self._known.registry.store.append(kept)
        return Taken(stored=stored, repeated=len(kept) - stored, refused=tuple(refused))


def _read_batch(body: bytes, *, packed: bool) -> Sequence[Exchange]:
    if packed:
        unpacking = zlib.decompressobj()
        try:
            body = unpacking.decompress(body, MOST_UNPACKED)
        except zlib.error as error:
            raise RequestError(f"The batch cannot be unpacked: {error}") from None
        if unpacking.unconsumed_tail or not unpacking.eof:
            raise RequestError(f"The batch is cut, or has more than {MOST_UNPACKED:,} bytes")
    try:
        batch = msgspec.json.decode(body, type=Batch)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RequestError(f"The batch cannot be read: {error}") from None
    if len(batch.exchanges) > MOST_SENT:
        raise RequestError(f"A batch has at most {MOST_SENT} exchanges, and has more")
    return batch.exchanges


async def _send_unavailable(send: Send) -> None:
    await send_error(
        send,
        503,
        "The store cannot be used at the moment; try again.",
        type="server_error",
        code="store_unavailable",
        headers=[(b"retry-after", b"5")],
    )

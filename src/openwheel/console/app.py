"""Serves the console: its pages, its actions, and the stream that keeps open pages current."""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from functools import cache, partial
from importlib.resources import files
from pathlib import Path
from typing import Any, Final, get_args
from urllib.parse import urlencode

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route, Router
from starlette.types import ASGIApp

import openwheel
from openwheel.alerts import send_test
from openwheel.alerts.post import host_of, receiver_of
from openwheel.console import pages
from openwheel.console.board import Board
from openwheel.console.door import Asked, Door, LoginNeededError, RefusedError, Visitor
from openwheel.console.exchanges import find_page, review, view_exchange
from openwheel.console.http import (
    asked_of,
    content,
    html,
    read_form,
    redirect,
    stream_headers,
)
from openwheel.console.task import make_task_view
from openwheel.console.watch import Watch
from openwheel.errors import OpenwheelError, RequestError, SettingError, StoreError
from openwheel.loop.by_hand import promote_by_hand
from openwheel.loop.feedback.desk import FeedbackDesk
from openwheel.loop.registry import Registry
from openwheel.loop.settings import LoopSettings
from openwheel.settings import AlertSection, set_in_task
from openwheel.store import Store
from openwheel.store import alerts as deliveries
from openwheel.store.feedback import FeedbackStore, Verdict
from openwheel.store.traffic import Search

RANGES: Final = (1.0, 7.0, 30.0)
LOOK_EVERY_S: Final = 2.0
PING_EVERY_S: Final = 15.0
CHECK_EVERY_S: Final = 10.0
"""An open page's right to be kept current is checked so often."""
LONGEST_FIELD: Final = 1_000
DELIVERIES: Final = 50
STOP_S: Final = 1
"""For the server's end: open pages are streams without an end, and come back by themselves."""

_STATIC: Final = {
    "console.css": "text/css; charset=utf-8",
    "console.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}

Handler = Callable[["Request", Visitor, Asked], Awaitable[Response]]


class Console:
    """The console of one store.

    Args:
        store: Only read.
        door: Lets people in.
        settings: Those of the loop.
        actions: The same store, for what people do; None for a console that is only read.
        gateway: Returns the state of the gateway's parts in sentences, each with whether it is
            well; None without a gateway.
        hide_text: Whether texts of the traffic are hidden until a person asks for them.
        secret: That of the gateway whose workers pass requests on, ``""`` if there is none.
        config: The settings file, for the limits that people set; None if they cannot.
        reload: Has the gateway read the settings again.
        receivers: Of alerts.
    """

    def __init__(
        self,
        store: Store,
        door: Door,
        settings: LoopSettings,
        *,
        actions: Store | None = None,
        gateway: Callable[[], list[tuple[bool, str]]] | None = None,
        hide_text: bool = False,
        secret: str = "",
        config: Path | None = None,
        reload: Callable[[], None] = lambda: None,
        receivers: Sequence[AlertSection] = (),
    ) -> None:
        self._store = store
        self._door = door
        self._settings = settings
        self._actions = actions
        self._gateway = gateway
        self._hide_text = hide_text
        self._secret = secret
        self._config = config
        self._reload = reload
        self._receivers = receivers
        self._watch = Watch(store, settings.prices)
        self._desk = FeedbackDesk(actions) if actions is not None else None
        self._overviews: dict[float, tuple[Board, list[tuple[bool, str]], str]] = {}

    def app(self) -> ASGIApp:
        """Return the console as an ASGI app under ``/console``."""

        def page(path: str, handler: Handler) -> Route:
            return Route(f"/console{path}", partial(self._page, handler), methods=["GET"])

        def action(path: str, handler: Handler) -> Route:
            return Route(f"/console{path}", partial(self._action, handler), methods=["POST"])

        return Router(
            [
                page("", self._overview),
                page("/", self._overview),
                page("/tasks/{task}", self._task),
                page("/tasks/{task}/certificates/{certificate}", self._certificate),
                page("/exchanges", self._exchanges),
                page("/exchanges/{seq:int}", self._exchange),
                page("/review", self._review),
                page("/alerts", self._alerts),
                page("/events", self._events),
                action("/stop", partial(self._stop, stopped=True)),
                action("/resume", partial(self._stop, stopped=False)),
                action("/alerts/{number:int}/test", self._test_alert),
                action("/tasks/{task}/promote", self._promote),
                action("/tasks/{task}/demote", self._demote),
                action("/tasks/{task}/limit", self._set_limit),
                action("/exchanges/{seq:int}/judge", self._judge),
                Route("/console/login", self._login, methods=["GET", "POST"]),
                action("/logout", self._logout),
                Route("/console/static/{name}", self._static, methods=["GET"]),
            ],
            redirect_slashes=False,
            default=self._not_found,
        )

    # Who may.

    async def _page(self, handler: Handler, request: Request) -> Response:
        """Show a page to a person who may see it, with a session where one is needed for forms."""
        try:
            asked = asked_of(request, self._secret)
            visitor = await asyncio.to_thread(self._door.enter, asked)
            cookies = []
            if not visitor.token:
                visitor, secret = self._door.begin_local()
                cookies.append(self._door.cookie(secret, secure=asked.secure))
            response = await handler(request, visitor, asked)
        except LoginNeededError:
            return redirect(f"/console/login?{urlencode({'to': _target(request)})}")
        except (RefusedError, RequestError, SettingError, StoreError) as error:
            return self._failed(error)
        for cookie in cookies:
            response.headers.append("set-cookie", cookie)
        return response

    async def _action(self, handler: Handler, request: Request) -> Response:
        """Do what a person asks for with a form of this console."""
        try:
            asked = asked_of(request, self._secret)
            visitor = await asyncio.to_thread(self._door.enter, asked)
            form = await read_form(request)
            if handler == self._logout:
                self._door.require_meant(visitor, asked, form.get("token", ""))
            else:
                self._door.require_act(visitor, asked, form.get("token", ""))
                if self._actions is None:
                    raise RefusedError("This console only reads; it was opened on a store alone.")
            request.state.form = form
            return await handler(request, visitor, asked)
        except LoginNeededError:
            return redirect("/console/login")
        except OpenwheelError as error:
            return self._failed(error)

    def _failed(self, error: OpenwheelError) -> Response:
        status = getattr(error, "status", 503 if isinstance(error, StoreError) else 400)
        return html(pages.failure(str(error), status), status=status)

    async def _not_found(self, scope: Any, receive: Any, send: Any) -> None:
        response = html(pages.failure("There is no such page here.", 404), status=404)
        await response(scope, receive, send)

    async def _login(self, request: Request) -> Response:
        """Show the form to log in with a key, or take it."""
        try:
            asked = asked_of(request, self._secret)
            if request.method == "GET":
                try:
                    await asyncio.to_thread(self._door.enter, asked)
                except LoginNeededError:
                    return html(pages.login(_local(request.query_params.get("to", "")), ""))
                return redirect("/console")
            form = await read_form(request)
            pages_to = _local(form.get("to", ""))
            self._door.require_same_site(asked)
            try:
                secret = await asyncio.to_thread(
                    self._door.login, form.get("key", "").strip(), asked
                )
            except RefusedError as error:
                return html(pages.login(pages_to, str(error)), status=error.status)
        except OpenwheelError as error:
            return self._failed(error)
        return redirect(pages_to, cookies=[self._door.cookie(secret, secure=asked.secure)])

    async def _logout(self, _: Request, __: Visitor, asked: Asked) -> Response:
        self._door.logout(asked)
        return redirect(
            "/console/login", cookies=[self._door.cookie("", secure=asked.secure, ends=True)]
        )

    # What there is to see.

    def _frame(self, request: Request, visitor: Visitor) -> pages.Frame:
        return pages.Frame(
            visitor=visitor,
            acts=visitor.acts and self._actions is not None,
            path=request.url.path,
            logs_out=bool(visitor.key),
            statics=_versions(),
            version=openwheel.__version__,
            done=_said(request),
            sets_limits=self._config is not None,
        )

    async def _overview(self, request: Request, visitor: Visitor, _: Asked) -> Response:
        days = _days(request)
        board, parts, fragment = await asyncio.to_thread(self._board, days)
        del parts
        page = pages.overview(
            self._frame(request, visitor), board=board, fragment=fragment, ranges=RANGES
        )
        return html(page)

    def _board(
        self, days: float, *, fresh: bool = False
    ) -> tuple[Board, list[tuple[bool, str]], str]:
        """Return a board, the gateway's state, and both as the part of a page that changes."""
        board = self._watch.board(days, fresh=fresh)
        parts = self._gateway() if self._gateway is not None else []
        known = self._overviews.get(days)
        if known is None or known[0] is not board or known[1] != parts:
            with self._watch.lock:
                by_hour = self._watch.counts.by_hour(since=board.made - days * 86_400)
            fragment = pages.board(board, parts, by_hour, gateway=self._gateway is not None)
            known = self._overviews[days] = board, parts, fragment
        return known

    async def _task(self, request: Request, visitor: Visitor, _: Asked) -> Response:
        task = request.path_params["task"]

        def show() -> str:
            board = self._watch.board(_days(request))
            row = board.task(task)
            if row is None:
                raise RefusedError("There is no such task.", status=404)
            view = make_task_view(Registry(self._store), self._settings, row)
            with self._watch.lock:
                by_hour = self._watch.counts.by_hour(task, since=board.made - board.days * 86_400)
            return pages.task(
                self._frame(request, visitor),
                view=view,
                board=board,
                by_hour=by_hour,
                hidden=self._hidden(request),
            )

        return html(await asyncio.to_thread(show))

    async def _certificate(self, request: Request, _: Visitor, __: Asked) -> Response:
        task, identity = request.path_params["task"], request.path_params["certificate"]

        def find() -> bytes:
            for certificate in Registry(self._store).certificates(task):
                if certificate.id == identity:
                    return msgspec.json.format(msgspec.json.encode(certificate), indent=2)
            raise RefusedError("There is no such certificate.", status=404)

        body = await asyncio.to_thread(find)
        name = f'attachment; filename="certificate-{identity[:12]}.json"'
        return content(body, "application/json", headers={"content-disposition": name})

    async def _exchanges(self, request: Request, visitor: Visitor, _: Asked) -> Response:
        wanted = _search(request)

        def show() -> str:
            page = find_page(self._store, wanted)
            tasks = [(record.task.id, record.task.name) for record in self._registry().tasks()]
            return pages.exchanges(
                self._frame(request, visitor),
                page=page,
                wanted=wanted,
                tasks=tasks,
                hidden=self._hidden(request),
                query=dict(request.query_params),
            )

        return html(await asyncio.to_thread(show))

    async def _exchange(self, request: Request, visitor: Visitor, _: Asked) -> Response:
        return await asyncio.to_thread(
            self._show_exchange, request, visitor, request.path_params["seq"], None, 0
        )

    async def _review(self, request: Request, visitor: Visitor, _: Asked) -> Response:
        task = request.query_params.get("task", "")[:LONGEST_FIELD]
        skipped = _numbers(request.query_params.get("skip", ""))

        def show() -> Response:
            queue = review(self._store, task, skipped)
            if not queue:
                frame = self._frame(request, visitor)
                return html(pages.nothing_to_review(frame, task=task, skipped=len(skipped)))
            skip = ",".join(map(str, (*skipped, queue[0].seq)))
            onward = f"/console/review?{urlencode({'task': task, 'skip': skip})}"
            return self._show_exchange(request, visitor, queue[0].seq, onward, len(queue))

        return await asyncio.to_thread(show)

    def _show_exchange(
        self, request: Request, visitor: Visitor, seq: int, onward: str | None, left: int
    ) -> Response:
        view = view_exchange(self._store, seq)
        if view is None:
            raise RefusedError("There is no such exchange; it may have been deleted.", status=404)
        names = {key.id: key.name for key in self._door.all_keys()}
        page = pages.exchange(
            self._frame(request, visitor),
            view=view,
            names=names,
            hidden=self._hidden(request),
            onward=onward,
            left=left,
            back=_target(request),
        )
        return html(page)

    async def _alerts(self, request: Request, visitor: Visitor, _: Asked) -> Response:
        return await asyncio.to_thread(self._show_alerts, self._frame(request, visitor))

    def _show_alerts(self, frame: pages.Frame) -> Response:
        with self._store.read() as transaction:
            latest = deliveries.latest(transaction, limit=DELIVERIES)
        hosts = {receiver_of(section): host_of(section) for section in self._receivers}
        return html(pages.alerts(frame, receivers=self._receivers, hosts=hosts, latest=latest))

    def _hidden(self, request: Request) -> bool:
        return self._hide_text and request.query_params.get("show") != "text"

    async def _events(self, request: Request, _: Visitor, asked: Asked) -> Response:
        """Send the first screen's changes for as long as the page is open."""
        days = _days(request)
        return StreamingResponse(
            self._changes(days, asked), media_type="text/event-stream", headers=stream_headers()
        )

    async def _changes(self, days: float, asked: Asked) -> AsyncIterator[bytes]:
        shown: object = None
        sent = checked = time.monotonic()
        while True:
            try:
                board, _, fragment = await asyncio.to_thread(self._board, days)
            except OpenwheelError as error:
                yield _event("problem", str(error))
                board, fragment = None, ""
            now = time.monotonic()
            if fragment and fragment is not shown:
                stopped = board is not None and board.stopped
                yield _event("board", {"html": fragment, "stopped": stopped})
                shown, sent = fragment, now
            elif now - sent > PING_EVERY_S:
                yield b": still here\n\n"
                sent = now
            await asyncio.sleep(LOOK_EVERY_S)
            if now - checked > CHECK_EVERY_S:
                try:
                    await asyncio.to_thread(self._door.enter, asked)
                except OpenwheelError:
                    return
                checked = now

    # What there is to do.

    async def _test_alert(self, request: Request, visitor: Visitor, _: Asked) -> Response:
        """Post a test to a receiver of alerts, and say what came of it."""
        number = request.path_params["number"]
        if number >= len(self._receivers):
            raise RefusedError("There is no such receiver.", status=404)
        section = self._receivers[number]
        wrong = await asyncio.to_thread(send_test, section, visitor.name)
        said = (
            f"The test was not taken: {wrong}." if wrong else f"{host_of(section)} took the test."
        )
        frame = msgspec.structs.replace(self._frame(request, visitor), done=said)
        return await asyncio.to_thread(self._show_alerts, frame)

    async def _stop(
        self, request: Request, visitor: Visitor, _: Asked, *, stopped: bool
    ) -> Response:
        def change() -> None:
            self._acting().set_stopped(stopped, by=visitor.name)
            self._watch.board(_days(request), fresh=True)

        await asyncio.to_thread(change)
        return redirect("/console")

    async def _promote(self, request: Request, _: Visitor, __: Asked) -> Response:
        task = request.path_params["task"]
        against = request.state.form.get("against") == "yes"

        def change() -> None:
            promote_by_hand(self._acting(), self._settings, task, against_evidence=against)
            self._watch.board(_days(request), fresh=True)

        await asyncio.to_thread(change)
        return redirect(f"/console/tasks/{task}?done=promoted")

    async def _demote(self, request: Request, visitor: Visitor, _: Asked) -> Response:
        task = request.path_params["task"]

        def change() -> None:
            registry = self._acting()
            record = registry.find_task(task)
            reason = f"demoted in the console by {visitor.name}"
            registry.demote(record.task.id, by="user", reason=reason)
            self._watch.board(_days(request), fresh=True)

        await asyncio.to_thread(change)
        return redirect(f"/console/tasks/{task}?done=demoted")

    async def _set_limit(self, request: Request, _: Visitor, __: Asked) -> Response:
        """Write a task's epsilon into the settings file."""
        task, written = request.path_params["task"], request.state.form.get("epsilon", "")
        config = self._config
        if config is None:
            raise RefusedError("This console knows of no settings file.")
        try:
            epsilon = float(written)
        except ValueError:
            raise RefusedError(
                f"epsilon must be a number, was {written[:20]!r}", status=400
            ) from None
        if not 0 < epsilon < 1:
            raise RefusedError(f"epsilon must lie between 0 and 1, was {written}", status=400)

        def change() -> None:
            name = self._registry().find_task(task).task.name
            set_in_task(config, name, "epsilon", epsilon)
            self._reload()

        await asyncio.to_thread(change)
        return redirect(f"/console/tasks/{task}?done=limit")

    async def _judge(self, request: Request, visitor: Visitor, _: Asked) -> Response:
        seq, form = request.path_params["seq"], request.state.form
        verdict = form.get("verdict", "")
        onward = _local(form.get("onward", "")) if form.get("onward") else ""

        def change() -> None:
            if verdict == "none":
                assert self._actions is not None
                FeedbackStore(self._actions).forget(seq, visitor.key)
                return
            assert self._desk is not None
            chosen = next((name for name in get_args(Verdict) if name == verdict), None)
            if chosen is None:
                raise RefusedError(f"There is no verdict {verdict[:20]!r}.", status=400)
            self._desk.judge(seq, visitor.key, chosen, form.get("correction", ""))

        await asyncio.to_thread(change)
        return redirect(onward or f"/console/exchanges/{seq}?done=judged")

    def _acting(self) -> Registry:
        if self._actions is None:
            raise RefusedError("This console only reads; it was opened on a store alone.")
        return Registry(self._actions)

    def _registry(self) -> Registry:
        return Registry(self._store)

    async def _static(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in _STATIC:
            return html(pages.failure("There is no such file here.", 404), status=404)
        headers = {"cache-control": "public, max-age=31536000, immutable"}
        return content(_file(name), _STATIC[name], headers=headers)


def _search(request: Request) -> Search:
    """Read a search from a page's address.

    Raises:
        RefusedError: A field is not one there can be.
    """
    query = {name: value[:LONGEST_FIELD] for name, value in request.query_params.items()}
    pairs = query.get("pairs", "")
    if pairs not in {"", "both", "differ", "deferred"}:
        raise RefusedError(
            f"pairs must be both, differ or deferred, was {pairs[:20]!r}", status=400
        )
    before = query.get("before", "0")
    if not before.isascii() or not before.isdecimal() or len(before) > 18:
        raise RefusedError(f"before must be a number, was {before[:20]!r}", status=400)
    return Search(
        task_id=query.get("task", ""),
        source=query.get("source", ""),
        pairs=pairs,  # type: ignore[arg-type]
        answer=query.get("answer", ""),
        text=query.get("text", ""),
        key=query.get("key", ""),
        before=int(before),
    )


def _days(request: Request) -> float:
    """Return the range that a page's address asks for; by default a week."""
    asked = request.query_params.get("days", "")
    return next((days for days in RANGES if f"{days:g}" == asked), 7.0)


def _numbers(text: str) -> tuple[int, ...]:
    parts = text[:LONGEST_FIELD].split(",")
    return tuple(int(part) for part in parts if part.isascii() and part.isdecimal())


def _said(request: Request) -> str:
    return {
        "promoted": "The student answers from now on.",
        "demoted": "The teacher answers from now on.",
        "limit": "The limit is in the settings file. It holds for students certified from now on.",
        "judged": "Your judgement is kept.",
    }.get(request.query_params.get("done", ""), "")


def _target(request: Request) -> str:
    query = request.url.query
    return request.url.path + (f"?{query}" if query else "")


def _local(path: str) -> str:
    """Return a path of this console, so that no link can lead elsewhere."""
    safe = path.startswith("/console") and path[8:9] in {"", "/", "?"} and path.isprintable()
    return path if safe and "\\" not in path else "/console"


def _event(name: str, value: object) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (name.encode(), msgspec.json.encode(value))


@cache
def _file(name: str) -> bytes:
    if name == "console.css":
        shared = files("openwheel.web").joinpath("templates", "report.css").read_bytes()
        return shared + files("openwheel.console").joinpath("static", name).read_bytes()
    return files("openwheel.console").joinpath("static", name).read_bytes()


@cache
def _versions() -> Mapping[str, str]:
    """Return the address of each file, which changes with its content."""
    return {
        name: f"/console/static/{name}?{hashlib.sha256(_file(name)).hexdigest()[:12]}"
        for name in _STATIC
    }

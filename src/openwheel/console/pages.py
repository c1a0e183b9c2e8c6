"""Renders the console's pages from what the other modules put together."""

import datetime
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Final
from urllib.parse import urlencode

import msgspec
from jinja2 import Environment
from markupsafe import Markup, escape

from openwheel.alerts.post import host_of
from openwheel.console import plots
from openwheel.console.board import Board
from openwheel.console.counts import Count
from openwheel.console.door import Visitor
from openwheel.console.exchanges import ExchangeView, Page
from openwheel.console.task import TaskView
from openwheel.loop.turn.certify import promise
from openwheel.settings import AlertSection
from openwheel.store.alerts import Delivery
from openwheel.store.traffic import Search
from openwheel.web.environment import make_environment

HOURS_IN_TABLE: Final = 48


class Frame(msgspec.Struct, frozen=True, kw_only=True):
    """What every page has.

    Attributes:
        visitor: The person.
        acts: Whether the person may act here.
        path: The page's.
        logs_out: Whether there is a login to end.
        statics: The addresses of the style sheet, the script and the icon.
        version: Of Openwheel.
        done: What the person has just done, in a sentence; ``""`` for nothing.
        sets_limits: Whether a task's epsilon can be written into the settings file.
    """

    visitor: Visitor
    acts: bool
    path: str
    logs_out: bool
    statics: Mapping[str, str]
    version: str
    done: str
    sets_limits: bool


def overview(frame: Frame, *, board: Board, fragment: str, ranges: Sequence[float]) -> str:
    """Return the first screen."""
    return _render(
        "overview.html.jinja",
        frame=frame,
        board=board,
        fragment=Markup(fragment),  # rendered, and escaped, by `board`
        ranges=ranges,
    )


def board(
    board: Board, parts: Sequence[tuple[bool, str]], by_hour: Mapping[int, Count], *, gateway: bool
) -> str:
    """Return the part of the first screen that changes."""
    return _render(
        "board.html.jinja",
        board=board,
        parts=parts,
        gateway=gateway,
        rows=[(row, plots.promise_bar(row.audit)) for row in board.tasks],
        by_hour=_latest(by_hour),
        plot=plots.share_by_hour(by_hour, now=board.made, days=board.days),
    )


def task(
    frame: Frame,
    *,
    view: TaskView,
    board: Board,
    by_hour: Mapping[int, Count],
    hidden: bool,
) -> str:
    """Return a task's page."""
    certificate = view.promotion.certificate if view.promotion is not None else None
    epsilon = certificate.epsilon if certificate is not None else view.limit
    frontier = view.frontier
    return _render(
        "task.html.jinja",
        frame=frame,
        view=view,
        row=view.row,
        board=board,
        certificate=certificate,
        epsilon=epsilon,
        bar=plots.promise_bar(view.row.audit),
        monitors=plots.live_disagreement(view.moments, epsilon),
        frontier_plot=plots.live_frontier(frontier, epsilon) if frontier is not None else None,
        traffic=plots.share_by_hour(by_hour, now=board.made, days=board.days),
        learning=plots.coverage_by_training(view.students),
        by_hour=_latest(by_hour),
        hidden=hidden,
        happenings=[one for one in board.happenings if one.task_id == view.row.id],
        moments=view.moments[:: max(1, len(view.moments) // 20)],
    )


def exchanges(
    frame: Frame,
    *,
    page: Page,
    wanted: Search,
    tasks: Sequence[tuple[str, str]],
    hidden: bool,
    query: Mapping[str, str],
) -> str:
    """Return a page of a search."""
    onward = ""
    if page.next_before:
        onward = "/console/exchanges?" + urlencode({**query, "before": page.next_before})
    return _render(
        "exchanges.html.jinja",
        frame=frame,
        page=page,
        wanted=wanted,
        tasks=tasks,
        hidden=hidden,
        onward=onward,
        shown="/console/exchanges?" + urlencode({**query, "show": "text"}),
    )


def exchange(
    frame: Frame,
    *,
    view: ExchangeView,
    names: Mapping[int, str],
    hidden: bool,
    onward: str | None,
    left: int,
    back: str,
) -> str:
    """Return the page of an exchange; in the review queue with what is left of it."""
    mine = next((one for one in view.feedback if one.key == frame.visitor.key), None)
    shown = back + ("&" if "?" in back else "?") + "show=text"
    return _render(
        "exchange.html.jinja",
        frame=frame,
        view=view,
        names=names,
        hidden=hidden,
        onward=onward,
        left=left,
        mine=mine,
        shown=shown,
        student_asked=view.student is not None,
    )


def nothing_to_review(frame: Frame, *, task: str, skipped: int) -> str:
    """Return the page of an empty review queue."""
    return _render("review.html.jinja", frame=frame, task=task, skipped=skipped)


def alerts(
    frame: Frame,
    *,
    receivers: Sequence[AlertSection],
    hosts: Mapping[str, str],
    latest: Sequence[Delivery],
) -> str:
    """Return the page of alerts: who receives them, and what was sent."""
    return _render(
        "alerts.html.jinja",
        frame=frame,
        receivers=[(host_of(section), section) for section in receivers],
        hosts=hosts,
        latest=latest,
    )


def login(to: str, problem: str) -> str:
    """Return the form to log in with a key."""
    return _render("login.html.jinja", to=to, problem=problem)


def failure(message: str, status: int) -> str:
    """Return the page of an error."""
    return _render("failure.html.jinja", message=message, status=status)


def moment(seconds: float | None) -> Markup:
    """Return a time; the script of the page puts it into the reader's zone.

    Examples:
        >>> str(moment(0.0)), str(moment(None))
        ('<time datetime="1970-01-01T00:00:00Z">1970-01-01 00:00:00 UTC</time>', '–')
    """
    if seconds is None or not -1e11 < seconds < 2e11:
        return Markup("–")
    when = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return Markup('<time datetime="{}">{}</time>').format(
        when.strftime("%Y-%m-%dT%H:%M:%SZ"), when.strftime("%Y-%m-%d %H:%M:%S UTC")
    )


def duration(seconds: float | None) -> str:
    """Return a span of time with its unit.

    Examples:
        >>> duration(0.0123), duration(5.0), duration(5400.0), duration(-7200.0), duration(None)
        ('12.3 ms', '5.0 s', '1.5 h', '-2.0 h', '–')
    """
    if seconds is None:
        return "–"
    for least, unit in ((86_400 * 2, "days"), (3_600, "h"), (60, "min"), (1, "s")):
        if abs(seconds) >= least:
            size = {"days": 86_400, "h": 3_600, "min": 60, "s": 1}[unit]
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds * 1000:.3g} ms"


def dollars(amount: float | None) -> str:
    """Return an amount of money.

    Examples:
        >>> dollars(1234.5), dollars(0.00123), dollars(-2.0), dollars(0.0), dollars(None)
        ('$1,234.50', '$0.00123', '-$2.00', '$0.00', '–')
    """
    if amount is None:
        return "–"
    sign = "-" if amount < 0 else ""
    size = abs(amount)
    return f"{sign}${size:,.2f}" if size >= 0.1 or size == 0 else f"{sign}${size:.3g}"


def pieces(parts: Sequence[Any]) -> Markup:
    """Return an answer with what the other answer does not have marked."""
    return Markup("").join(
        escape(part.text) if part.same else Markup("<mark>{}</mark>").format(part.text)
        for part in parts
    )


def _latest(by_hour: Mapping[int, Count]) -> list[tuple[float, Count]]:
    """Return the latest hours with requests, each with its start in seconds, newest first."""
    hours = [(hour * 3600.0, one) for hour, one in by_hour.items() if one.requests]
    return sorted(hours, key=lambda pair: -pair[0])[:HOURS_IN_TABLE]


def _render(name: str, **values: Any) -> str:
    return _environment().get_template(name).render(**values)


@cache
def _environment() -> Environment:
    environment = make_environment("openwheel.console", "openwheel.web")
    environment.filters.update(moment=moment, duration=duration, dollars=dollars, pieces=pieces)
    environment.globals.update(promise=promise)
    return environment

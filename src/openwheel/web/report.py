"""The report on a turn: one HTML file that needs nothing else.

It asks for no network, runs no script and forbids both, since what it shows comes from logs that
anyone may have written into. Source of the policy: W3C, Content Security Policy Level 3.
"""

import os
import uuid
from functools import cache
from pathlib import Path

import msgspec
from jinja2 import Environment
from markupsafe import Markup

from openwheel.errors import SettingError
from openwheel.loop.offline.findings import Finding, Findings
from openwheel.loop.turn.certify import promise
from openwheel.web import plots
from openwheel.web.environment import make_environment

OPEN_AT_MOST = 5
"""A report on more tasks starts with only the first one unfolded."""


class _Task(msgspec.Struct, frozen=True):
    """What the template shows of one finding."""

    anchor: str
    unfolded: bool
    finding: Finding
    observed: float | None
    figures: tuple[tuple[Markup, str], ...]
    heat: tuple[tuple[plots.Cell, ...], ...]
    missing: tuple[str, ...]


def render_report(findings: Findings) -> str:
    """Return the report as one HTML page that can be written as UTF-8 whatever the log held."""
    tasks = [
        _task(finding, anchor=f"task-{i}", unfolded=i == 1 or len(findings.tasks) <= OPEN_AT_MOST)
        for i, finding in enumerate(findings.tasks, start=1)
    ]
    certified = [finding for finding in findings.tasks if finding.certified]
    answered = sum(finding.n * finding.coverage for finding in certified)
    return (
        _environment()
        .get_template("report.html.jinja")
        .render(
            findings=findings,
            tasks=tasks,
            certified=len(certified),
            share=answered / findings.exchanges if certified and findings.exchanges else None,
        )
    )


def write_report(findings: Findings, path: Path) -> None:
    """Write the report, whole or not at all; a report already there is replaced.

    Raises:
        SettingError: The file cannot be written.
    """
    page = render_report(findings).encode()
    # Beside it, so that the rename stays on one file system; a link is followed, not replaced.
    target = path.resolve()
    scratch = target.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        try:
            with scratch.open("xb") as file:
                file.write(page)
                file.flush()
                os.fsync(file.fileno())
            scratch.replace(target)
        finally:
            scratch.unlink(missing_ok=True)
    except OSError as error:
        raise SettingError(
            f"the report cannot be written to {path}: {error.strerror or error}"
        ) from error


def _task(finding: Finding, *, anchor: str, unfolded: bool) -> _Task:
    """Draw what can be drawn of a finding, and name what cannot."""
    drawn = (
        (
            "coverage against disagreement",
            plots.trade_off(finding),
            "Each point of the solid line is a threshold. Only the marked one was certified."
            if finding.certified
            else "Each point of the solid line is a threshold. None of them was certified.",
        ),
        (
            "learning curve",
            plots.learning_curve(finding.learning_curve),
            "Still rising at the right: more exchanges should help. Flat: they would hardly help.",
        ),
        (
            "confidence reliability",
            plots.reliability(finding.reliability),
            "Below the diagonal the student is surer than it should be. The certificate does not "
            "rest on this.",
        ),
    )
    heat = plots.heat_table(finding.confusion)
    missing = [name for name, figure, _ in drawn if figure is None]
    if finding.confusion is None or not finding.confusion.labels:
        missing.append("confusion of labels")
    return _Task(
        anchor=anchor,
        unfolded=unfolded,
        finding=finding,
        observed=finding.observed,
        figures=tuple((figure, caption) for _, figure, caption in drawn if figure is not None),
        heat=heat,
        missing=tuple(missing),
    )


@cache
def _environment() -> Environment:
    environment = make_environment("openwheel.web")
    environment.globals.update(promise=promise)
    return environment

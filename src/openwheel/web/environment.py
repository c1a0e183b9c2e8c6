"""Makes the Jinja environment of pages: everything is escaped, and numbers are written one way."""

from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from openwheel.web import text

LONGEST_TEXT = 5_000
"""Characters of one text of the traffic that a page carries; it is no copy of the log."""


def make_environment(*packages: str) -> Environment:
    """Return an environment whose templates are those of these packages, the first before others.

    What is printed is made showable and escaped, but for markup that was made here.
    """
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(package) for package in packages]),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        bound=text.bound,
        count=text.count,
        limit=text.limit,
        percent=text.percent,
        score=text.score,
        shorten=text.shorten,
    )
    environment.globals.update(longest=LONGEST_TEXT)
    return environment


def _shown(value: Any) -> Any:
    """Make text showable before it is escaped; markup made here passes."""
    return text.clean(value) if isinstance(value, str) and not isinstance(value, Markup) else value

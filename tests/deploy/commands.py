"""Parses a command line as ``openwheel`` would, without running it."""

import typer.main
from typer.core import TyperGroup

from openwheel.cli import app


def parse(arguments: list[str]) -> dict[str, object]:
    """Return what the command takes from the arguments.

    An argument that it does not know is an error, as it is on a terminal.
    """
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    command = group.commands[arguments[0]]
    context = command.make_context(arguments[0], arguments[1:])
    return dict(context.params)

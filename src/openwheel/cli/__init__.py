"""The commands: thin, one module for each kind of job.

What is heavy is imported by the command that needs it, so that ``openwheel --help`` is quick.
"""

import sys

import typer

from openwheel import __version__
from openwheel.cli import (
    audits,
    check,
    console,
    edge,
    export,
    feedback,
    inspect,
    keys,
    learning,
    logs,
    models,
    policy,
    running,
    serve,
    store,
)
from openwheel.cli.output import complain
from openwheel.errors import OpenwheelError

app = typer.Typer(
    name="openwheel",
    help="Learn the tasks in your LLM's traffic and answer them with certified students.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for command in (
    *(learning.learn, learning.evaluate, learning.replay),
    *(running.up, running.learner, running.turn),
    *(inspect.tasks, inspect.students, inspect.certificates, inspect.verify),
    *(inspect.shadow, inspect.promote, inspect.demote, inspect.stop, inspect.resume),
    *(audits.audits, check.check, policy.policy, policy.lineage),
    *(serve.serve, export.export, feedback.feedback, console.console),
    *(edge.bundle, edge.edge),
):
    app.command()(command)
for group in (logs.app, keys.app, models.app, store.app):
    app.add_typer(group)


def _version(show: bool) -> None:
    if show:
        print(__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Show the version."
    ),
) -> None:
    del version  # its callback did all there is to do


def main() -> None:
    """Run the command line; errors that are the operator's to mend are a line, and exit code 2."""
    try:
        app()
    except OpenwheelError as error:
        complain(str(error))
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # the reader of our output has seen enough
        sys.stderr.close()
        sys.exit(141)


__all__ = ["app", "main"]

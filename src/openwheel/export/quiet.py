"""Keeps libraries' progress bars and advice off a command's output."""

from transformers.utils import logging


def quiet() -> None:
    """Let transformers say errors only; what matters to the user is said by the command."""
    logging.set_verbosity_error()
    logging.disable_progress_bar()

"""A model on this machine, ready to be served: its GGUF file, and how llama.cpp runs it."""

import importlib.util
import os

from openwheel.errors import ModelError
from openwheel.inference.base_file import base_file
from openwheel.inference.front import Front
from openwheel.inference.llama_cpp import Run
from openwheel.settings import EngineSection

CONTEXT = 4096
"""Tokens of a prompt with its answer, where neither settings nor an adapter say more."""


def make_front(
    source: str, section: EngineSection, *, name: str = "", revision: str = "", context: int = 0
) -> Front:
    """Return what serves a model, not started yet.

    Args:
        source: A GGUF file, a folder, or an id of the hub.
        section: How models are run on this machine.
        name: What the base is served as; by default ``source``.
        revision: With a hub id: its commit.
        context: Tokens of a prompt with its answer, where the settings leave it open and adapters
            need no more.

    Raises:
        ModelError: llama.cpp is not installed, there is no such model, or it cannot be written as
            GGUF.
    """
    if importlib.util.find_spec("xllamacpp") is None:
        raise ModelError(
            "Serving a model on this machine needs the extra `serve` "
            "(pip install 'openwheel[serve]')"
        )
    file = base_file(source, revision=revision, precision=section.precision)
    run = Run(
        model=str(file),
        name=name or source,
        slots=section.slots,
        context=section.context or context or CONTEXT,
        threads=section.threads or os.cpu_count() or 1,
        exact=section.precision == "f32",
    )
    return Front(run, max_queue=section.max_queue)

"""Tiny checkpoints, random adapters of theirs, and llama.cpp that serves them in a thread."""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from openwheel.inference.front import Front
from openwheel.inference.gguf import write_gguf
from openwheel.inference.gguf.lora import write_lora
from openwheel.inference.llama_cpp import Run
from openwheel.inference.needs import GGUF
from openwheel.inference.remote import RemoteWriter
from openwheel.inference.server import serving


def gguf_of(folder: Path, *, precision: str = "f32") -> Path:
    """Write a checkpoint as GGUF beside itself."""
    file = folder / f"{precision}.gguf"
    if not file.exists():
        write_gguf(folder, file, precision=precision, name="tiny")
    return file


def random_adapter(base: Path, folder: Path, *, seed: int = 1, size: float = 0.1) -> Path:
    """Write an adapter with random weights, as PEFT and as GGUF."""
    import torch

    from openwheel.settings import LmSection
    from openwheel.students.lm.adapter import add_adapter, learned, save_adapter
    from openwheel.students.lm.base import load_base

    loaded = load_base(str(base))
    model = add_adapter(loaded, LmSection(base=str(base), rank=4))
    torch.manual_seed(seed)
    with torch.no_grad():
        for weight in learned(model).values():
            weight.normal_(0, size)
    save_adapter(model, learned(model), folder)
    write_lora(folder, folder / GGUF, loaded.model.config)
    return folder


@contextlib.contextmanager
def front_thread(
    file: Path,
    *,
    name: str = "tiny",
    adapters: Mapping[str, Path] | None = None,
    max_queue: int = 512,
    **run: Any,
) -> Iterator[tuple[Front, str]]:
    """Serve a GGUF file from a thread on a free port; yields the front and its URL."""
    told = {"slots": 2, "context": 512, "threads": 1, "exact": True, **run}
    front = Front(Run(model=str(file), name=name, **told), max_queue=max_queue)
    with serving(front, adapters) as url:
        yield front, url


@contextlib.contextmanager
def writer_of(folder: Path, **run: Any) -> Iterator[RemoteWriter]:
    """Serve a checkpoint, and ask it."""
    with (
        front_thread(gguf_of(folder), name=str(folder), **run) as (_, url),
        contextlib.closing(RemoteWriter(url)) as writer,
    ):
        yield writer

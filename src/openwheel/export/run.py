"""Exports one student from its folder to a folder that other software loads."""

import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

import msgspec

from openwheel.errors import ModelError
from openwheel.export.adapter import write_adapter
from openwheel.export.compare import Agreement
from openwheel.export.folder import bytes_of, whole_folder
from openwheel.export.merged import PRECISIONS as MERGED_PRECISIONS
from openwheel.export.merged import bytes_needed, write_merged
from openwheel.export.onnx import write_encoder
from openwheel.export.source import Source
from openwheel.inference.checkpoint import find_checkpoint
from openwheel.inference.gguf import PRECISIONS as GGUF_PRECISIONS
from openwheel.inference.gguf import GgufReport, write_gguf
from openwheel.inference.gguf.quantization import bytes_needed as gguf_bytes
from openwheel.students.rung import sha256_of

Form = Literal["adapter", "merged", "gguf", "onnx"]
DEFAULT_PRECISION = {"merged": "bf16", "gguf": "bf16"}
# What goes with a licence's derivative: its text, its notices, its rules of use.
_LEGAL = re.compile(r"(LICEN[CS]E|NOTICE|USE_POLICY|COPYING)([._-].*)?", re.IGNORECASE)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._ -]{0,127}")
# Merged weights that a GGUF file is made of, by its precision.
_BEFORE = {"f32": "fp32", "q8_0": "fp32", "f16": "fp16", "bf16": "bf16"}


class Exported(msgspec.Struct, frozen=True, kw_only=True):
    """A finished export.

    Attributes:
        folder: Where it is.
        form: ``adapter``, ``merged``, ``gguf`` or ``onnx``.
        precision: Of the weights; ``""`` for an adapter, which stays as it was learned.
        name: What the model is called.
        base: The base's name.
        files: sha256 of each file.
        bytes: Of all files.
        agreement: How near the merged model's logits are to those of base and adapter.
        gguf: What the GGUF file says.
        likeness: Of an encoder in ONNX: mean cosine of its vectors to the original's, where the
            original is at hand.
        notes: What to know before using it, in a sentence each.
    """

    folder: str
    form: str
    precision: str
    name: str
    base: str
    files: dict[str, str]
    bytes: int
    agreement: Agreement | None = None
    gguf: GgufReport | None = None
    likeness: float | None = None
    notes: tuple[str, ...] = ()


def export(
    source: Source,
    target: Path,
    *,
    form: Form,
    precision: str = "",
    name: str,
    papers: Callable[[Exported], Mapping[str, str]] = lambda _: {},
    license_id: str = "",
) -> Exported:
    """Export a student; nothing is left at ``target`` if it fails.

    Args:
        source: What to export.
        target: A folder that does not exist yet, or is empty.
        form: ``adapter``, ``merged``, ``gguf`` or ``onnx``.
        precision: ``bf16``, ``fp16`` or ``fp32`` for merged weights; ``bf16``, ``f16``, ``f32`` or
            ``q8_0`` for GGUF; ``""`` for ``bf16``.
        name: What the model is called.
        papers: Returns the texts that go with it, by file name: its card and its lineage. What
            is said of the export is known by then, but for these files themselves.
        license_id: An SPDX id or LicenseRef, if known.

    Raises:
        ModelError: It cannot be exported so, the export differs from the original, or it cannot
            be written.
    """
    if not _NAME.fullmatch(name):
        raise ModelError(
            "The name of an export must be of letters, digits, blanks, dots, dashes and "
            f"underscores, was {name!r}"
        )
    precision = _precision(form, precision)
    if source.encoder != (form == "onnx"):
        can = "as onnx only" if source.encoder else "as adapter, merged or gguf"
        raise ModelError(f"This student can be exported {can}, not as {form}")
    checkpoint = None if source.encoder else find_checkpoint(source.base, revision=source.revision)
    likeness: float | None = None
    agreement: Agreement | None = None
    gguf: GgufReport | None = None
    notes: list[str] = []
    with whole_folder(target, _needs(source, form, precision)) as folder:
        if form == "adapter":
            write_adapter(source, folder)
            if Path(source.base).is_dir():
                notes.append(
                    f"The adapter names its base as a folder of this machine ({source.base}); "
                    "elsewhere it has to be told where the base is."
                )
        elif form == "merged":
            agreement = write_merged(source, folder, precision=precision)
        elif checkpoint is None:
            precision, likeness = write_encoder(source, folder)
        else:
            merged, work = checkpoint.path, folder / "merged"
            if source.adapter is not None:
                work.mkdir()
                agreement = write_merged(source, work, precision=_BEFORE[precision])
                merged = work
            gguf = write_gguf(
                merged,
                folder / f"{name.replace(' ', '-')}-{precision}.gguf",
                precision=precision,
                name=name,
                license_id=license_id,
                texts=source.texts,
            )
            notes += gguf.notes
            shutil.rmtree(work, ignore_errors=True)
        beside = checkpoint.path if checkpoint else Path(source.base)
        for path in sorted(beside.iterdir()) if beside.is_dir() else ():
            if path.is_file() and _LEGAL.fullmatch(path.name):
                shutil.copyfile(path, folder / path.name)
        done = Exported(
            folder=str(target),
            form=form,
            precision=precision,
            name=name,
            base=source.base,
            files=_hashes(folder),
            bytes=bytes_of(folder),
            agreement=agreement,
            gguf=gguf,
            likeness=likeness,
            notes=tuple(notes),
        )
        return add_papers(done, folder, papers(done))


def add_papers(done: Exported, folder: Path, papers: Mapping[str, str]) -> Exported:
    """Write papers beside an export, below a notice of the base's; return it with their hashes."""
    for file, text in papers.items():
        path = folder / file
        before = path.read_text(encoding="utf-8").rstrip() + "\n\n" if path.exists() else ""
        path.write_text(before + text, encoding="utf-8")
    return msgspec.structs.replace(done, files=_hashes(folder), bytes=bytes_of(folder))


def has_licence(done: Exported) -> bool:
    """Return whether a licence's text is among the files."""
    return any(
        _LEGAL.fullmatch(file) and not file.upper().startswith("NOTICE") for file in done.files
    )


def _hashes(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): sha256_of(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _precision(form: Form, precision: str) -> str:
    precisions = {
        "adapter": (),
        "merged": tuple(MERGED_PRECISIONS),
        "gguf": GGUF_PRECISIONS,
        "onnx": (),
    }[form]
    if not precision:
        return DEFAULT_PRECISION.get(form, "")
    if not precisions:
        subject = "An adapter keeps" if form == "adapter" else "An encoder in ONNX keeps"
        raise ModelError(f"{subject} the precision it was made in; leave --precision out")
    if precision not in precisions:
        raise ModelError(
            f"The precision of {form} weights must be one of {', '.join(precisions)}, "
            f"was {precision!r}"
        )
    return precision


def _needs(source: Source, form: Form, precision: str) -> int:
    """Return about how many bytes of disk the export takes while it is made."""
    if form in {"adapter", "onnx"}:
        return 0
    if form == "merged":
        return bytes_needed(source, precision)
    before = bytes_needed(source, _BEFORE[precision]) if source.adapter is not None else 0
    return before + gguf_bytes(bytes_needed(source, "fp32") // 4, precision)

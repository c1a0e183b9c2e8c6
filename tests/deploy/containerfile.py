"""Reads a Containerfile: its instructions, stage by stage."""

from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
CONTAINERFILE = ROOT / "deploy" / "Containerfile"


class Instruction(NamedTuple):
    """One instruction, on one line."""

    word: str
    rest: str


def instructions(path: Path = CONTAINERFILE) -> list[Instruction]:
    """Return the instructions of all stages, without comments."""
    lines = [
        line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#")
    ]
    whole = "\n".join(lines).replace("\\\n", " ")
    found = [line.split(None, 1) for line in whole.splitlines() if line.strip()]
    return [Instruction(word, " ".join(rest.split())) for word, rest in found]


def stages() -> list[list[Instruction]]:
    """Return each stage's instructions, from its FROM on."""
    found: list[list[Instruction]] = []
    for one in instructions():
        if one.word == "FROM":
            found.append([])
        if found:
            found[-1].append(one)
    return found


def context() -> list[Path]:
    """Return the files that a builder is sent, relative to the root, by .containerignore."""
    patterns = [
        line
        for line in (ROOT / ".containerignore").read_text(encoding="utf-8").splitlines()
        if line and not line.startswith("#")
    ]
    assert patterns[0] == "*"
    sent: set[Path] = set()
    for pattern in patterns[1:]:
        if pattern.startswith("!"):
            for path in ROOT.glob(pattern[1:]):
                sent |= {path} if path.is_file() else set(path.rglob("*"))
        else:
            assert pattern == "**/__pycache__"
            sent = {path for path in sent if "__pycache__" not in path.parts}
    return sorted(path.relative_to(ROOT) for path in sent if path.is_file())

"""From nothing to a served model: seconds and megabytes, and that torch is not there.

    python benchmarks/fresh.py

Makes a virtual environment, installs into it what is locked for the core and for the extra
``serve``, and Openwheel from this tree; nothing is taken from pip's cache. It then serves a tiny
GGUF file and asks for an answer. The file is made beforehand, by the environment that runs this
script (random weights of Llama's architecture), since making one takes torch. Fails if torch can be
imported in the new environment.
"""

import argparse
import contextlib
import json
import os
import re
import shutil
import subprocess
import tempfile
import time
import urllib.request
import venv
from pathlib import Path
from typing import Any

from gateway_bench.processes import cpu_seconds, rss_mb, tree
from lm_bench.made import make_base
from shared import about

ROOT = Path(__file__).resolve().parents[1]
NOT_THERE = ("torch", "transformers", "peft", "onnxruntime")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cached", action="store_true", help="let pip use its cache")
    chosen = parser.parse_args()
    print(about("benchmarks/fresh.py"))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        file = _made(folder)
        began = time.monotonic()
        new = folder / "venv"
        venv.create(new, with_pip=True)
        python, bare = new / "bin" / "python", _megabytes(new)
        made = time.monotonic() - began
        _install(folder, python, ["--no-cache-dir"] * (not chosen.cached))
        installed = time.monotonic() - began
        print(
            f"environment {made:.0f} s, {bare:.0f} MB; with Openwheel and its extra serve "
            f"{installed:.0f} s, {_megabytes(new):.0f} MB"
        )
        _serve(python, file)
        print(f"from nothing to the first answer: {time.monotonic() - began:.0f} s")


def _made(folder: Path) -> Path:
    """Return a tiny GGUF file."""
    from openwheel.inference.gguf import write_gguf

    base, file = folder / "tiny", folder / "tiny.gguf"
    make_base(base, ["Where is my parcel?", "It is on its way."], shape="tiny", vocabulary=300)
    write_gguf(base, file, precision="q8_0", name="tiny")
    return file


def _install(folder: Path, python: Path, options: list[str]) -> None:
    """Install what is locked, with hashes, then Openwheel without looking for more."""
    locked = (ROOT / "requirements" / "test.txt").read_text(encoding="utf-8")
    serve = re.search(r"^xllamacpp==.*(?:\n +.*)*", locked, re.MULTILINE)
    assert serve is not None
    (folder / "serve.txt").write_text(serve[0] + "\n", encoding="utf-8")
    pip = [str(python), "-m", "pip", "install", "--quiet", "--no-deps", *options]
    run = ROOT / "requirements" / "run.txt"
    subprocess.run([*pip, "--require-hashes", "-r", run, "-r", folder / "serve.txt"], check=True)
    tree_copy = folder / "openwheel"  # building writes nothing into this tree
    shutil.copytree(ROOT / "src", tree_copy / "src", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree_copy)
    subprocess.run([*pip, tree_copy], check=True)


def _serve(python: Path, file: Path) -> None:
    """Serve the file with the new environment, ask for an answer, and print what it took."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    find = f"from importlib.util import find_spec; print([n for n in {NOT_THERE} if find_spec(n)])"
    there = subprocess.run(
        [python, "-c", find], check=True, capture_output=True, text=True, env=environment
    ).stdout.strip()
    print(f"of {', '.join(NOT_THERE)} there are: {there}")
    if there != "[]":
        raise SystemExit("an environment that serves needs none of them")
    options = ["--port", "0", "--json", "--name", "tiny"]
    command = [str(python), "-m", "openwheel", "serve", str(file), *options]
    began = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as process:
        try:
            assert process.stdout is not None
            url = json.loads(process.stdout.readline())["url"]
            ready = time.monotonic() - began
            _ask(url)
            answered = time.monotonic() - began
            mapped = [pid for pid in tree(process.pid) if "torch" in _maps(pid)]
            print(
                f"served: ready after {ready:.1f} s, answered after {answered:.1f} s, "
                f"{cpu_seconds(process.pid):.1f} s of CPU, {rss_mb(process.pid):.0f} MB in all "
                f"processes, torch in none of them: {not mapped}"
            )
        finally:
            process.terminate()


def _ask(url: str) -> None:
    asked: dict[str, Any] = {"model": "tiny", "max_tokens": 8}
    asked["messages"] = [{"role": "user", "content": "Where is my parcel?"}]
    request = urllib.request.Request(
        f"{url}/v1/chat/completions",
        json.dumps(asked).encode(),
        {"content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as response:
        assert json.load(response)["choices"][0]["message"]["role"] == "assistant"


def _maps(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/maps").read_text()
    return ""


def _megabytes(folder: Path) -> float:
    return sum(path.lstat().st_size for path in folder.rglob("*")) / 1e6


if __name__ == "__main__":
    main()

"""The image: what is in it, who runs it, and that its steps make a gateway that answers."""

import contextlib
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.commands import parse
from deploy.containerfile import ROOT, context, instructions, stages
from openwheel.sockets import listen

LOCKS = ("image.txt", "image-ray.txt")
FIRST, LAST = stages()


def words(stage, word):
    return [one.rest for one in stage if one.word == word]


def pinned(name):
    """Return the versions that a lock names, and whether each has a hash."""
    text = (ROOT / "requirements" / name).read_text(encoding="utf-8")
    entries = re.split(r"\n(?=\S)", text.strip())
    assert all("--hash=sha256:" in entry for entry in entries if not entry.startswith("#")), name
    return set(re.findall(r"^([\w.-]+==[^ ;]+)", text, re.MULTILINE))


@pytest.mark.parametrize("lock", LOCKS)
def test_what_is_installed_is_what_was_tested(lock):
    more = {one for one in pinned(lock) if one.startswith("grpcio==")}  # of ray[client] alone
    assert pinned(lock) - more <= pinned("test.txt")
    assert bool(more) == ("ray" in lock)
    assert pinned("run.txt") <= pinned(lock)
    assert any(one.startswith("psycopg==") for one in pinned(lock))


def test_both_stages_begin_with_one_base_and_only_the_environment_goes_over():
    assert {one.rest.split()[0] for one in (FIRST[0], LAST[0])} == {
        "docker.io/library/python:${PYTHON}"
    }
    assert words(LAST, "COPY") == ["--from=build /opt/openwheel /opt/openwheel"]
    assert not words(LAST, "ADD")


def test_it_runs_as_nobody_in_particular():
    (user,) = words(LAST, "USER")
    assert re.fullmatch(r"[1-9]\d{3,}:[1-9]\d{3,}", user)
    assert words(FIRST, "USER") == []


def test_no_secret_is_in_a_layer():
    """Neither as a variable or an argument of the build, nor among the files that are sent."""
    secret = re.compile(r"key|token|secret|password|pgpass", re.IGNORECASE)
    for one in instructions():
        if one.word in {"ENV", "ARG", "LABEL"}:
            assert not secret.search(one.rest), one
    sent = {path.as_posix() for path in context()}
    assert {"pyproject.toml", "README.md", "LICENSE", "requirements/image.txt"} <= sent
    allowed = {path for path in sent if "/" not in path}
    assert allowed == {"pyproject.toml", "README.md", "LICENSE"}
    roots = {path.partition("/")[0] for path in sent if "/" in path}
    assert roots == {"requirements", "src"}
    assert (ROOT / ".dockerignore").read_bytes() == (ROOT / ".containerignore").read_bytes()


def test_what_is_copied_is_sent():
    sent = {path.as_posix() for path in context()}
    for copied in words(FIRST, "COPY"):
        for source in copied.split()[:-1]:
            assert any(path == source or path.startswith(f"{source}/") for path in sent), source


def test_its_command_is_one_that_openwheel_knows():
    (entry,), (command,) = words(LAST, "ENTRYPOINT"), words(LAST, "CMD")
    assert json.loads(entry) == ["openwheel"]
    assert parse(json.loads(command))["host"] == "0.0.0.0"
    (exposed,) = words(LAST, "EXPOSE")
    assert exposed == "8000"


def health_command(port):
    (check,) = words(LAST, "HEALTHCHECK")
    program, flag, code = json.loads(check.partition("CMD")[2])
    assert (program, flag) == ("python", "-c")
    assert ":8000/" in code
    return code.replace(":8000/", f":{port}/")


def test_its_health_check_tells_a_gateway_from_none(up, teacher):
    gateway = up("--teacher", teacher().url, "--no-learner", "--no-console")
    well = subprocess.run([sys.executable, "-c", health_command(gateway.port)], check=False)
    assert well.returncode == 0
    with contextlib.closing(listen("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    ill = subprocess.run(
        [sys.executable, "-c", health_command(port)], capture_output=True, check=False
    )
    assert ill.returncode != 0


def everyone_may_run(python: Path) -> bool:
    real = python.resolve()
    return all(os.stat(folder).st_mode & stat.S_IXOTH for folder in real.parents)


def base() -> str:
    """Return a Python of a version that Openwheel takes, which another user may run too."""
    for name in (sys.executable, "/usr/local/bin/python3", "/usr/bin/python3"):
        python = Path(name)
        if not python.exists() or not everyone_may_run(python):
            continue
        code = "import sys, ensurepip; print(sys.version_info[:2] >= (3, 11))"
        done = subprocess.run([name, "-c", code], capture_output=True, text=True, check=False)
        if done.stdout.strip() == "True":
            return name
    pytest.skip("no Python from 3.11 on, with venv, that another user may run")


@contextlib.contextmanager
def folder_for_all() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="openwheel-image-"))
    made.chmod(0o755)
    try:
        yield made
    finally:
        subprocess.run(["chmod", "-R", "u+w", str(made)], check=False)
        shutil.rmtree(made)


def build(folder: Path, python: str) -> Path:
    """Run the steps of the first stage by hand; return the environment that they make."""
    base_venv, place, installed = folder / "base", folder / "build", folder / "opt"
    subprocess.run([python, "-m", "venv", str(base_venv)], check=True)
    place.mkdir()
    environment = {
        **{name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        "PATH": f"{base_venv / 'bin'}:{os.environ['PATH']}",
        "LOCK": "image",
    }
    for one in FIRST:
        if one.word == "COPY":
            *sources, _ = one.rest.split()
            for source in sources:
                for path in context():
                    if path.as_posix() == source or path.as_posix().startswith(f"{source}/"):
                        to = place / path
                        to.parent.mkdir(parents=True, exist_ok=True)
                        shutil.copy(ROOT / path, to)
        elif one.word == "RUN":
            step = one.rest.replace("/opt/openwheel", str(installed))
            subprocess.run(["sh", "-ec", step], cwd=place, env=environment, check=True)
    return installed


@pytest.mark.evidence
def test_its_steps_make_a_gateway_for_a_user_who_may_write_nowhere_else():
    """By hand, where no builder runs: the same steps, then a user of no rights and two folders."""
    with folder_for_all() as folder:
        installed = build(folder, base())
        subprocess.run(["chmod", "-R", "a-w,a+rX", str(installed)], check=True)
        data, tmp = folder / "data", folder / "tmp"
        for one in (data, tmp):
            one.mkdir()
        unprivileged = {}
        if os.getuid() == 0:
            for one in (data, tmp):
                os.chown(one, 10001, 10001)
            unprivileged = {"user": 10001, "group": 10001, "extra_groups": []}
        environment = {
            "PATH": f"{installed / 'bin'}:/usr/bin:/bin",
            "HOME": str(tmp),
            "TMPDIR": str(tmp),
            "XDG_CACHE_HOME": str(data / "cache"),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONUNBUFFERED": "1",
        }
        (command,) = (json.loads(one) for one in words(LAST, "CMD"))
        command = [*command, "--host", "127.0.0.1", "--port", "0"]
        with subprocess.Popen(
            [str(installed / "bin" / "openwheel"), *command, "--teacher", "http://127.0.0.1:9/v1"],
            cwd=data,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **unprivileged,
        ) as process:
            try:
                found = re.search(r"http://[^/\s]+", process.stdout.readline())
                assert found, process.communicate()
                with urllib.request.urlopen(f"{found[0]}/healthz", timeout=10) as response:
                    assert json.load(response)["status"] == "ok"
                lock = data / "openwheel.db.learner"
                deadline = time.monotonic() + 60
                while not lock.exists():
                    assert time.monotonic() < deadline, "no learner begins"
                    time.sleep(0.1)
                assert lock.stat().st_uid == (10001 if unprivileged else os.getuid())
            finally:
                process.terminate()
                process.communicate(timeout=60)
            assert process.returncode == 0


def builder() -> str:
    """Return a program that builds images here, and has their base; or skip."""
    for name in ("podman", "docker", "buildah"):
        if not shutil.which(name):
            continue
        works = subprocess.run([name, "info"], capture_output=True, check=False, timeout=60)
        if works.returncode:
            continue
        (default,) = (one.rest for one in instructions() if one.rest.startswith("PYTHON="))
        image = FIRST[0].rest.split()[0].replace("${PYTHON}", default.partition("=")[2])
        pulled = subprocess.run([name, "pull", image], capture_output=True, text=True, check=False)
        if pulled.returncode:
            pytest.skip(f"{name} cannot have {image}: {pulled.stderr.strip()[-200:]}")
        return name
    pytest.skip("no podman, docker with an engine, or buildah is here")


@pytest.fixture(scope="module")
def image() -> Iterator[tuple[str, str]]:
    """Build the image; give the builder, and the image's name."""
    program, name = builder(), "openwheel-test"
    options = [] if program == "docker" else ["--format", "docker"]
    command = [program, "build", *options, "--file", "deploy/Containerfile", "--tag", name, "."]
    subprocess.run(command, cwd=ROOT, check=True)
    yield program, name
    subprocess.run([program, "rmi", name], check=False, capture_output=True)


@pytest.mark.evidence
def test_a_builder_makes_it(image):
    program, name = image
    command = ["inspect", "--type", "image"] if program == "buildah" else ["image", "inspect"]
    done = subprocess.run([program, *command, name], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    found = found[0] if isinstance(found, list) else found["Docker"]
    config = {key.lower(): value for key, value in (found.get("Config") or found["config"]).items()}
    assert config["user"] == words(LAST, "USER")[0]
    assert config["entrypoint"] == ["openwheel"]
    assert config["healthcheck"]["Test"][:2] == ["CMD", "python"]
    assert config["labels"]["org.opencontainers.image.licenses"] == "Apache-2.0"


START = (
    "openwheel keys create desk && exec openwheel up --host 0.0.0.0 --teacher http://127.0.0.1:9/v1"
)


@pytest.mark.evidence
def test_it_answers_on_a_read_only_root(image):
    program, name = image
    if program == "buildah":
        pytest.skip("buildah builds images and runs none")
    limits = ["--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"]
    started = subprocess.run(
        [
            *(program, "run", "--detach", "--rm", *limits, "--tmpfs", "/tmp"),
            *("--publish", "127.0.0.1::8000", "--entrypoint", "sh", name, "-c", START),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    container = started.stdout.strip()
    try:
        port = subprocess.run(
            [program, "port", container, "8000/tcp"], capture_output=True, text=True, check=True
        ).stdout.rpartition(":")[2]
        deadline = time.monotonic() + 60
        while True:
            with contextlib.suppress(urllib.error.URLError, ConnectionError):
                url = f"http://127.0.0.1:{int(port)}/healthz"
                with urllib.request.urlopen(url, timeout=5) as response:
                    assert json.load(response)["status"]
                    return
            assert time.monotonic() < deadline, "it never answers"
            time.sleep(0.5)
    finally:
        subprocess.run([program, "stop", container], check=False, capture_output=True)

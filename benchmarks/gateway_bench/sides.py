"""The sides of the comparison, each started as its users would, on a port of its own."""

import contextlib
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from gateway_bench.processes import (
    free_port,
    running,
    wait_until_open,
)

HERE = Path(__file__).resolve().parent

_NGINX = """\
{user}
worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
events {{ worker_connections 8192; }}
http {{
  access_log off;
  client_body_temp_path {folder}/nginx-1;
  proxy_temp_path {folder}/nginx-2;
  fastcgi_temp_path {folder}/nginx-3;
  uwsgi_temp_path {folder}/nginx-4;
  scgi_temp_path {folder}/nginx-5;
  keepalive_requests 100000000;
  upstream teacher {{
    server 127.0.0.1:{teacher};
    keepalive 64;
    keepalive_requests 100000000;
  }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://teacher;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_buffering off;
    }}
  }}
}}
"""

_LITELLM = """\
model_list:
  - model_name: teacher-large
    litellm_params:
      model: openai/teacher-large
      api_base: http://127.0.0.1:{teacher}/v1
      api_key: none
"""

_QUIET = {
    "LITELLM_LOG": "ERROR",
    "LITELLM_MODE": "PRODUCTION",
    # No keys, like the other sides; without this it wants one.
    "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # or it asks the network for prices when it starts
}


class Side(NamedTuple):
    """Something that forwards requests to the teacher.

    Attributes:
        name: As the table has it.
        versions: Of what it is made.
        share: Of the requests that it gets, so that a slow side does not take all the time.
    """

    name: str
    versions: str
    port: int
    pid: int
    share: float = 1.0


def nginx_command() -> str:
    """Return the path of nginx, ``""`` if it is not installed."""
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin") or ""


@contextlib.contextmanager
def nginx(folder: Path, teacher: int) -> Iterator[Side]:
    """Run nginx's ``proxy_pass`` with one worker: the floor."""
    command, port = nginx_command(), free_port()
    user = "user root;" if os.geteuid() == 0 else ""  # so that its worker reaches the folder
    configuration = folder / "nginx.conf"
    configuration.write_text(_NGINX.format(user=user, folder=folder, teacher=teacher, port=port))
    version = subprocess.run([command, "-v"], check=True, capture_output=True, text=True).stderr
    log = folder / "nginx.log"
    with running([command, "-e", "stderr", "-p", str(folder), "-c", str(configuration)], log) as it:
        wait_until_open(it, port, log)
        yield Side("nginx `proxy_pass`", version.strip().rpartition("/")[2], port, it.pid)


def up_command(teacher: int, database: Path, port: int, extra: str) -> list[str]:
    """Return the command that runs Openwheel's gateway."""
    # fmt: off
    return [
        sys.executable, "-m", "openwheel", "up", "--teacher", f"http://127.0.0.1:{teacher}/v1",
        "--db", str(database), "--port", str(port), "--no-turns", *shlex.split(extra),
    ]
    # fmt: on


def up_has(option: str) -> bool:
    """Return whether ``openwheel up`` has an option."""
    command = [sys.executable, "-m", "openwheel", "up", "--help"]
    return option in subprocess.run(command, check=True, capture_output=True, text=True).stdout


@contextlib.contextmanager
def openwheel(
    folder: Path, teacher: int, database: Path, *, name: str = "Openwheel", extra: str = ""
) -> Iterator[Side]:
    """Run ``openwheel up``, capture and all, on a store with or without promoted students.

    Args:
        extra: More options, as one would type them.
    """
    port = free_port()
    log = folder / f"{database.stem}.log"
    with running(up_command(teacher, database, port, extra), log) as process:
        wait_until_open(process, port, log)
        yield Side(name, versions(sys.executable, "openwheel"), port, process.pid)


@contextlib.contextmanager
def taken_apart(folder: Path, teacher: int, database: Path, kind: str, name: str) -> Iterator[Side]:
    """Run the same gateway with a student that costs nothing, or with a clock around a real one.

    Args:
        kind: ``free`` or ``timed``.
    """
    port, log = free_port(), folder / f"{kind}.log"
    command = [sys.executable, str(HERE / "taken_apart.py")]
    with running([*command, str(port), str(teacher), str(database), kind], log) as process:
        wait_until_open(process, port, log)
        yield Side(name, "", port, process.pid)


@contextlib.contextmanager
def litellm(folder: Path, teacher: int, venv: Path) -> Iterator[Side]:
    """Run LiteLLM's proxy, one worker, its logging off."""
    port, log, configuration = free_port(), folder / "litellm.log", folder / "litellm.yaml"
    configuration.write_text(_LITELLM.format(teacher=teacher))
    # fmt: off
    command = [
        str(venv / "bin" / "litellm"), "--config", str(configuration),
        "--host", "127.0.0.1", "--port", str(port), "--num_workers", "1",
    ]
    # fmt: on
    with running(command, log, _QUIET) as process:
        wait_until_open(process, port, log)
        version = versions(str(venv / "bin" / "python"), "litellm")
        yield Side("LiteLLM proxy", version, port, process.pid, share=0.05)


@contextlib.contextmanager
def peer(folder: Path, teacher: int, python: str, client: str) -> Iterator[Side]:
    """Run a plain proxy of Starlette and an HTTP client, without capture."""
    port, log = free_port(), folder / f"{client}.log"
    with running([python, str(HERE / "peers.py"), client, str(port), str(teacher)], log) as process:
        wait_until_open(process, port, log)
        made_of = versions(python, "starlette", "uvicorn", client)
        yield Side(f"Starlette and {client}, no capture", made_of, port, process.pid)


def versions(python: str, *packages: str) -> str:
    """Return the versions of packages as an interpreter has them, ``""`` if one is missing."""
    script = (
        "import sys; from importlib.metadata import version\n"
        "print(', '.join(f'{name} {version(name)}' for name in sys.argv[1:]))"
    )
    found = subprocess.run(
        [python, "-c", script, *packages], check=False, capture_output=True, text=True
    )
    return found.stdout.strip()


def install(venv: Path, *packages: str) -> None:
    """Make a virtual environment with packages, as its users would."""
    print(f"installing {' '.join(packages)} in {venv}", file=sys.stderr)
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    subprocess.run([str(venv / "bin" / "pip"), "install", "--quiet", *packages], check=True)

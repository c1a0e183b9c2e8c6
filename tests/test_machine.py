"""What this process may use of the machine, within control groups and its own limits."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from openwheel.machine import free_memory, group_limits, main_memory, processors

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="memory is limited on Linux")


def groups(tmp_path: Path, own: str, files: dict[str, str]) -> tuple[Path, Path]:
    for name, text in files.items():
        path = tmp_path / "root" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "cgroup").write_text(own)
    return tmp_path / "cgroup", tmp_path / "root"


@pytest.mark.parametrize(
    ("own", "files", "limits"),
    [
        ("0::/\n", {"memory.max": "max\n"}, []),
        ("0::/\n", {"memory.max": "1000\n"}, [(1000, 0)]),
        (
            "0::/system.slice/openwheel.service\n",
            {
                "system.slice/openwheel.service/memory.max": "500\n",
                "system.slice/openwheel.service/memory.current": "300\n",
                "system.slice/openwheel.service/memory.stat": "anon 100\ninactive_file 120\n",
                "system.slice/memory.max": "700\n",
            },
            [(500, 180), (700, 0)],
        ),
        (
            "4:memory:/box\n3:cpu:/box\n",
            {
                "memory/box/memory.limit_in_bytes": "9\n",
                "memory/box/memory.usage_in_bytes": "4\n",
                "memory/box/memory.stat": "total_inactive_file 1\n",
            },
            [(9, 3)],
        ),
    ],
)
def test_limits_of_containers(tmp_path, own, files, limits):
    assert list(group_limits(*groups(tmp_path, own, files))) == limits


def test_a_container_has_what_it_may_have(tmp_path):
    machine = main_memory(tmp_path / "none", tmp_path)
    assert machine.total >= machine.available > 0
    inside = groups(
        tmp_path,
        "0::/\n",
        {"memory.max": "5000\n", "memory.current": "2000\n", "cpu.max": "50000 100000\n"},
    )
    assert main_memory(*inside).total == 5000
    assert main_memory(*inside).available == 3000
    assert processors(*inside) == 0.5
    assert 1 <= processors(tmp_path / "none", tmp_path) <= (os.cpu_count() or 1)


@LINUX
def test_what_goes_beyond_the_share_fails_and_the_limit_is_lifted_again():
    program = """
from openwheel.machine import data_limit, free_memory, limit_data, within_free_memory
limit_data(400 << 20)
with within_free_memory(0.25):
    inside = free_memory()
    try:
        bytearray(200 << 20)
    except MemoryError:
        print("refused", inside < 100 << 20)
bytearray(200 << 20)
print(data_limit() == 400 << 20)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["refused", "True", "True"]
    assert free_memory() > 0

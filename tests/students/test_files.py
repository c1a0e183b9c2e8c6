import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import numpy as np
import pytest
from safetensors.numpy import load_file

import openwheel
from openwheel.errors import StudentFileError
from openwheel.students import load_student, rungs, save_student, train
from openwheel.students.files import ARRAYS, SETTINGS

from .samples import traffic


@pytest.fixture(scope="module", params=["exact", "linear"])
def student(request):
    return train(request.param, *traffic(80, 3), variables=(0,)).student


@pytest.fixture
def saved(student, tmp_path):
    folder = tmp_path / "student"
    return folder, save_student(student, folder)


def test_what_is_saved(saved, student):
    folder, _ = saved
    assert sorted(path.name for path in folder.iterdir()) == [ARRAYS, SETTINGS]
    settings = json.loads((folder / SETTINGS).read_text())
    assert (settings["format"], settings["rung"]) == (rungs()[student.rung].format, student.rung)
    _, arrays = student.state()
    for name, array in load_file(folder / ARRAYS).items():
        np.testing.assert_array_equal(array, arrays[name])
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]  # no scratch left


@pytest.mark.parametrize("name", [SETTINGS, ARRAYS])
@pytest.mark.parametrize("where", [0.0, 0.3, 0.6, 0.999])
def test_a_corrupt_byte(saved, name, where):
    folder, hashes = saved
    content = bytearray((folder / name).read_bytes())
    content[int(where * len(content))] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(StudentFileError, match=f"{folder}.*{name} was changed"):
        load_student(folder, hashes)


@pytest.mark.parametrize("name", [SETTINGS, ARRAYS])
def test_a_missing_file(saved, name):
    folder, hashes = saved
    (folder / name).unlink()
    with pytest.raises(StudentFileError, match=f"{folder}.*{name} is missing"):
        load_student(folder, hashes)


@pytest.mark.parametrize("name", [SETTINGS, ARRAYS])
def test_a_truncated_file(saved, name):
    folder, hashes = saved
    os.truncate(folder / name, (folder / name).stat().st_size // 2)
    with pytest.raises(StudentFileError, match=name):
        load_student(folder, hashes)


def test_a_missing_folder(tmp_path):
    with pytest.raises(StudentFileError, match="no-such"):
        load_student(tmp_path / "no-such", {})


@pytest.mark.parametrize("named", [[], [SETTINGS], [ARRAYS]])
def test_a_file_that_nobody_vouches_for_is_not_read(saved, named):
    folder, hashes = saved
    with pytest.raises(StudentFileError, match=str(folder)):
        load_student(folder, {name: hashes[name] for name in named})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 99}, "has format 99; this version reads [12] "),
        ({"rung": "oracle"}, "unknown rung 'oracle'"),
        ({"settings": {}}, "lack a part"),
        ({"settings": None}, "cannot be read"),
    ],
)
def test_settings_of_another_make(saved, change, message):
    folder, hashes = saved
    content = json.loads((folder / SETTINGS).read_text()) | change
    (folder / SETTINGS).write_text(json.dumps(content))
    hashes |= {SETTINGS: _sha256(folder / SETTINGS)}
    with pytest.raises(StudentFileError, match=message) as caught:
        load_student(folder, hashes)
    assert str(folder) in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"no tensors", b"\xff" * 100])
def test_arrays_that_are_none(saved, content):
    folder, hashes = saved
    (folder / ARRAYS).write_bytes(content)
    hashes |= {ARRAYS: _sha256(folder / ARRAYS)}
    with pytest.raises(StudentFileError, match=str(folder)):
        load_student(folder, hashes)


def test_arrays_that_lack_one(saved, student, tmp_path):
    settings, arrays = student.state()

    class Partial:
        rung, answers = student.rung, student.answers

        def state(self):
            return settings, dict(list(arrays.items())[1:])

        def write_files(self, folder):
            pass

    folder = tmp_path / "partial"
    hashes = save_student(Partial(), folder)
    with pytest.raises(StudentFileError, match=f"{folder}.*lack a part"):
        load_student(folder, hashes)


def test_does_not_overwrite(saved, student):
    folder, hashes = saved
    with pytest.raises(StudentFileError, match=str(folder)):
        save_student(student, folder)
    load_student(folder, hashes)
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_where_no_folder_can_be(student, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StudentFileError, match="file/student"):
        save_student(student, tmp_path / "file" / "student")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_an_unwritable_folder(student, tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(StudentFileError, match="Permission denied"):
        save_student(student, tmp_path / "student")


def test_a_full_disk(tmp_path):
    student = train("linear", *traffic(80, 3), variables=(0,)).student
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ctypes.CDLL(None, use_errno=True).mount
    if mount(b"tmpfs", str(disk).encode(), b"tmpfs", 0, b"size=16k"):
        pytest.skip(f"no small disk can be mounted: {os.strerror(ctypes.get_errno())}")
    try:
        with pytest.raises(StudentFileError, match=r"disk/student: .*[Nn]o space"):
            save_student(student, disk / "student")
        assert list(disk.iterdir()) == []
    finally:
        ctypes.CDLL(None).umount(str(disk).encode())


ENDLESS = """
import itertools, sys
from pathlib import Path
import numpy as np
from openwheel.students import save_student

class Big:
    rung, answers = "linear", ()
    def state(self):
        return {}, {str(i): np.zeros(2_000_000) for i in range(4)}
    def write_files(self, folder):
        pass

print("saving", flush=True)
for i in itertools.count():
    save_student(Big(), Path(sys.argv[1]) / str(i))
"""


def test_killed_half_way_leaves_no_half_student(tmp_path):
    for pause in (0.0, 0.03, 0.07, 0.13):
        root = tmp_path / str(pause)
        root.mkdir()
        with subprocess.Popen(
            [sys.executable, "-c", ENDLESS, str(root)], stdout=subprocess.PIPE
        ) as process:
            assert process.stdout is not None
            process.stdout.readline()
            while not list(root.iterdir()):
                time.sleep(0.001)
            time.sleep(pause)
            process.send_signal(signal.SIGKILL)
        for folder in root.iterdir():
            if not folder.name.startswith(".saving-"):
                arrays = load_file(folder / ARRAYS)
                assert [len(array) for array in arrays.values()] == [2_000_000] * 4
                assert msgspec.json.decode((folder / SETTINGS).read_bytes())["rung"] == "linear"


def test_no_pickle_in_the_package():
    root = Path(openwheel.__file__).parent
    for path in root.rglob("*.py"):
        for line in path.read_text(encoding="utf-8").splitlines():
            words = set(line.replace(",", " ").replace(".", " ").split())
            if {"import", "from"} & words:
                assert not words & {"pickle", "joblib", "dill", "cloudpickle", "shelve", "marshal"}
            assert "allow_pickle" not in line
            assert "torch.load" not in line


def test_loads_with_pickle_disabled(saved, monkeypatch):
    import pickle

    def refuse(*arguments, **options):
        raise AssertionError("something was unpickled")

    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, name, refuse)
    folder, hashes = saved
    assert load_student(folder, hashes).predict_one(traffic(80, 3)[0][0])[0] >= 0


def _sha256(path: Path) -> str:
    import hashlib

    return hashlib.sha256(path.read_bytes()).hexdigest()

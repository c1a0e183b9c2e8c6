"""A bundle is believed only whole, unchanged, certified and allowed."""

import json
import os
import zipfile
from pathlib import Path

import msgspec
import pytest

from cli.runner import run
from edge.conftest import TASK
from openwheel.edge import bundle as bundles
from openwheel.edge import make_bundle, new_keys, read_bundle
from openwheel.edge.bundle import Contents, Manifest
from openwheel.edge.signing import sign
from openwheel.errors import BundleError, PolicyError, SettingError
from openwheel.loop.registry import Registry
from openwheel.settings import PolicySection, Settings
from openwheel.store import Store
from openwheel.students import rungs
from openwheel.trust import Policy

MANIFEST, SIGNATURE, CONTENTS = "manifest.json", "manifest.sig", "contents.json"


def parts_of(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def pack(path: Path, parts: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return path


def signed_anew(desk: Path, change) -> Path:
    """Return the bundle with other records, signed by its own key: what only its owner can do."""
    parts = parts_of(desk / "desk.owb")
    contents = change(msgspec.json.decode(parts[CONTENTS], type=Contents))
    parts[CONTENTS] = msgspec.json.encode(contents)
    return resigned(desk, parts)


def resigned(desk: Path, parts: dict[str, bytes]) -> Path:
    import hashlib

    files = {
        name: {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
        for name, content in parts.items()
        if name not in {MANIFEST, SIGNATURE}
    }
    parts[MANIFEST] = json.dumps({"format": 1, "files": files}).encode()
    parts[SIGNATURE] = sign(parts[MANIFEST], desk / "signing.pem")
    return pack(desk / "changed.owb", parts)


def test_a_bundle_is_read_as_it_was_made(desk_once, tmp_path):
    bundle = read_bundle(desk_once / "desk.owb", desk_once / "signing.pem.pub")
    assert bundle.names == [TASK]
    with Store.open(desk_once / "openwheel.db") as store:
        registry = Registry(store)
        assert list(bundle.contents.tasks) == registry.tasks()
        (promotion,) = registry.promotions().values()
        assert bundle.contents.certificates == (promotion.certificate,)
        (candidate,) = bundle.contents.students
        assert candidate == registry.candidate(promotion.certificate.student)
        assert candidate.lineage is not None
        bundle.unpack(tmp_path)
        for name in candidate.files:
            copied = (tmp_path / candidate.id / name).read_bytes()
            assert copied == (registry.files.folder(candidate.id) / name).read_bytes()


def test_a_private_key_is_its_owners_alone_and_is_never_overwritten(tmp_path):
    private = tmp_path / "own.pem"
    public = new_keys(private)
    assert private.stat().st_mode & 0o777 == 0o600
    with pytest.raises(SettingError, match="there already"):
        new_keys(private)
    public.unlink()
    with pytest.raises(SettingError, match="there already"):
        new_keys(private)
    private.chmod(0o644)
    with pytest.raises(SettingError, match="must have the mode 0600"):
        sign(b"", private)


def test_another_key_does_not_open_it(desk_once, tmp_path):
    other = new_keys(tmp_path / "other.pem")
    with pytest.raises(BundleError, match="not signed by the key"):
        read_bundle(desk_once / "desk.owb", other)
    with pytest.raises(SettingError, match="must be an Ed25519 public key"):
        read_bundle(desk_once / "desk.owb", desk_once / "signing.pem")
    with pytest.raises(SettingError, match="must be an Ed25519 private key"):
        sign(b"", private_copy(desk_once / "signing.pem.pub", tmp_path))


def private_copy(path: Path, folder: Path) -> Path:
    copied = folder / "copied.pem"
    copied.write_bytes(path.read_bytes())
    copied.chmod(0o600)
    return copied


def test_every_byte_of_it_is_signed_for(desk):
    """Whatever is flipped, the bundle is refused, or its content is what it was."""
    whole = (desk / "desk.owb").read_bytes()
    parts = parts_of(desk / "desk.owb")
    for place in range(0, len(whole), 997):
        flipped = bytearray(whole)
        flipped[place] ^= 0x41
        (desk / "flipped.owb").write_bytes(flipped)
        try:
            read_bundle(desk / "flipped.owb", desk / "signing.pem.pub")
        except BundleError:
            continue
        assert parts_of(desk / "flipped.owb") == parts


def test_a_file_that_was_changed_added_or_taken_out_is_found(desk):
    parts = parts_of(desk / "desk.owb")
    file = next(name for name in parts if name.startswith("students/"))
    public = desk / "signing.pem.pub"
    changed = pack(desk / "c.owb", {**parts, file: parts[file] + b"x"})
    with pytest.raises(BundleError, match=r"students/.* was changed since it was signed"):
        read_bundle(changed, public)
    with pytest.raises(BundleError, match="not those that its manifest lists"):
        read_bundle(pack(desk / "m.owb", {**parts, "more.txt": b""}), public)
    less = {name: content for name, content in parts.items() if name != file}
    with pytest.raises(BundleError, match="not those that its manifest lists"):
        read_bundle(pack(desk / "l.owb", less), public)
    unsigned = {name: content for name, content in parts.items() if name != SIGNATURE}
    with pytest.raises(BundleError, match=r"has no manifest.json or no manifest.sig"):
        read_bundle(pack(desk / "u.owb", unsigned), public)
    cut = desk / "cut.owb"
    cut.write_bytes((desk / "desk.owb").read_bytes()[:-200])
    with pytest.raises(BundleError, match="not a whole zip file"):
        read_bundle(cut, public)
    with pytest.raises(BundleError, match="cannot be read"):
        read_bundle(desk / "none.owb", public)


@pytest.mark.parametrize("name", ["../out", "/out", "students/../../out", "a\\..\\out", "c:out"])
def test_no_file_lies_outside_even_if_it_is_signed(desk, name):
    parts = parts_of(desk / "desk.owb")
    with pytest.raises(BundleError, match="has a file outside it"):
        read_bundle(resigned(desk, {**parts, name: b"x"}), desk / "signing.pem.pub")


def test_sizes_are_bounded(desk, monkeypatch):
    public = desk / "signing.pem.pub"
    # A file that unpacks to far more than is signed for is not unpacked to its end.
    parts = parts_of(desk / "desk.owb")
    manifest = msgspec.json.decode(parts[MANIFEST], type=Manifest)
    bomb = pack(desk / "bomb.owb", {**parts, CONTENTS: b" " * (200 << 20)})
    assert manifest.files[CONTENTS].bytes < 1 << 20
    with pytest.raises(BundleError, match=r"contents.json .* was changed"):
        read_bundle(bomb, public)
    monkeypatch.setattr(bundles, "MOST_BYTES", 150_000)
    with pytest.raises(BundleError, match="unpacks to more than"):
        read_bundle(desk / "desk.owb", public)
    monkeypatch.setattr(bundles, "MOST_BYTES", 1_000)
    with pytest.raises(BundleError, match="it may have at most 1,000"):
        read_bundle(desk / "desk.owb", public)


def test_a_certificate_is_recomputed(desk):
    def better(contents: Contents) -> Contents:
        (held,) = contents.certificates
        return msgspec.structs.replace(
            contents, certificates=(msgspec.structs.replace(held, observed=0.0, bound=1e-9),)
        )

    with pytest.raises(BundleError, match="does not hold"):
        read_bundle(signed_anew(desk, better), desk / "signing.pem.pub")


def test_a_student_is_that_of_its_certificate_and_its_task(desk):
    public = desk / "signing.pem.pub"

    def other_files(contents: Contents) -> Contents:
        (candidate,) = contents.students
        other = msgspec.structs.replace(candidate, files={**candidate.files, "student.json": "0"})
        return msgspec.structs.replace(contents, students=(other,))

    with pytest.raises(BundleError, match="is not the one that was certified"):
        read_bundle(signed_anew(desk, other_files), public)

    def other_prompts(contents: Contents) -> Contents:
        (candidate,) = contents.students
        other = msgspec.structs.replace(candidate, matcher="0" * 64)
        return msgspec.structs.replace(contents, students=(other,))

    with pytest.raises(BundleError, match="takes other prompts than its student"):
        read_bundle(signed_anew(desk, other_prompts), public)

    def without(contents: Contents) -> Contents:
        return msgspec.structs.replace(contents, certificates=())

    with pytest.raises(BundleError, match="without its files, its certificate or its task"):
        read_bundle(signed_anew(desk, without), public)


def test_only_promoted_students_are_bundled(desk):
    run("demote", TASK, cwd=desk)
    told = run("bundle", "--out", "n.owb", "--key", "signing.pem", cwd=desk, code=2)
    assert "No student is promoted" in told.stderr
    told = run("bundle", TASK, "--out", "n.owb", "--key", "signing.pem", cwd=desk, code=2)
    assert "has no promoted student" in told.stderr
    told = run("bundle", "nope", "--out", "n.owb", "--key", "signing.pem", cwd=desk, code=2)
    assert "There is no task 'nope'" in told.stderr
    assert not (desk / "n.owb").exists()


def test_a_student_that_needs_an_engine_is_not_bundled(desk, monkeypatch):
    remote = {**rungs(), "linear": rungs()["linear"]._replace(asked="remote")}
    monkeypatch.setattr(bundles, "rungs", lambda: remote)
    with Store.open(desk / "openwheel.db") as store, pytest.raises(BundleError, match="an engine"):
        make_bundle(Registry(store), desk / "n.owb", desk / "signing.pem", unheard=60.0)


def test_the_policy_has_its_veto_on_both_sides(desk):
    forbidding = Policy.of(Settings(policy=PolicySection(unknown="refuse")))
    with Store.open(desk / "openwheel.db") as store, pytest.raises(PolicyError):
        make_bundle(
            *(Registry(store), desk / "n.owb", desk / "signing.pem"),
            unheard=60.0,
            policy=forbidding,
        )
    with pytest.raises(PolicyError):
        read_bundle(desk / "desk.owb", desk / "signing.pem.pub", policy=forbidding)


def test_without_the_extra_its_name_is_said(desk, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "cryptography", None)
    told = run("bundle", "--new-key", "x.pem", cwd=desk, code=2)
    assert "pip install 'openwheel[edge]'" in told.stderr


def test_a_bundle_that_cannot_be_written_leaves_nothing(desk):
    folder = desk / "readonly"
    folder.mkdir()
    told = run("bundle", "--out", folder, "--key", "signing.pem", cwd=desk, code=2)
    assert "cannot be written" in told.stderr
    assert not [name for name in os.listdir(desk) if name.startswith(".readonly")]

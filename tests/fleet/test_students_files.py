"""Machines that share a store share its students, and no disk."""

import hashlib
import logging
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
import urllib.request

import msgspec
import psycopg
import pytest

from made_up import tickets, write_log
from openwheel.errors import ObjectStoreError, StoreError, StudentFileError
from openwheel.importing import LogProblems, read_log
from openwheel.loop.files import PublishedStudents, StudentsFolder
from openwheel.loop.files.published import IN_DATABASE, KEPT_S, MOST_IN_DATABASE
from openwheel.loop.offline.learn import learn
from openwheel.loop.registry import Registry, copy_students
from openwheel.loop.serving import RegistryServing
from openwheel.loop.settings import LoopSettings
from openwheel.store import Store, blobs
from openwheel.store.copy import copy_store
from openwheel.store.objects import read
from openwheel.wire import Prompt, PromptMessage, Request

EASY = Request(prompt=Prompt(messages=(PromptMessage("user", "invoice payment refund tax 4711"),)))
LARGE = os.urandom(IN_DATABASE + 1)


@pytest.fixture(scope="module")
def learned(postgres_server, tmp_path_factory):
    """Return the URL of a database with a promoted student; nobody is connected to it."""
    folder = tmp_path_factory.mktemp("learned")
    url = postgres_server.database()
    before, os.environ["XDG_CACHE_HOME"] = os.environ.get("XDG_CACHE_HOME"), str(folder)
    try:
        with Store.open(url) as store:
            log = write_log(folder / "log.jsonl", tickets(1_500), timed=False)
            store.append(list(read_log(log, in_order=True, problems=LogProblems())))
            learn(store, LoopSettings(), source="made up")
    finally:
        if before is None:
            del os.environ["XDG_CACHE_HOME"]
        else:
            os.environ["XDG_CACHE_HOME"] = before
    yield url
    postgres_server.drop(url)


@pytest.fixture
def copied(postgres_server, learned):
    """Return the URL of a copy of that database."""
    url = postgres_server.database(TEMPLATE=learned.rpartition("/")[2])
    yield url
    postgres_server.drop(url)


@pytest.fixture
def machine(tmp_path):
    """Return what opens a store as on a machine of its own, with its students."""
    opened = []

    def open_on(name, url, objects="", **options):
        store = Store.open(url, objects=objects)
        opened.append(store)
        folder = StudentsFolder(tmp_path / name / "students")
        return Registry(store, PublishedStudents(store, folder, pause=0.05, **options))

    yield open_on
    for store in opened:
        store.close()


def sql(url, statement, *values):
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(statement, values or None)
        return cursor.fetchall() if cursor.description else []


def until(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def saved(registry, student, **contents):
    """Write the files of a student as a training would; return their hashes."""
    folder = registry.files.folder(student)
    folder.mkdir(parents=True)
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}


def in_folder(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_a_gateway_on_another_machine_fetches_what_it_serves(copied, machine):
    registry = machine("gateway", copied)
    serving = RegistryServing(registry, at_once=False)
    assert serving.decide(EASY).reason == "no student"  # the teacher answers meanwhile

    def answers():
        serving.refresh()
        return serving.decide(EASY).answer == "billing"

    until(answers)
    (student,) = serving.students().values()
    candidate = registry.candidate(student)
    assert in_folder(registry.files.folder(student)) == sorted(candidate.files)
    registry.check(candidate)
    console = machine("console", copied)
    assert console.reliability(candidate) == registry.reliability(candidate) != ()
    assert in_folder(console.files.folder(student)) == ["student.json"]  # no more than it needs


def test_what_is_wrong_on_a_machine_is_fetched_again(copied, machine):
    registry = machine("gateway", copied)
    (certificate,) = registry.certificates()
    candidate = registry.candidate(certificate.student)
    folder = registry.files.fetch(candidate.id, candidate.files)
    good = {name: (folder / name).read_bytes() for name in candidate.files}
    for spoil in (
        lambda file: file.write_bytes(file.read_bytes()[:-1] + b"\0"),
        lambda file: file.write_bytes(file.read_bytes()[:10]),
        lambda file: file.unlink(),
    ):
        for name in candidate.files:
            spoil(folder / name)
        registry.load(candidate)
        assert {name: (folder / name).read_bytes() for name in candidate.files} == good


def test_workers_of_one_machine_may_fetch_at_once(copied, machine):
    registries = [machine("gateway", copied) for _ in range(4)]
    (certificate,) = registries[0].certificates()
    candidate = registries[0].candidate(certificate.student)
    loaded, wrong, begin = [], [], threading.Barrier(len(registries))

    def load(registry):
        begin.wait()
        try:
            loaded.append(registry.load(candidate))
        except Exception as error:
            wrong.append(error)

    threads = [threading.Thread(target=load, args=(registry,)) for registry in registries]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(loaded), wrong) == (4, [])
    root = registries[0].files.folder(candidate.id).parent
    assert [path.name for path in root.iterdir()] == [candidate.id]


def test_a_student_is_not_registered_without_its_files(copied, machine):
    learner = machine("learner", copied)
    (certificate,) = learner.certificates()
    candidate = learner.candidate(certificate.student)
    files = saved(learner, "linear-new", weights=b"new")
    new = msgspec.structs.replace(candidate, id="linear-new", files={**files, "lost": "0" * 64})
    with pytest.raises(StudentFileError, match="lost cannot be read"):
        learner.add_candidate(new)
    with (
        pytest.raises(StudentFileError, match="lost of the student linear-new is not in"),
        learner.store.write() as transaction,
    ):
        learner.files.require_published(transaction, new.id, new.files)
    assert [candidate.id for candidate, _, _ in learner.candidates()] == [certificate.student]
    learner.add_candidate(msgspec.structs.replace(new, files=files))
    folder = machine("gateway", copied).files.fetch("linear-new", files)
    assert (folder / "weights").read_bytes() == b"new"


@pytest.fixture
def objects(tmp_path):
    pytest.importorskip("obstore")
    (tmp_path / "objects").mkdir()
    return f"file://{tmp_path}/objects"


def test_large_files_are_in_the_object_store_and_small_ones_are_not(
    postgres_url, machine, objects, tmp_path
):
    learner = machine("learner", postgres_url, objects)
    files = saved(learner, "lm-1", large=LARGE, small=b"small")
    learner.files.publish("lm-1", files)
    learner.files.publish("lm-1", files)  # as after a lost connection: nothing is stored twice
    (stored,) = in_folder(tmp_path / "objects")
    assert stored.startswith(files["large"])
    # Who reads need not be told where.
    folder = machine("gateway", postgres_url).files.fetch("lm-1", files)
    assert (folder / "large").read_bytes() == LARGE
    assert (folder / "small").read_bytes() == b"small"


def test_without_an_object_store_the_database_has_all_up_to_a_limit(postgres_url, machine):
    learner = machine("learner", postgres_url)
    files = saved(learner, "lm-1", large=LARGE)
    learner.files.publish("lm-1", files)
    folder = machine("gateway", postgres_url).files.fetch("lm-1", files)
    assert (folder / "large").read_bytes() == LARGE
    huge = learner.files.folder("lm-2")
    huge.mkdir()
    with (huge / "huge").open("wb") as file:
        file.truncate(MOST_IN_DATABASE + 1)
    with pytest.raises(StudentFileError, match=r"268,435,457 bytes.*set objects under \[store\]"):
        learner.files.publish("lm-2", {"huge": "0" * 64})


def test_an_object_store_that_is_away_is_asked_again_until_it_is_there(
    postgres_url, machine, objects, tmp_path, caplog
):
    (tmp_path / "objects").rmdir()
    learner = machine("learner", postgres_url, objects)
    files = saved(learner, "lm-1", large=LARGE)
    with pytest.raises(StoreError, match="cannot be used"):
        machine("hasty", postgres_url, objects, patience=0.0).files.publish(
            "lm-1", saved(machine("hasty", postgres_url), "lm-1", large=LARGE)
        )
    with caplog.at_level(logging.WARNING):
        publishing = threading.Thread(target=learner.files.publish, args=("lm-1", files))
        publishing.start()
        until(lambda: "it is tried again" in caplog.text)
        time.sleep(0.3)
        (tmp_path / "objects").mkdir()
        publishing.join(30)
    assert caplog.text.count("it is tried again") == 1
    assert not publishing.is_alive()

    (tmp_path / "objects").rename(tmp_path / "elsewhere")
    gateway = machine("gateway", postgres_url).files
    assert not gateway.at_hand("lm-1", files)

    def told():
        try:
            return gateway.at_hand("lm-1", files)
        except StoreError as error:
            return str(error)

    until(lambda: "could not be fetched so far" in str(told()))
    (tmp_path / "elsewhere").rename(tmp_path / "objects")

    def here():
        return told() is True

    until(here)
    assert (gateway.folder("lm-1") / "large").read_bytes() == LARGE


def test_an_object_that_was_changed_is_not_taken(postgres_url, machine, objects, tmp_path):
    learner = machine("learner", postgres_url, objects)
    files = saved(learner, "lm-1", large=LARGE)
    learner.files.publish("lm-1", files)
    (stored,) = (path for path in (tmp_path / "objects").rglob("*") if path.is_file())
    stored.write_bytes(LARGE[:-1] + b"\0")
    gateway = machine("gateway", postgres_url).files
    with pytest.raises(StudentFileError, match="is not the one with the hash"):
        gateway.fetch("lm-1", files)
    assert in_folder(gateway.folder("lm-1").parent) == []


def test_what_no_student_needs_is_deleted_after_a_day(copied, machine, objects, tmp_path):
    learner = machine("learner", copied, objects)
    (certificate,) = learner.certificates()
    candidate = learner.candidate(certificate.student)
    files = saved(learner, "lm-1", large=LARGE, small=b"small")
    learner.files.publish("lm-1", files)
    with learner.store.write() as transaction:
        unfinished = blobs.begin(transaction, "1" * 64, objects="")
    learner.files.collect()
    machine("early", copied).files.fetch("lm-1", files)  # it may be about to be registered

    sql(copied, "UPDATE student_blobs SET time = time - %s", KEPT_S + 60)
    learner.files.collect()
    assert in_folder(tmp_path / "objects") == []
    with pytest.raises(StudentFileError, match="nor in"):
        machine("late", copied).files.fetch("lm-1", files)
    # A learner that was frozen in the middle is told, and registers nothing.
    with learner.store.write() as transaction:
        assert not blobs.finish(transaction, unfinished)
    left = {hash for (hash,) in sql(copied, "SELECT hash FROM student_blobs")}
    assert left == set(candidate.files.values())
    machine("gateway", copied).load(candidate)


def test_deleting_goes_on_where_an_object_store_was_away(copied, machine, objects, tmp_path):
    learner = machine("learner", copied, objects)
    files = saved(learner, "lm-1", large=LARGE)
    learner.files.publish("lm-1", files)
    sql(copied, "UPDATE student_blobs SET time = time - %s", KEPT_S + 60)
    (tmp_path / "objects").rename(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match="cannot be used"):
        learner.files.collect()
    (tmp_path / "elsewhere").rename(tmp_path / "objects")
    learner.files.publish("lm-1", files)  # again, as an object of its own
    learner.files.collect()
    folder = machine("gateway", copied).files.fetch("lm-1", files)
    assert (folder / "large").read_bytes() == LARGE
    assert len(in_folder(tmp_path / "objects")) == 1


def test_a_machine_keeps_what_is_in_use_and_what_was_lately(copied, machine):
    registry = machine("gateway", copied)
    (certificate,) = registry.certificates()
    candidate = registry.candidate(certificate.student)
    folder = registry.files.fetch(candidate.id, candidate.files)
    others = [folder.with_name(name) for name in ("old", "new", ".training")]
    for other in others:
        other.mkdir()
    (folder.parent / ".fetching-left").write_bytes(b"half")
    long_ago = time.time() - KEPT_S - 60
    for path in (folder, folder.with_name("old"), others[2], folder.parent / ".fetching-left"):
        os.utime(path, (long_ago, long_ago))
    registry.files.sweep(registry.in_use())
    assert {path.name for path in folder.parent.iterdir()} == {candidate.id, "new", ".training"}


def test_a_name_leads_out_of_no_folder(postgres_url, machine):
    files = machine("gateway", postgres_url).files
    with pytest.raises(StudentFileError, match=r"'\.\./other' is no name of a file"):
        files.fetch("linear-1", {"../other": "0" * 64})


def test_students_go_along_with_a_copy_to_postgres_and_back(
    copied, postgres_url, tmp_path, machine
):
    with Store.open(tmp_path / "file.db") as file, Store.open(postgres_url) as target:
        before, between = machine("learner", copied), Registry(file)
        assert copy_students(before, between) == 1
        copy_store(before.store, file)
        assert copy_students(between, machine("copying", postgres_url)) == 1
        copy_store(file, target)
    there = machine("gateway", postgres_url)
    (certificate,) = there.certificates()
    there.load(there.candidate(certificate.student))
    assert copy_students(there, machine("copying", postgres_url)) == 0


@pytest.fixture
def bucket(monkeypatch):
    """Return the URL of a bucket in a server that speaks S3; skip where none is installed."""
    pytest.importorskip("obstore")
    program = shutil.which("moto_server")
    if program is None:
        pytest.skip("moto_server is not installed on this machine")
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    server = subprocess.Popen(
        [program, "--host", "127.0.0.1", "--port", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment,
        start_new_session=True,
    )
    try:
        made = urllib.request.Request(f"http://127.0.0.1:{port}/fleet", method="PUT")

        def answers():
            if server.poll() is not None:
                pytest.skip("moto_server does not run on this machine")
            try:
                with urllib.request.urlopen(made):
                    return True
            except OSError:
                return False

        until(answers)
        for name, value in {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
            "AWS_ALLOW_HTTP": "true",
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
        }.items():
            monkeypatch.setenv(name, value)
        yield "s3://fleet/students"
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def test_files_are_kept_in_s3_and_what_it_refuses_is_told(postgres_url, machine, bucket):
    many_parts = LARGE * 12
    learner = machine("learner", postgres_url, bucket, patience=0.0)
    files = saved(learner, "lm-1", large=many_parts, small=b"small")
    learner.files.publish("lm-1", files)
    gateway = machine("gateway", postgres_url).files
    assert (gateway.fetch("lm-1", files) / "large").read_bytes() == many_parts
    sql(postgres_url, "UPDATE student_blobs SET time = time - %s", KEPT_S + 60)
    ((url,),) = sql(postgres_url, "SELECT object FROM student_blobs WHERE object <> ''")
    assert url.startswith(f"{bucket}/{files['large']}")
    learner.files.collect()
    with pytest.raises(ObjectStoreError, match="cannot be used"):
        list(read(url))

    nobodys = bucket.replace("fleet", "nobodys")
    refused = machine("refused", postgres_url, nobodys, patience=0.0)
    files = saved(refused, "lm-2", large=LARGE)
    with pytest.raises(ObjectStoreError, match=r"s3://nobodys/students/.*bucket does not exist"):
        refused.files.publish("lm-2", files)

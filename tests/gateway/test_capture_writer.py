import threading
import time

import pytest

from openwheel.errors import StoreError
from openwheel.gateway import CaptureWriter
from openwheel.settings import CaptureSection
from openwheel.store.exchange import Exchange
from openwheel.wire import Answer


def exchange(number, request=b"{}"):
    return Exchange(id=str(number), request=request, answer=Answer("yes"), source="teacher")


class SlowStore:
    """Holds a batch back until it is let go; fails as often as it is told to."""

    def __init__(self, failures=0):
        self.go = threading.Event()
        self.entered = threading.Event()
        self.failures = failures
        self.ids = []
        self.batches = []

    def append(self, exchanges):
        self.entered.set()
        self.go.wait(10)
        if self.failures:
            self.failures -= 1
            raise StoreError("locked")
        self.ids += [one.id for one in exchanges]
        self.batches.append(len(exchanges))
        return len(exchanges)


@pytest.fixture
def store():
    return SlowStore()


@pytest.fixture
def writer(store):
    writers = []

    def make(*, linger=0.02, **settings):
        settings = CaptureSection(**settings)
        writers.append(CaptureWriter(store, settings=settings, linger=linger))
        return writers[-1]

    yield make
    store.go.set()
    for one in writers:
        one.close()


def test_commits_within_50_ms_in_order(writer, store):
    capture = writer()
    store.go.set()
    for number in range(200):
        capture.put(exchange(number))
    assert capture.flush()
    assert store.ids == [str(number) for number in range(200)]
    assert len(store.batches) < 50
    took = []
    for number in range(200, 205):
        began = time.perf_counter()
        capture.put(exchange(number))
        while len(store.ids) <= number:
            time.sleep(0.001)
        took.append(time.perf_counter() - began)
    assert min(took) < 0.05  # the least, since the machine may have other work


def test_put_does_not_wait_for_a_store_that_hangs(writer, store):
    capture = writer()
    capture.put(exchange(0))
    assert store.entered.wait(5)
    began = time.perf_counter()
    for number in range(1, 1001):
        capture.put(exchange(number))
    assert time.perf_counter() - began < 1
    assert capture.stats().queued == 1001
    assert not capture.flush(0.05)
    store.go.set()
    assert capture.flush()
    assert len(store.ids) == 1001
    assert capture.stats().queued == 0


@pytest.mark.parametrize("bound", [{"max_queued": 3}, {"max_bytes": 3 * 1600}])
def test_full_queue_drops_counts_and_logs(writer, store, bound, caplog):
    capture = writer(**bound)
    for number in range(10):
        capture.put(exchange(number, b"x" * 1000))
    store.go.set()
    assert capture.flush()
    assert store.ids == ["0", "1", "2"]
    stats = capture.stats()
    assert (stats.written, stats.dropped) == (3, 7)
    assert "queue is full" in caplog.text
    capture.put(exchange(10))
    assert capture.flush()
    assert store.ids[-1] == "10"


def test_failed_batch_is_kept_and_written_later(writer, store):
    store.failures = 3
    capture = writer()
    store.go.set()
    capture.put(exchange(1))
    assert capture.flush()
    assert store.ids == ["1"]
    stats = capture.stats()
    assert (stats.failed, stats.dropped, stats.error) == (3, 0, "")


def test_close_writes_what_is_left(writer, store):
    capture = writer(linger=30.0)
    store.go.set()
    capture.put(exchange(1))
    began = time.monotonic()
    assert capture.close()
    assert time.monotonic() - began < 1
    assert store.ids == ["1"]
    capture.put(exchange(2))
    assert capture.stats().dropped == 1
    assert not capture.stats().alive


def test_close_gives_up_on_a_store_that_stays_broken(writer, store, caplog):
    store.failures = 1 << 30
    store.go.set()
    capture = writer()
    capture.put(exchange(1))
    assert not capture.close(0.2)
    assert capture.stats().dropped == 1
    assert "they are lost" in caplog.text
    assert not capture.flush(0.1) or store.ids == []

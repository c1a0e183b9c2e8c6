"""What it costs to find exchanges by the ids that clients know: CPU, bytes and time to look one up.

Run: python benchmarks/reply_ids.py [--exchanges 60000]
"""

import argparse
import os
import secrets
import tempfile
import time
from pathlib import Path

from openwheel.store import Exchange, Store
from openwheel.store.feedback import FeedbackStore
from openwheel.wire import Answer, ordered_id

BATCH = 200
LOOKUPS = 200


def exchange(*, with_ids: bool) -> Exchange:
    return Exchange(
        id=ordered_id(),
        request=os.urandom(700).hex().encode(),
        answer=Answer("billing"),
        source="teacher",
        reply_id=f"chatcmpl-{secrets.token_hex(16)}" if with_ids else "",
        request_id=f"req_{secrets.token_hex(16)}" if with_ids else "",
    )


def measure(count: int, *, with_ids: bool) -> str:
    with tempfile.TemporaryDirectory() as folder, Store.open(Path(folder) / "x.db") as store:
        kept = FeedbackStore(store)
        kept.find("chatcmpl-unknown")  # from the first feedback on there are indexes
        cpu = 0.0
        for _ in range(count // BATCH):
            rows = [exchange(with_ids=with_ids) for _ in range(BATCH)]
            started = time.process_time()
            store.append(rows)
            cpu += time.process_time() - started
        started = time.process_time()
        for _ in range(LOOKUPS):
            kept.find("chatcmpl-unknown")
        look = (time.process_time() - started) / LOOKUPS
        size = store.path.stat().st_size
    name = "both ids" if with_ids else "no ids"
    return f"| {name} | {cpu / count * 1e6:.1f} | {size / count:.0f} | {look * 1e3:.2f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--exchanges", type=int, default=60_000)
    options = parser.parse_args()
    print(
        "| exchanges with | CPU each, µs | bytes each | CPU of a look-up, ms |\n|---|---|---|---|"
    )
    for with_ids in (False, True) * 2:
        print(measure(options.exchanges, with_ids=with_ids), flush=True)


if __name__ == "__main__":
    main()

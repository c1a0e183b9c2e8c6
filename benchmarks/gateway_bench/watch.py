"""Watches a store from another process: when each exchange's row can be read.

Run by the benchmark as ``python -m gateway_bench.watch DATABASE COUNT``; prints ``ready``, then one
JSON object of numbers and times on the system's monotonic clock when it has seen them all.
"""

import contextlib
import json
import re
import sqlite3
import sys
import time

LOOK_EVERY_S = 0.001
_GIVE_UP_S = 30.0
_NUMBER = re.compile(rb"ref (\d+)")


def main() -> None:
    path, count = sys.argv[1], int(sys.argv[2])
    seen: dict[str, float] = {}
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        (last,) = database.execute("SELECT coalesce(max(seq), 0) FROM exchanges").fetchone()
        print("ready", flush=True)
        version, moved = None, time.monotonic()
        while len(seen) < count and time.monotonic() - moved < _GIVE_UP_S:
            time.sleep(LOOK_EVERY_S)
            (now,) = database.execute("PRAGMA data_version").fetchone()  # cheap, unlike a query
            if now == version:
                continue
            version, moved = now, time.monotonic()
            rows = database.execute(
                "SELECT seq, request FROM exchanges WHERE seq > ? ORDER BY seq", (last,)
            ).fetchall()
            at = time.monotonic()
            for seq, request in rows:
                last = seq
                if found := _NUMBER.search(bytes(request)):
                    seen[found[1].decode()] = at
    print(json.dumps(seen), flush=True)


if __name__ == "__main__":
    main()

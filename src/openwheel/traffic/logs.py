"""Reading a log as a stream of exchanges."""

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import msgspec

from openwheel.traffic.exchange import Exchange
from openwheel.traffic.log_files import LogFile
from openwheel.traffic.log_problems import LogProblems
from openwheel.traffic.log_records import Keys, read_record
from openwheel.traffic.log_values import SkippedRecordError, UnreadableRecordError


def read_log(
    path: str | Path,
    *,
    input_key: str | None = None,
    output_key: str | None = None,
    strict: bool = False,
    problems: LogProblems,
) -> Iterator[Exchange]:
    """Yield the exchanges of a log in its order, one at a time.

    The shapes a log may have are in ``docs/logs.md``. Reading the same log again gives the same
    ids, whatever the file is called; a line that occurs several times in a log gives as many
    exchanges. Memory: about 100 bytes a line, for that; a JSON array is held whole.

    Args:
        path: The file, ``-`` for standard input.
        input_key: The key of a plain pair's input, where it is not one of the usual.
        output_key: The key of a plain pair's output, likewise.
        strict: Raise at the first bad line.
        problems: Where lines that could not be used are counted.

    Raises:
        LogError: When the first exchange is asked for: the file is missing or not text; later,
            under ``strict``: a bad line, named with file, number and reason.
    """
    keys = Keys(input_key, output_key)
    # The keys are part of the id: read with other keys, the same line is another exchange.
    salt = b"" if keys == Keys() else msgspec.json.encode([input_key, output_key]) + b"\n"
    seen: dict[bytes, int] = {}
    file = LogFile(path, keys, problems, strict=strict)
    for line, raw, values in file.records():
        digest = sha256(salt + raw).digest()
        before = seen.get(digest[:8], 0)
        seen[digest[:8]] = before + 1
        identity = f"log-{digest[:16].hex()}"
        if before:
            identity = f"{identity}-{before}"
        try:
            exchange, time_read = read_record(values, identity, keys)
        except SkippedRecordError as reason:
            problems.add_skipped(str(reason))
            continue
        except UnreadableRecordError as reason:
            file.bad(line, str(reason))
            continue
        problems.usable += 1
        problems.times_unread += not time_read
        yield exchange

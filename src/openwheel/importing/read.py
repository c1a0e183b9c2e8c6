"""Reads logs as a stream of exchanges."""

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import msgspec

from openwheel.importing.batches import Batches
from openwheel.importing.formats import Keys
from openwheel.importing.log_file import LogFile
from openwheel.importing.opening import log_files
from openwheel.importing.problems import LogProblems
from openwheel.importing.record_reader import RecordReader
from openwheel.importing.sorting import in_time_order
from openwheel.importing.times import looks_like_time
from openwheel.importing.values import SkippedRecordError, UnreadableRecordError
from openwheel.store.exchange import Exchange

ODD = "it is of a shape that nobody thought of"
"""How the reason begins of a line that no reader has a reason for."""

SHOWN = 200
"""Characters of an answer that a warning shows."""


def read_log(
    *paths: str | Path,
    input_key: str | None = None,
    output_key: str | None = None,
    time_key: str | None = None,
    strict: bool = False,
    in_order: bool = False,
    problems: LogProblems,
) -> Iterator[Exchange]:
    """Yield the exchanges of logs, one at a time, in the order in which they came.

    Logs whose first lines are in the order of their times are read line by line; others, and
    several logs, are sorted by their times by way of a temporary file, if every exchange has one.
    Reading the same log again gives the same ids, whatever the file is called; a line that occurs
    several times gives as many exchanges. Memory: about 100 bytes a line; the lines of a batch are
    held until the other half comes.

    Args:
        paths: Files, folders, and ``-`` for standard input.
        input_key, output_key, time_key: Keys of plain pairs, where they are none of the usual.
        strict: Raise at the first bad line.
        in_order: The user's word that lines without a time are in the order of arrival. Without
            it their exchanges may train and not calibrate.
        problems: Where lines that could not be used are counted.

    Raises:
        LogError: A file is missing or not text; under ``strict``: the first bad line.
    """
    keys = Keys(input_key, output_key, time_key)
    files = [file for path in paths for file in log_files(path)]
    batches = Batches()
    # The keys are part of the id: read with other keys, the same line is another exchange.
    salt = b""
    if input_key or output_key:
        salt = msgspec.json.encode([input_key, output_key]) + b"\n"

    def read() -> Iterator[Exchange]:
        for path in files:
            file = LogFile(path, keys, problems, strict=strict)
            yield from _exchanges(file, RecordReader(keys, in_order=in_order), salt, batches)
        for reason, count in batches.left():
            for _ in range(count):
                problems.add_skipped(reason)

    yield from in_time_order(read(), problems, several=len(files) > 1)


def _exchanges(
    file: LogFile, reader: RecordReader, salt: bytes, batches: Batches
) -> Iterator[Exchange]:
    problems = file.problems
    seen: dict[bytes, int] = {}
    for line, raw, values in file.records():
        digest = sha256(salt + raw).digest()
        before = seen.get(digest[:8], 0)
        seen[digest[:8]] = before + 1
        identity = f"log-{digest[:16].hex()}"
        if before:
            identity = f"{identity}-{before}"
        joined = batches.join(values)
        if joined is None:
            continue
        try:
            outcome = reader.read(joined, raw, identity)
        except SkippedRecordError as reason:
            problems.add_skipped(str(reason))
            continue
        except UnreadableRecordError as reason:
            file.bad(line, str(reason))
            continue
        except RecursionError:
            file.bad(line, "it is nested too deep")
            continue
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            # One odd line among a million must not end an import; that it came here is a fault.
            file.bad(line, f"{ODD}: {error}")
            continue
        problems.usable += 1
        problems.formats[outcome.format] = problems.formats.get(outcome.format, 0) + 1
        problems.times_unread += not outcome.time_read
        if not outcome.exchange.time:
            problems.times_missing += 1
            if problems.times_missing == 1:
                problems.time_keys = [k for k, v in joined.items() if looks_like_time(k, v)]
        if outcome.wrapped:
            problems.wrapped += 1
            problems.wrapped_example = (
                problems.wrapped_example or outcome.exchange.answer.text[:SHOWN]
            )
        yield outcome.exchange

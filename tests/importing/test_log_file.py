"""Reading log files: what kind of file it is, what is counted, what is refused."""

import bz2
import csv
import gzip
import io
import json
import lzma
import os
import random
import signal
import subprocess
import sys
import threading
import tracemalloc
import zipfile
from time import sleep

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openwheel.errors import LogError
from openwheel.importing import LogProblems, arrays, read_log
from openwheel.importing.arrays import array_elements
from openwheel.importing.log_file import MAX_LINE
from openwheel.importing.tables import MAX_ROW

PAIR = {"text": "Pump 3 leaks", "label": "pumps"}


def read(path, **options):
    problems = LogProblems()
    return list(read_log(path, problems=problems, **options)), problems


def write(path, data):
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def pairs(exchanges):
    return [
        (json.loads(exchange.request)["messages"][-1]["content"], exchange.answer.text)
        for exchange in exchanges
    ]


def lines(rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.mark.parametrize(
    "data",
    [
        b'{"text":"a","label":"x"}\n{"text":"b","label":"y"}\n',
        b'{"text":"a","label":"x"}\r\n\r\n  {"text":"b","label":"y"}',
        b'\xef\xbb\xbf{"text":"a","label":"x"}\n{"text":"b","label":"y"}\n',
        b"text,label\na,x\nb,y\n",
        b"\xef\xbb\xbftext;label\r\na;x\r\nb;y\r\n",
        b"\n label\tn\ttext \nx\t1\ta\ny\t2\tb",
        b'"text"|"label"\n"a"|"x"\nb|y\n',
        b'[{"text":"a","label":"x"},\n {"text":"b","label":"y"}]',
        b'\xef\xbb\xbf\n[\n{"text":"a","label":"x"},{"text":"b","label":"y"}\n]\n',
        b'{"text":"a","label":"x"}\ntext,label\nb,y\n',
        b'text,label\na,x\n{"text":"b","label":"y"}\n',
        b"text,label\na,x\ntext,label\nb,y,\n",
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_what_kind_of_file_it_is_is_seen_from_its_content(tmp_path, data, packed):
    path = write(tmp_path / "log.txt", gzip.compress(data) if packed else data)
    exchanges, problems = read(path, strict=True)
    assert pairs(exchanges) == [("a", "x"), ("b", "y")]
    assert (problems.lines, problems.usable, problems.bad) == (2, 2, 0)


def test_csv_with_quotes_commas_and_newlines(tmp_path):
    rows = [("a, b\nc\n\nd", "x"), ('5" pipe', "y"), ('say "hi"', "z"), ("", "w"), ("e", "")]
    text = io.StringIO()
    csv.writer(text).writerows([("text", "label"), *rows])
    exchanges, problems = read(write(tmp_path / "log.csv", text.getvalue()), strict=True)
    assert pairs(exchanges) == rows[:3]
    assert problems.skipped == {"the input is empty": 1, "the answer is empty": 1}
    sloppy = 'text,label\n5" pipe,y\n3" hose,z\n'
    assert pairs(read(write(tmp_path / "b.csv", sloppy))[0]) == [('5" pipe', "y"), ('3" hose', "z")]


cells = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], include_characters="\n\t"), max_size=20
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(cells, cells), min_size=1, max_size=12), st.sampled_from(",;\t|"))
def test_any_csv_that_python_writes_is_read(tmp_path_factory, rows, delimiter):
    rows = [(f"{a}.", f"{b}.") for a, b in rows]
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=delimiter).writerows([("text", "label"), *rows])
    path = write(tmp_path_factory.mktemp("log") / "x.csv", text.getvalue())
    assert pairs(read(path, strict=True)[0]) == rows


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.one_of(st.binary(max_size=40), st.just(b'{"text":"a","label":"x"}')), max_size=9)
)
def test_no_bytes_break_the_reading(tmp_path_factory, parts):
    path = write(tmp_path_factory.mktemp("log") / "x", b"text,label\n" + b"\n".join(parts))
    try:
        exchanges, problems = read(path)
    except LogError:
        return
    assert problems.usable == len(exchanges)
    assert problems.lines >= problems.usable + problems.bad + sum(problems.skipped.values())


def test_a_quote_that_is_never_closed_costs_one_row(tmp_path):
    rows = "".join(f"a{i},x\n" for i in range(5))
    path = write(tmp_path / "log.csv", 'text,label\n"stray,x\n' + rows)
    exchanges, problems = read(path)
    assert len(exchanges) == 5
    assert [str(bad) for bad in problems.first_bad] == [f"{path}:2: a quote is never closed"]
    many = "".join(f"{'a' * 100}{i},x\n" for i in range(MAX_ROW // 100))
    path = write(tmp_path / "long.csv", 'text,label\n"stray,x\n' + many + '"b",x\n')
    exchanges, problems = read(path)
    assert len(exchanges) == MAX_ROW // 100 + 1
    assert problems.bad == 1


def test_rows_of_another_width_are_bad(tmp_path):
    path = write(tmp_path / "log.csv", 'text,label\na\nb,x,y\n"c\nd"\ne,x\n')
    exchanges, problems = read(path)
    assert pairs(exchanges) == [("e", "x")]
    assert problems.first_bad[0].reason == "it has 1 columns where the header has 2"
    assert problems.first_bad[1].reason == "it has 3 columns where the header has 2"
    assert [bad.line for bad in problems.first_bad] == [2, 3, 4, 5]


def test_bad_lines_are_counted_and_the_first_ten_shown(tmp_path):
    good = lines([PAIR]).encode()
    bad = [b"{oops\n", b"plain text\n", b'{"text":"\xff","label":"x"}\n', b'{"a":1}\n'] * 4
    path = write(tmp_path / "log.jsonl", good + b"".join(bad) + good)
    exchanges, problems = read(path)
    assert len(exchanges) == problems.usable == 2
    assert problems.lines == 18
    assert problems.bad == 16
    assert len(problems.first_bad) == 10
    assert [bad.line for bad in problems.first_bad] == list(range(2, 12))
    reasons = [bad.reason for bad in problems.first_bad[:4]]
    assert reasons[0].startswith("not valid JSON")
    assert reasons[1].startswith("neither a JSON object nor a CSV header with a column input or")
    assert "utf-8" in reasons[2].lower()
    assert reasons[3].startswith("no input: it must have a key input or text or prompt or")
    with pytest.raises(LogError, match=rf"{path}:2: not valid JSON"):
        read(path, strict=True)


def test_a_csv_in_another_encoding_says_so(tmp_path):
    path = write(tmp_path / "log.csv", "text,label\nGröße,x\nb,y\n".encode("latin-1"))
    exchanges, problems = read(path)
    assert pairs(exchanges) == [("b", "y")]
    assert "not valid UTF-8" in problems.first_bad[0].reason


def test_a_huge_line_is_bad_and_costs_no_more(tmp_path):
    path = tmp_path / "log.jsonl.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(lines([PAIR]).encode())
        file.write(b'{"text":"')
        for _ in range(4):
            file.write(b"a" * MAX_LINE)
        file.write(b'","label":"x"}\n')
        file.write(lines([PAIR]).encode())
    tracemalloc.start()
    exchanges, problems = read(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(exchanges) == 2
    assert [(bad.line, bad.reason) for bad in problems.first_bad] == [(2, "longer than 32 MiB")]
    assert problems.lines == 3
    assert peak < 2.5 * MAX_LINE


def test_memory_does_not_grow_with_the_log(tmp_path):
    path = tmp_path / "log.jsonl"
    with path.open("w") as file:
        for i in range(12_000):
            file.write(json.dumps({"text": f"{i} " + "a" * 500, "label": "x"}) + "\n")
    tracemalloc.start()
    count = sum(1 for _ in read_log(path, problems=LogProblems()))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 12_000
    assert peak < 6e6 < path.stat().st_size


def test_a_truncated_gzip_gives_what_comes_before(tmp_path):
    rows = [{"text": f"{i} {i * 7919 % 10007}", "label": "x"} for i in range(30_000)]
    data = gzip.compress(lines(rows).encode())
    path = write(tmp_path / "log.gz", data[: len(data) // 2])
    exchanges, problems = read(path)
    assert 5_000 < len(exchanges) < 30_000
    assert "the compressed data ends early" in problems.first_bad[0].reason
    with pytest.raises(LogError, match="the compressed data ends early"):
        read(path, strict=True)


@pytest.mark.parametrize("at", [2, 30, 5_000])
def test_a_damaged_gzip_is_said(tmp_path, at):
    data = bytearray(gzip.compress(lines({**PAIR, "n": i * 7919} for i in range(9_000)).encode()))
    data[at : at + 8] = b"\xff" * 8
    _, problems = read(write(tmp_path / "log.gz", bytes(data)))
    assert problems.bad >= 1
    assert any("compressed data" in bad.reason for bad in problems.first_bad) or problems.bad > 10


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"PAR1\x15\x04", "cannot be read as Parquet"),
        (b"PK\x03\x04\x14", "cannot be read: File is not a zip file"),
        (b"\x28\xb5\x2f\xfd\x00", "is compressed with zstd"),
        (b"SQLite format 3\0", "is an SQLite database; export its table as JSON Lines"),
        (b"\x7fELF\x00\x00", "is binary"),
        (b'[{"text":"a","label":"x"}', "starts with .* but is not one JSON array"),
        (b'["a"]\n["b"]\n', "starts with .* but is not one JSON array"),
    ],
)
def test_files_that_are_no_logs_are_refused(tmp_path, data, sentence):
    path = write(tmp_path / "log", data)
    with pytest.raises(LogError, match=sentence) as caught:
        read(path)
    assert str(path) in str(caught.value)


def test_missing_files_and_folders_are_refused(tmp_path):
    with pytest.raises(LogError, match=f"There is no log at {tmp_path}/none"):
        read(tmp_path / "none")
    with pytest.raises(LogError, match=f"There is no log in the folder {tmp_path}"):
        read(tmp_path)


def test_elements_of_an_array_that_are_no_objects_are_bad(tmp_path):
    path = write(tmp_path / "log.json", json.dumps([PAIR, 3, "a", PAIR]))
    exchanges, problems = read(path)
    assert len(exchanges) == 2
    assert [bad.line for bad in problems.first_bad] == [2, 3]


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ("", "The log is empty"),
        ("\n\n", "The log is empty"),
        ("text,label\n", "The log is empty"),
        ("a,b\n1,2\n", r"in 2 lines: 2 bad \(the first is .*log:1: neither a JSON object"),
        ('{"text":"a","label":""}\n', r"in 1 lines: 1 skipped \(the answer is empty\)"),
    ],
)
def test_a_log_without_anything_usable(tmp_path, data, sentence):
    _, problems = read(write(tmp_path / "log", data))
    with pytest.raises(LogError, match=sentence):
        problems.require_usable()


def test_one_tally_may_serve_several_logs(tmp_path):
    problems = LogProblems()
    for name in ("a", "b"):
        path = write(tmp_path / name, lines([PAIR, {}]))
        assert len(list(read_log(path, problems=problems))) == 1
    assert (problems.lines, problems.usable, problems.bad) == (4, 2, 2)
    assert [bad.file for bad in problems.first_bad] == [str(tmp_path / "a"), str(tmp_path / "b")]
    problems.require_usable()


def test_ids_are_those_of_the_content(tmp_path):
    path = write(tmp_path / "a.jsonl", lines([PAIR, PAIR, {**PAIR, "label": "x"}, PAIR]))
    ids = [exchange.id for exchange in read(path)[0]]
    assert len(set(ids)) == 4
    assert [exchange.id for exchange in read(path)[0]] == ids
    windows = path.read_bytes().replace(b"\n", b"\r\n")
    again = write(tmp_path / "b.gz", gzip.compress(windows))
    assert [exchange.id for exchange in read(again)[0]] == ids
    grown = write(tmp_path / "c.jsonl", path.read_text() + lines([PAIR]))
    assert [exchange.id for exchange in read(grown)[0]][:4] == ids
    other = read(path, input_key="label", output_key="text")[0]
    assert not set(ids) & {exchange.id for exchange in other}


def test_the_same_row_under_another_header_is_another_exchange(tmp_path):
    one = read(write(tmp_path / "a.csv", "text,label\na,b\n"))[0]
    two = read(write(tmp_path / "b.csv", "label,text\na,b\n"))[0]
    assert one[0].id != two[0].id


@pytest.mark.parametrize("packed", [False, True])
def test_standard_input(packed):
    script = (
        "from openwheel.importing import LogProblems, read_log\n"
        "print([e.answer.text for e in read_log('-', problems=LogProblems())])"
    )
    data = lines([PAIR, PAIR]).encode()
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        input=gzip.compress(data) if packed else data,
        capture_output=True,
        check=True,
    )
    assert result.stdout == b"['pumps', 'pumps']\n"
    assert result.stderr == b""


def test_a_reading_given_up_closes_the_file(tmp_path):
    path = write(tmp_path / "log.gz", gzip.compress(lines([PAIR] * 3).encode()))
    reading = read_log(path, problems=LogProblems())
    next(reading)
    reading.close()
    path.unlink()


@pytest.mark.parametrize("pack", [bz2.compress, lzma.compress, gzip.compress])
def test_compressed_files(tmp_path, pack):
    path = write(tmp_path / "log", pack(lines([PAIR, PAIR]).encode()))
    assert len(read(path, strict=True)[0]) == 2
    cut = write(tmp_path / "cut", pack(lines([PAIR] * 5).encode())[:-5])
    _, problems = read(cut)
    assert problems.bad == 1
    assert "what comes before was read" in problems.first_bad[0].reason


def test_what_follows_compressed_data_is_said_and_costs_nothing(tmp_path):
    rows = [{**PAIR, "n": i} for i in range(2_000)]
    path = write(tmp_path / "log.gz", gzip.compress(lines(rows).encode()) + b"trailing")
    exchanges, problems = read(path)
    assert len(exchanges) == 2_000
    assert problems.bad == 1
    two = gzip.compress(lines(rows[:7]).encode()) + gzip.compress(lines(rows[7:9]).encode())
    assert len(read(write(tmp_path / "two.gz", two), strict=True)[0]) == 9


def test_archives(tmp_path):
    path = tmp_path / "log.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("log.jsonl", lines([PAIR, PAIR]))
        archive.writestr("__MACOSX/._log.jsonl", b"\0")
    assert len(read(path, strict=True)[0]) == 2
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("more.jsonl", lines([PAIR]))
    with pytest.raises(LogError, match="a zip archive of 2 files; unpack it into a folder"):
        read(path)
    with zipfile.ZipFile(tmp_path / "log.xlsx", "w") as archive:
        archive.writestr("[Content_Types].xml", "<x/>")
    with pytest.raises(LogError, match="is an Excel workbook; save it as CSV UTF-8"):
        read(tmp_path / "log.xlsx")


def test_other_encodings_and_line_ends(tmp_path):
    text = "text;label\nGröße;x\nb;y\n"
    for data in (
        text.encode("utf-16"),
        text.encode("utf-8-sig"),
        text.replace("\n", "\r\n").encode(),
        text.replace("\n", "\r").encode(),
        b"sep=;\r\n" + text.encode(),
    ):
        assert pairs(read(write(tmp_path / "log", data), strict=True)[0]) == [
            ("Größe", "x"),
            ("b", "y"),
        ]


def test_what_python_writes_as_json(tmp_path):
    data = (
        '{"text": "a", "label": "x", "score": NaN, "best": -Infinity}\n'
        '{"text": "b", "label": "y", "n": 123456789012345678901234567890}\n'
        '{"text": "c\td", "label": "z"}\n'
    )
    assert pairs(read(write(tmp_path / "log", data), strict=True)[0]) == [
        ("a", "x"),
        ("b", "y"),
        ("c\td", "z"),
    ]


@pytest.mark.parametrize(
    "value", ["\\ud83d", '1e999, "b": 2', '{"a": ' * 400 + "1" + "}" * 400, "9" * 5_000]
)
def test_values_that_cannot_be_kept_are_bad_lines_or_none(tmp_path, value):
    text = f'"{value}"' if value.startswith("\\") else value
    data = f'{{"text": {text}, "label": "x"}}\n{json.dumps(PAIR)}\n'
    exchanges, problems = read(write(tmp_path / "log", data))
    assert pairs(exchanges)[-1] == ("Pump 3 leaks", "pumps")
    assert len(exchanges) + problems.bad == 2


def test_objects_over_several_lines(tmp_path):
    rows = [{**PAIR, "n": i, "more": {"a": [1, {"b": 2}]}} for i in range(5)]
    text = "\n".join(json.dumps(row, indent=2) for row in rows)
    exchanges, problems = read(write(tmp_path / "log", text), strict=True)
    assert (len(exchanges), problems.lines) == (5, 5)
    cut = text[: len(text) - 30]
    exchanges, problems = read(write(tmp_path / "cut", cut))
    assert (len(exchanges), problems.bad) == (4, 1)


def test_an_array_of_any_size_is_read_piece_by_piece(tmp_path, monkeypatch):
    monkeypatch.setattr(arrays, "CHUNK", 2**17)
    n = 15_000
    tricky = " }, { ] [ \\" + "a" * 300
    rows = [{"text": f"{i}{tricky}", "label": ["x", {"y": i}]} for i in range(n)]
    texts = {
        "plain": json.dumps(rows),
        "printed": json.dumps(rows, indent=1),
        "wrapped": json.dumps({"object": "list", "data": rows, "has_more": False}, indent=1),
    }
    for name, text in texts.items():
        path = tmp_path / f"{name}.json.gz"
        path.write_bytes(gzip.compress(text.encode(), 1))
        found = 0
        for exchange in read_log(path, problems=LogProblems(), strict=True):
            assert f'"y":{found}' in exchange.answer.text
            found += 1
        assert found == n
    cut = write(tmp_path / "cut.json", texts["plain"][: len(texts["plain"]) // 2])
    exchanges, problems = read(cut)
    assert len(exchanges) == pytest.approx(n / 2, rel=0.02)
    assert "never closed" in problems.first_bad[0].reason
    file = io.BufferedReader(io.BytesIO(texts["plain"][1:].encode()))
    tracemalloc.start()
    assert sum(1 for _ in array_elements(b"", file, 2**20)) == n
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 0.3 * len(texts["plain"])


def test_parquet(tmp_path):
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    table = pa.table(
        {
            "messages": [[{"role": "user", "content": "Pump 3 leaks"}]] * 2,
            "response": ["pumps", "valves"],
            "when": [1, 2],
            "created_at": pa.array([1_790_000_000, 1_790_000_060], pa.timestamp("s", "UTC")),
        }
    )
    parquet.write_table(table, tmp_path / "log.parquet")
    exchanges, _ = read(tmp_path / "log.parquet", strict=True)
    assert pairs(exchanges) == [("Pump 3 leaks", "pumps"), ("Pump 3 leaks", "valves")]
    assert [exchange.time for exchange in exchanges] == [1_790_000_000, 1_790_000_060]
    assert [e.id for e in read(tmp_path / "log.parquet")[0]] == [e.id for e in exchanges]


def test_folders(tmp_path):
    folder = tmp_path / "logs"
    (folder / "b").mkdir(parents=True)
    for name, time in (("b/1.jsonl", 3), ("a.csv", 1), ("c", 2), (".hidden", 4), ("_SUCCESS", 5)):
        row = {**PAIR, "time": 1_700_000_000 + time, "label": name}
        if name.endswith("csv"):
            text = f"text,label,time\n{row['text']},{name},{row['time']}\n"
        else:
            text = lines([row])
        write(folder / name, text)
    exchanges, problems = read(folder, strict=True)
    assert [exchange.answer.text for exchange in exchanges] == ["a.csv", "c", "b/1.jsonl"]
    assert problems.reordered == 2


def test_logs_are_put_in_the_order_of_their_times(tmp_path):
    rows = [{"text": f"{i}", "label": "x", "time": 1_700_000_000 + i // 2} for i in range(3_000)]
    forward = write(tmp_path / "a", lines(rows))
    exchanges, problems = read(forward)
    assert problems.reordered == 0
    backward = write(tmp_path / "b", lines(rows[::-1]))
    again, problems = read(backward)
    # Of equal times too, the lower line of a log that is newest first is the earlier.
    assert pairs(again) == pairs(exchanges)
    assert problems.reordered == 3_000
    mixed = rows[:]
    random.Random(0).shuffle(mixed)
    again, _ = read(write(tmp_path / "c", lines(mixed)))
    assert [exchange.time for exchange in again] == [exchange.time for exchange in exchanges]
    # Where one has no time, the order of the lines is all there is.
    del mixed[-1]["time"]
    again, problems = read(write(tmp_path / "d", lines(mixed)))
    assert [text for text, _ in pairs(again)] == [row["text"] for row in mixed]
    assert problems.times_missing == 1
    assert [exchange.unbiased for exchange in again] == [True] * 2_999 + [False]


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(PAIR) * 3,
        json.dumps(PAIR) + "  " + json.dumps(PAIR) + "\n" + json.dumps(PAIR),
        f"\x1e{json.dumps(PAIR)}\n" * 3,
        f"2026-09-21T14:13:20.5Z INFO app.llm: {json.dumps(PAIR)}\n" * 3,
        f"INFO:root:{json.dumps(PAIR)}\n" * 3,
        lines([{"log": json.dumps(PAIR) + "\n", "stream": "stdout", "time": "2026-09-21"}] * 3),
        lines([{"timestamp": 1_790_000_000_000, "message": json.dumps(PAIR)}] * 3),
        lines([{"insertId": "a", "jsonPayload": PAIR, "timestamp": "2026-09-21"}] * 3),
        lines([{"_index": "llm", "_id": "1", "_source": PAIR}] * 3),
    ],
)
def test_lines_as_loggers_and_collectors_write_them(tmp_path, text):
    exchanges, problems = read(write(tmp_path / "log", text), strict=True)
    assert pairs(exchanges) == [("Pump 3 leaks", "pumps")] * 3
    assert problems.lines == 3
    timed = "2026" in text or "1790" in text
    assert all((exchange.time > 1.7e9) == timed for exchange in exchanges)


def test_elements_with_thousands_of_objects_in_them(tmp_path):
    """Where an element ends is counted once guessing fails, so that it takes no minutes."""
    parts = [{"type": "text", "text": f'}}, {{ \\" {i}'} for i in range(3_000)]
    rows = [{"messages": [{"role": "user", "content": parts}], "output": f"{i}"} for i in range(60)]
    text = json.dumps(rows)
    assert len(text) > 1.5 * arrays.CHUNK
    exchanges, problems = read(write(tmp_path / "log.json", text), strict=True)
    assert [exchange.answer.text for exchange in exchanges] == [f"{i}" for i in range(60)]
    assert problems.bad == 0
    endless = '[{"text": "' + '\\" }, ' * 2**20
    path = write(tmp_path / "endless.json", endless)
    with pytest.raises(LogError, match="never closed"):
        read(path)


def test_control_c_ends_a_wait_for_more_whichever_thread_gets_it(monkeypatch):
    reading, writing = os.pipe()
    over, given_up = threading.Event(), []
    with open(reading) as pipe, open(writing, "wb") as rows:
        rows.write(lines([PAIR]).encode())
        rows.flush()
        monkeypatch.setattr("sys.stdin", pipe)

        def control_c():
            sleep(0.3)  # until the other waits
            signal.pthread_kill(threading.get_ident(), signal.SIGINT)
            if not over.wait(20):
                given_up.append(True)
                rows.close()  # which ends the wait

        thread = threading.Thread(target=control_c)
        thread.start()
        with pytest.raises(KeyboardInterrupt):
            read("-")
        over.set()
        thread.join()
    assert given_up == []

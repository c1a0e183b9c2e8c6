"""Reading log files: what kind of file it is, what is counted, what is refused."""

import csv
import gzip
import io
import json
import subprocess
import sys
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openwheel.errors import LogError
from openwheel.traffic import LogProblems, read_log
from openwheel.traffic.log_files import MAX_LINE, MAX_ROW

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
    assert reasons[3].startswith("no input: it must have a key input or text or prompt, it has a")
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
    assert "the gzip data ends early" in problems.first_bad[0].reason
    with pytest.raises(LogError, match="the gzip data ends early"):
        read(path, strict=True)


@pytest.mark.parametrize("at", [2, 30, 5_000])
def test_a_damaged_gzip_is_said(tmp_path, at):
    data = bytearray(gzip.compress(lines({**PAIR, "n": i * 7919} for i in range(9_000)).encode()))
    data[at : at + 8] = b"\xff" * 8
    _, problems = read(write(tmp_path / "log.gz", bytes(data)))
    assert problems.bad >= 1
    assert any("gzip data" in bad.reason for bad in problems.first_bad) or problems.bad > 10


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"PAR1\x15\x04", "is a Parquet file"),
        (b"PK\x03\x04\x14", "is a zip archive"),
        (b"\x28\xb5\x2f\xfd\x00", "is compressed with zstd"),
        ('{"text":"a"}'.encode("utf-16"), "is in UTF-16"),
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
    with pytest.raises(LogError, match="is a folder"):
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
        "from openwheel.traffic import LogProblems, read_log\n"
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

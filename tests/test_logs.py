"""Log lines, as they leave a process on its standard error."""

import json
import re
import subprocess
import sys

import pytest

ENTRY = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (DEBUG|INFO|WARNING|ERROR) ")

FORGED = "bad answer\n2026-01-01T00:00:00.000Z INFO openwheel.gateway all is well"


# Runs each program that it is sent in a fork, since starting Python takes longer than any of them.
FORKING = """
import json, logging, os, sys, traceback
import openwheel.logs

for line in sys.stdin:
    program, out, err = json.loads(line)
    pid = os.fork()
    if not pid:
        os.dup2(os.open(out, os.O_WRONLY | os.O_CREAT), 1)
        os.dup2(os.open(err, os.O_WRONLY | os.O_CREAT), 2)
        try:
            exec(program, {"__name__": "__main__"})
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


@pytest.fixture(scope="module")
def forking():
    with subprocess.Popen(
        [sys.executable, "-c", FORKING],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={"PYTHONIOENCODING": "utf-8"},
    ) as process:
        yield process


@pytest.fixture
def logged(forking, tmp_path):
    """Return what a process writes that sets up logging and runs ``code``."""

    def run(code, *, level="info", format="text", again=""):
        program = (
            "import logging\nfrom openwheel.logs import set_up_logs\n"
            f"set_up_logs({level!r}, {format!r})\n{again}\n"
            "log = logging.getLogger('openwheel.gateway')\n" + code
        )
        number = len(list(tmp_path.iterdir()))
        out, err = tmp_path / f"{number}.out", tmp_path / f"{number}.err"
        forking.stdin.write(json.dumps([program, str(out), str(err)]) + "\n")
        forking.stdin.flush()
        ended = forking.stdout.readline()
        written = err.read_bytes()
        assert ended == "0\n", written
        assert out.read_bytes() == b""
        return written.decode()

    return run


@pytest.fixture
def entry(logged):
    """Return the one JSON line that ``code`` makes."""

    def run(code, **settings):
        written = logged(code, format="json", **settings)
        assert written.endswith("\n")
        assert len(written.splitlines()) == 1  # by every line end that Python knows
        return json.loads(written)

    return run


def test_a_text_line_has_time_level_logger_and_message(logged):
    written = logged("log.warning('The teacher %s is slow', 'big')")
    assert ENTRY.match(written)
    assert written.endswith("Z WARNING openwheel.gateway The teacher big is slow\n")


def test_a_json_line_has_the_same_and_extra_fields(entry):
    found = entry("log.error('Lost %d', 3, extra={'teacher': 'big', 'tries': 2, 'ids': ('a', 1)})")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", found.pop("time"))
    assert found == {
        "level": "error",
        "logger": "openwheel.gateway",
        "message": "Lost 3",
        "teacher": "big",
        "tries": 2,
        "ids": ["a", 1],
    }


def test_extra_fields_show_in_text(logged):
    written = logged("log.info('Lost', extra={'teacher': 'big', 'tries': 2})")
    assert written.endswith(" Lost teacher=big tries=2\n")


def test_an_extra_field_cannot_stand_for_one_of_ours(entry):
    found = entry("log.error('true', extra={'level': 'debug', 'time': 'never'})")
    assert (found["level"], found["level_"], found["time_"]) == ("error", "debug", "never")


@pytest.mark.parametrize("format", ["text", "json"])
@pytest.mark.parametrize("end", ["\n", "\r", "\r\n", "\x0b", "\x0c", "\x1c", "\x85", "\u2028"])
def test_a_message_cannot_begin_a_line(logged, format, end):
    forged = FORGED.replace("\n", end)
    written = logged(
        f"log.error('%s', {forged!r})\nlog.error('ok', extra={{'a': {forged!r}}})", format=format
    )
    assert len(written.splitlines()) == 2


@pytest.mark.parametrize("format", ["text", "json"])
def test_an_exception_cannot_pass_for_an_entry(logged, format):
    code = (
        f"try:\n    raise ValueError({FORGED!r})\nexcept ValueError:\n    log.exception('failed')"
    )
    written = logged(code, format=format)
    entries = [line for line in written.splitlines() if ENTRY.match(line) or line[0] == "{"]
    assert len(entries) == 1
    assert "Traceback" in written
    assert "all is well" in written


def test_an_exception_is_one_json_string(entry):
    found = entry("try:\n    1 / 0\nexcept ZeroDivisionError:\n    log.exception('failed')")
    assert found["message"] == "failed"
    assert found["exception"].startswith("Traceback (most recent call last)")
    assert found["exception"].endswith("ZeroDivisionError: division by zero")


def test_terminals_get_no_control_characters(logged):
    written = logged(r"log.error('\x1b[2J red \x07 \u202e drow')")
    assert written.endswith(r" \x1b[2J red \x07 \u202e drow" + "\n")


def test_other_alphabets_stay(logged, entry):
    assert logged("log.error('Türöffner 開く')").endswith("Türöffner 開く\n")
    assert entry("log.error('Türöffner 開く')")["message"] == "Türöffner 開く"


def test_what_is_no_character_is_logged_all_the_same(logged, entry):
    assert r"\ud800" in logged(r"log.error('a \ud800 b')")
    assert entry(r"log.error('a \ud800 b')")["level"] == "error"


@pytest.mark.parametrize("format", ["text", "json"])
@pytest.mark.parametrize(
    "said",
    [
        "authorization: Bearer HUSH-hush-1234",
        "Incorrect API key provided: sk-proj-HUSH-hush-1234.",
        "{'x-api-key': 'HUSH-hush-1234'}",
        'api_key="HUSH-hush-1234"',
        "the key ow-HUSHhush1234",
        "key=ow-HUSHhush1234&b=2",
        "https://user:HUSHhush1234@host.example/v1",
        "Authorization: Basic SFVTSGh1c2gxMjM0OkhVU0hodXNoMTIzNA==",
        "first line\nBearer HUSHhush1234",
    ],
)
def test_credentials_are_masked(logged, format, said):
    code = (
        f"said = {said!r}\nlog.error('%s', said)\nlog.error('x', extra={{'a': [said]}})\n"
        "try:\n    raise ValueError(said)\nexcept ValueError:\n    log.exception('failed')"
    )
    written = logged(code, format=format)
    assert "hush" not in written.lower()
    assert "SFVTSG" not in written
    assert written.count("***") == 3


@pytest.mark.parametrize(
    "said",
    [
        "a task-specific slow-moving risk-assessment",
        "ow-1 and sk-2",
        "basic functionality",
        "bearer of",
    ],
)
def test_plain_words_are_not_masked(logged, said):
    assert logged(f"log.error({said!r})").endswith(f" {said}\n")


def test_a_message_has_an_end(entry):
    found = entry("log.error('x' * 1_000_000)")
    assert len(found["message"]) < 11_000
    assert found["message"].endswith("(1000000 characters)")


def test_the_level_holds_and_other_libraries_do_not_debug(logged):
    code = (
        "log.debug('one')\nlog.info('two')\nlog.error('three')\n"
        "other = logging.getLogger('urllib3')\nother.debug('four')\nother.error('five')"
    )
    assert re.findall(r"\w+$", logged(code, level="debug"), re.M) == ["one", "two", "three", "five"]
    assert re.findall(r"\w+$", logged(code), re.M) == ["two", "three", "five"]
    assert re.findall(r"\w+$", logged(code, level="error"), re.M) == ["three", "five"]


def test_set_up_twice_logs_once_in_the_later_way(logged):
    written = logged("log.info('hello')", again="set_up_logs('info', 'json')")
    assert json.loads(written)["message"] == "hello"


def test_other_handlers_stay(logged):
    code = "kept = logging.StreamHandler()\nlogging.getLogger().addHandler(kept)\n"
    code += "set_up_logs('info', 'json')\nlog.warning('hello')"
    assert "hello" in logged(code).splitlines()

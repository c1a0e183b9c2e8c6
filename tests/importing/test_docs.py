"""The document says what is read."""

import re
from pathlib import Path

from openwheel.importing import LogProblems, read_log
from openwheel.importing.formats import FORMATS
from openwheel.importing.formats.pairs import (
    INPUT_KEYS,
    OUTPUT_KEYS,
    REQUEST_KEYS,
    RESPONSE_KEYS,
)
from openwheel.importing.record_reader import LATENCY_KEYS
from openwheel.importing.times import TIME_KEYS

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "logs.md").read_text()


def test_every_example_line_is_read(tmp_path):
    examples = "".join(re.findall(r"```json\n(.*?)```", TEXT, re.DOTALL))
    path = tmp_path / "log.jsonl"
    path.write_text(examples)
    problems = LogProblems()
    found = list(read_log(path, problems=problems, strict=True))
    assert len(found) == problems.lines == len(examples.splitlines()) >= 12
    for exchange in found:
        assert "Pump 3 leaks" in exchange.prompt().messages[-1].text
        assert "pumps" in exchange.answer.text


def test_every_key_is_in_the_document():
    keys = {*INPUT_KEYS, *OUTPUT_KEYS, *REQUEST_KEYS, *RESPONSE_KEYS, *TIME_KEYS, *LATENCY_KEYS}
    assert {key for key in keys if f"`{key}`" not in TEXT} == set()


def test_every_tool_is_in_the_document():
    table = TEXT[TEXT.index("## Tools") : TEXT.index("## Files")]
    generic = {"requests and responses", "OpenTelemetry spans", "Azure"}
    assert {form.name for form in FORMATS if form.name not in table} <= generic

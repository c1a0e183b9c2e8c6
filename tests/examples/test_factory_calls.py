"""The bundled sample of calls is what its generator writes and what its README says."""

import gzip
import importlib.util
import json
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest

from openwheel.students.tools import offered
from openwheel.wire import APIS, read_reply

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.fixture(scope="module")
def calls() -> ModuleType:
    sys.path.insert(0, str(EXAMPLES))  # it shares the desk's words
    try:
        spec = importlib.util.spec_from_file_location(
            "factory_calls", EXAMPLES / "factory_calls.py"
        )
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(EXAMPLES))
    return module


def test_the_generator_writes_the_committed_log(calls: ModuleType, tmp_path: Path) -> None:
    again = tmp_path / "again.jsonl.gz"
    calls.main(["--output", str(again)])
    committed = (EXAMPLES / "factory-calls.jsonl.gz").read_bytes()
    assert gzip.decompress(again.read_bytes()) == gzip.decompress(committed)
    assert len(committed) < 200_000


def test_calls_are_of_what_is_offered_in_the_documented_shares() -> None:
    log = gzip.decompress((EXAMPLES / "factory-calls.jsonl.gz").read_bytes()).splitlines()
    rows = [json.loads(line) for line in log]
    kinds: Counter[str] = Counter()
    for row in rows:
        request = APIS["chat"].read_request(json.dumps(row["request"]).encode())
        answer = read_reply(json.dumps(row["response"]).encode()).answer
        names = [call.name for call in answer.tool_calls]
        assert not names or offered(request.prompt.tools).take_all(answer.tool_calls)
        kinds[
            "two"
            if len(names) > 1
            else "note"
            if names == ["hand_over"]
            else "one"
            if names
            else ""
        ] += 1
    assert len(rows) == 1200
    shares = {kind: round(100 * number / len(rows)) for kind, number in kinds.items()}
    assert shares == {"one": 67, "two": 15, "note": 8, "": 9}
    assert [row["time"] for row in rows] == sorted(row["time"] for row in rows)

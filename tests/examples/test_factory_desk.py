"""The bundled sample traffic is what its generator writes and what its README says."""

import gzip
import importlib.util
import json
import re
import sys
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from types import ModuleType
from typing import Any

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
Pair = tuple[dict[str, Any], dict[str, Any]]


@pytest.fixture(scope="module")
def desk() -> ModuleType:
    spec = importlib.util.spec_from_file_location("factory_desk", EXAMPLES / "factory_desk.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def committed() -> bytes:
    return gzip.decompress((EXAMPLES / "factory-desk.jsonl.gz").read_bytes())


@pytest.fixture(scope="module")
def written(desk: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("factory_desk")
    log, truth = folder / "log.jsonl.gz", folder / "truth.jsonl"
    desk.main(["--output", str(log), "--truth", str(truth)])
    return log, truth


@pytest.fixture(scope="module")
def pairs(committed: bytes, written: tuple[Path, Path]) -> list[Pair]:
    log = [json.loads(line) for line in committed.splitlines()]
    truth = [json.loads(line) for line in written[1].read_bytes().splitlines()]
    return list(zip(log, truth, strict=True))


@pytest.fixture(scope="module")
def routes(pairs: list[Pair]) -> list[Pair]:
    return [pair for pair in pairs if pair[1]["task"] == "route"]


def user_text(row: dict[str, Any]) -> str:
    return str(row["request"]["messages"][1]["content"])


def answer(row: dict[str, Any]) -> str:
    return str(row["response"]["choices"][0]["message"]["content"])


def ticket(row: dict[str, Any]) -> str:
    found = re.fullmatch(r"Ticket \d+ from line \d+:\n(.*)\nQueue:", user_text(row), re.DOTALL)
    assert found is not None
    return found[1]


def test_generator_writes_the_committed_log(
    committed: bytes, written: tuple[Path, Path], desk: ModuleType, tmp_path: Path
) -> None:
    assert gzip.decompress(written[0].read_bytes()) == committed
    again = tmp_path / "again.jsonl.gz"
    desk.main(["--output", str(again)])
    assert again.read_bytes() == written[0].read_bytes()  # no time stamp in the gzip header


def test_another_seed_writes_another_log(desk: ModuleType, committed: bytes) -> None:
    first = next(row for row, _ in desk.generate(count=5, seed=desk.SEED + 1))
    assert desk.encode(first) not in committed


def test_log_is_small_enough_to_bundle() -> None:
    assert (EXAMPLES / "factory-desk.jsonl.gz").stat().st_size < 1_000_000


def test_every_line_has_the_documented_shape(pairs: list[Pair]) -> None:
    assert len(pairs) == 5000
    for row, _ in pairs:
        assert list(row) == ["time", "latency_ms", "request", "response"]
        time = datetime.strptime(row["time"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
        request, response = row["request"], row["response"]
        assert list(request) == ["model", "temperature", "messages"]
        assert [message["role"] for message in request["messages"]] == ["system", "user"]
        assert all(message["content"].strip() for message in request["messages"])
        assert re.fullmatch(r"chatcmpl-[0-9a-f]{24}", response["id"])
        assert response["object"] == "chat.completion"
        assert response["created"] == int(time.timestamp())
        assert response["model"] == request["model"] == "teacher-large"
        (choice,) = response["choices"]
        assert choice["index"] == 0
        assert choice["finish_reason"] == "stop"
        assert choice["message"]["role"] == "assistant"
        assert choice["message"]["content"].strip()
        usage = response["usage"]
        assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
        assert min(usage.values()) > 0
        assert isinstance(row["latency_ms"], int)
        assert row["latency_ms"] > 0
    assert len({row["response"]["id"] for row, _ in pairs}) == len(pairs)


def test_lines_come_in_order_of_arrival(pairs: list[Pair]) -> None:
    times = [row["time"] for row, _ in pairs]
    assert times == sorted(times)
    assert times[0].startswith("2026-03-02T06:")
    assert times[-1].startswith("2026-04-11T")


def test_no_line_tells_its_task(pairs: list[Pair]) -> None:
    assert not any("task" in row or "task" in row["request"] for row, _ in pairs)


@pytest.mark.parametrize(
    ("task", "share", "latency"),
    [("route", 0.70, 700), ("record", 0.18, 1500), ("reply", 0.12, 2600)],
)
def test_shares_and_latencies(pairs: list[Pair], task: str, share: float, latency: int) -> None:
    waits = [row["latency_ms"] for row, truth in pairs if truth["task"] == task]
    assert len(waits) / len(pairs) == pytest.approx(share, abs=0.02)
    assert median(waits) == pytest.approx(latency, rel=0.06)


def test_route_answers_are_queues_of_the_prompt(routes: list[Pair]) -> None:
    answers = {answer(row) for row, _ in routes}
    assert len(answers) == 25
    for row, _ in routes:
        assert f"\n- {answer(row)}: " in row["request"]["messages"][0]["content"]


def test_tickets_are_three_to_sixty_words(routes: list[Pair]) -> None:
    lengths = [len(ticket(row).split()) for row, _ in routes]
    assert min(lengths) == 3
    assert 40 < max(lengths) <= 60


def test_repeats_are_verbatim_and_marked(pairs: list[Pair], routes: list[Pair]) -> None:
    repeats = 0
    first: dict[str, int] = {}
    for row, truth in routes:
        assert truth["repeat_of"] == first.get(ticket(row))
        first.setdefault(ticket(row), truth["line"])
        if truth["repeat_of"] is not None:
            repeats += 1
            assert truth["kind"] == "repeat"
            assert truth["right"] == pairs[truth["repeat_of"]][1]["right"]
    assert 0.08 < repeats / len(routes) < 0.12


def test_contradictions_are_marked_and_some_texts_have_two_answers(routes: list[Pair]) -> None:
    slips = 0
    answers: dict[str, set[str]] = defaultdict(set)
    for row, truth in routes:
        assert (answer(row) != truth["right"]) == truth["contradiction"]
        slips += truth["contradiction"]
        answers[ticket(row)].add(answer(row))
    assert 0.012 < slips / len(routes) < 0.019
    assert sum(len(given) == 2 for given in answers.values()) >= 10


def test_new_kind_comes_after_the_middle(pairs: list[Pair], routes: list[Pair]) -> None:
    late = [truth for _, truth in routes if truth["line"] >= len(pairs) // 2]
    new = [truth for _, truth in routes if truth["right"] == "additive"]
    assert min(truth["line"] for truth in new) >= len(pairs) // 2
    assert not any(
        answer(row) == "additive" for row, truth in routes if truth["line"] < len(pairs) // 2
    )
    assert 0.04 < len(new) / len(late) < 0.06


def test_records_have_one_json_style_and_name_their_machine(pairs: list[Pair]) -> None:
    fields = ["machine", "symptom", "downtime_min", "stopped", "priority"]
    for row, truth in pairs:
        if truth["task"] != "record":
            continue
        record = json.loads(answer(row))
        assert list(record) == fields
        assert json.dumps(record, ensure_ascii=False) == answer(row)
        assert record["machine"] in user_text(row)
        assert record["symptom"] in row["request"]["messages"][0]["content"]
        assert record["priority"] in ("low", "medium", "high")
        assert (answer(row) != truth["right"]) == truth["contradiction"]


def test_replies_address_the_reporter(pairs: list[Pair]) -> None:
    for row, truth in pairs:
        if truth["task"] == "reply":
            reporter = user_text(row).split("\n", 1)[0].removeprefix("Reporter: ")
            assert reporter in answer(row).split("\n", 1)[0]


def test_readme_gives_the_counts_of_the_log(routes: list[Pair], pairs: list[Pair]) -> None:
    readme = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    assert "synthetic" in readme
    slips = sum(truth["contradiction"] for _, truth in routes)
    repeats = sum(truth["kind"] == "repeat" for _, truth in routes)
    new = sum(truth["right"] == "additive" for _, truth in routes)
    records = sum(truth["task"] == "record" for _, truth in pairs)
    assert f"| route | {len(routes):,} |" in readme
    assert f"| record | {records:,} |" in readme
    assert f"| {repeats} ({repeats / len(routes):.1%}) |" in readme
    assert f"| {slips} ({slips / len(routes):.1%}), " in readme
    assert f"| {new} (" in readme

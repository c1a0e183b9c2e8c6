"""A real base through the whole rung, as a user takes it: every step is a command of Openwheel.

Each data set becomes a log. ``openwheel learn`` trains, judges and certifies or refuses, one rung
at a time, on the same rows. A rung that is refused at the usual epsilon is learned once more at a
wide one in a store of its own, which is of no use but to have it serve: the language model is not
trained again. It is then asked through ``openwheel up``, and exported. CPU seconds are the
operating system's, of a command with all that it starts; peak memory is that of its largest
process.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import msgspec
import numpy as np

import coverage
import structured
from gateway_bench.processes import cpu_seconds, free_port, rss_mb, running, wait_until_open
from lm_bench import gemma
from openwheel.catalog import load_catalog
from openwheel.gate import clopper_pearson
from openwheel.inference.lark import lark_of
from openwheel.inference.local import make_front
from openwheel.inference.remote import RemoteWriter
from openwheel.inference.server import serving
from openwheel.inference.writer import Written
from openwheel.loop.data import SMALL_CALIBRATION
from openwheel.loop.records import Candidate
from openwheel.loop.registry import Registry
from openwheel.loop.resources import open_resources
from openwheel.loop.settings import LoopSettings
from openwheel.settings import EngineSection, Precision, read_settings
from openwheel.store import Store
from openwheel.students import Student
from openwheel.students.lm.student import LmStudent, ask_all
from openwheel.tasks import canonical_answer
from openwheel.trust.folders import recognise
from openwheel.wire import Answer

Pair = tuple[str, str]

ASKS = {
    "snips": "Find the intent of the request and its slots. Answer with a JSON object.",
    "banking77": "Say in one label what the customer's message is about.",
}
"""The system text of each data set's requests."""

_MB = 1024 * 1024


class Sizes(msgspec.Struct, frozen=True):
    """How much a run takes.

    Attributes:
        rows: Exchanges of a log.
        test: Rows of the test split that are answered.
        served: Of those, how many are asked for through the gateway, one by one.
        epochs: Times that the model learns from an exchange.
        batch: Exchanges of a step.
        rate: Its learning rate.
        epsilon: At which students are to be certified.
        wide: At which a refused one is certified, to be served.
        threads: That compute.
        rungs: Those that are trained.
        encoder: A folder with a sentence encoder; ``""``: the rung is left out.
        precision: In which the base is served.
        precisions: In which it is served besides, on training rows alone, to compare them.
        compared: The most training rows that are asked about for that.
    """

    rows: int
    test: int
    served: int
    epochs: int
    batch: int
    rate: float
    epsilon: float
    wide: float
    threads: int
    rungs: tuple[str, ...]
    encoder: str
    precision: str
    precisions: tuple[str, ...]
    compared: int


class Cost(NamedTuple):
    """What a command took: seconds of wall and CPU time, the peak of its largest process."""

    wall: float
    cpu: float
    peak_mb: float

    def __str__(self) -> str:
        return f"{self.wall:.0f} s, {self.cpu:.0f} s of CPU, {self.peak_mb:,.0f} MB"


def measure(names: Sequence[str], cache: Path, folder: Path, sizes: Sizes) -> None:
    """Take each data set through the rungs, and print what came of it."""
    base = gemma.folder(cache)
    found = recognise(base, load_catalog())
    print(
        f"{gemma.ID} of {gemma.PACKAGE} {gemma.VERSION} (sha256 {gemma.SHA256[:12]}), dequantised; "
        f"by its "
        f"{found.told_by} {' or '.join(row.id for row in found.rows)}; {sizes}"
    )
    for name in names:
        _take(name, base, folder / name, sizes)


def _data(name: str, sizes: Sizes) -> tuple[list[Pair], list[Pair]]:
    rest, test = structured.SETS["banking77-bare" if name == "banking77" else name]()
    order = np.random.default_rng(coverage.SEED).permutation(len(rest))[: sizes.rows]
    asked = np.random.default_rng(coverage.SEED).permutation(len(test))[: sizes.test]
    return [rest[i] for i in order], [test[i] for i in asked]


def _take(name: str, base: Path, folder: Path, sizes: Sizes) -> None:
    rows, test = _data(name, sizes)
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "log.jsonl"
    log.write_text("".join(_line(name, pair) for pair in rows), encoding="utf-8")
    (folder / "test.jsonl").write_text("".join(_line(name, pair) for pair in test), "utf-8")
    print(f"\n{name}: {len(rows):,} exchanges in the log, {len(test):,} of the test split")
    for rung in sizes.rungs:
        if rung == "encoder" and (not sizes.encoder or name != "banking77"):
            continue
        (folder / "openwheel.toml").write_text(_settings(rung, base, sizes), encoding="utf-8")
        learned, cost = _learn(folder, rung, sizes.epsilon)
        print(
            f"{rung}: learned in {cost}\n  at {sizes.epsilon:.0%}: {learned['reason']}", flush=True
        )
        store = f"{rung}.db"
        if not learned["certified"]:
            store = f"{rung}-wide.db"
            begun = folder / f"{rung}.db.students" / ".training"
            if begun.is_dir():
                shutil.copytree(begun, folder / f"{store}.students" / ".training")
            learned, _ = _learn(folder, rung, sizes.wide, store)
            print(f"  at {sizes.wide:.0%}: {learned['reason']}")
        with _student(folder, store) as (candidate, student):
            if student is None:
                print("  no student is kept")
                continue
            if isinstance(student, LmStudent):
                _check_learned(folder, store, base, student)
                compare_precisions(student, base, rows, sizes)
            _test(candidate, student, test, alone=sizes.served)
        if learned["certified"]:
            _serve(name, folder, store, test[: sizes.served])
            if rung == "lm":
                _export(folder, store, learned["student"], sizes)


def _settings(rung: str, base: Path, sizes: Sizes) -> str:
    loop = '[loop]\ntune_encoder = "never"\n'
    if rung == "encoder":
        return f'{loop}encoder = "{sizes.encoder}"\n'
    if rung == "linear":
        return loop
    return (
        f'[lm]\nbase = "{base}"\nprompt = "inputs"\nepochs = {sizes.epochs}\n'
        f"batch = {sizes.batch}\nlearning_rate = {sizes.rate}\nthreads = {sizes.threads}\n"
        f'[engine]\nprecision = "{sizes.precision}"\nthreads = {sizes.threads}\n'
    )


def _learn(folder: Path, rung: str, epsilon: float, store: str = "") -> tuple[dict[str, Any], Cost]:
    options = ["--rungs", rung, "--epsilon", str(epsilon), "--db", store or f"{rung}.db"]
    output, cost = _run(folder, "learn", "log.jsonl", "--in-order", "--json", *options)
    (task,) = json.loads(output)["tasks"]
    for warning in task["warnings"]:
        print(f"  {warning}")
    return task, cost


def _run(folder: Path, *command: str) -> tuple[str, Cost]:
    """Run a command of Openwheel in a folder; return what it printed, and what it took."""
    began = time.monotonic()
    with (folder / f"{command[0]}.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "openwheel", *command],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=log,
        )
        assert process.stdout is not None
        output = process.stdout.read().decode()
        _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"openwheel {' '.join(command)} failed; see {folder}/{command[0]}.log")
    cpu = used.ru_utime + used.ru_stime
    return output, Cost(time.monotonic() - began, cpu, used.ru_maxrss * 1024 / _MB)


@contextlib.contextmanager
def _student(folder: Path, store: str) -> Iterator[tuple[Candidate | None, Student | None]]:
    """Load the latest student of a store, whatever became of it."""
    settings = read_settings(folder / "openwheel.toml")
    loop = LoopSettings.of(settings)
    with Store.open(folder / store) as opened, open_resources(loop) as resources:
        registry = Registry(opened)
        found = [candidate for candidate, _, _ in registry.candidates()]
        if not found:
            yield None, None
        else:
            yield found[-1], registry.load(found[-1], resources)


def _check_learned(folder: Path, store: str, base: Path, student: LmStudent) -> None:
    """Print how many of the answers that were learned can be written within their constraint."""
    import llguidance.hf
    from llguidance import LLMatcher
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base)
    known = llguidance.hf.from_tokenizer(tokenizer)
    grammar = lark_of(student.settings.asking.constraint).partition("\n")[2]
    (examples,) = (folder / f"{store}.students").glob(".training/*/examples.jsonl")
    records = [json.loads(line) for line in examples.read_bytes().splitlines()]
    learned = [record["answer"] for record in records if not record.get("held_out")]
    passed = 0
    for answer in learned:
        matcher = LLMatcher(known, LLMatcher.grammar_from_lark(grammar), log_level=0)
        ids = tokenizer(answer, add_special_tokens=False)["input_ids"]
        passed += bool(matcher.consume_tokens(ids)) and bool(matcher.is_accepting())
    print(f"  of {len(learned)} learned answers {passed} can be written within the constraint")
    if passed < len(learned):
        raise SystemExit("a learned answer cannot be written within its own constraint")


def compare_precisions(student: LmStudent, base: Path, rows: Sequence[Pair], sizes: Sizes) -> None:
    """Print how answers differ between precisions of the base, the first of them being the measure.

    The rows are the latest of the training part, which the model has not learned from; no row that
    calibrates or tests is asked about.
    """
    training = rows[: len(rows) - max(len(rows) // 4, min(len(rows) // 2, SMALL_CALIBRATION))]
    asked = training[-min(sizes.compared, int(0.2 * len(training))) :]
    asking, first = student.settings.asking, list[Written]()
    for precision in sizes.precisions:
        section = EngineSection(precision=cast(Precision, precision), threads=sizes.threads)
        front = make_front(str(base), section, context=512)
        with serving(front) as url, contextlib.closing(RemoteWriter(url, timeout=600)) as writer:
            writer.load_adapter("student", student.adapter)
            ask_all(writer, "student", asking, [(text,) for text, _ in asked[:2]])
            pid = front.health()["process"]
            cpu = cpu_seconds(pid)
            written = [
                one for text, _ in asked for one in ask_all(writer, "student", asking, [(text,)])[1]
            ]
            cpu, memory = cpu_seconds(pid) - cpu, rss_mb(pid)
        assert len(written) == len(asked)
        first = first or written
        right = sum(
            canonical_answer(Answer(one.text), asking.form)
            == canonical_answer(Answer(answer), asking.form)
            for one, (_, answer) in zip(written, asked, strict=True)
        )
        same = [(a, b) for a, b in zip(first, written, strict=True) if a.text == b.text]
        apart = np.abs(
            [x - y for a, b in same for x, y in zip(a.logprobs, b.logprobs, strict=True)]
        )
        print(
            f"  {precision}, {len(asked)} rows of training that were not learned: {right} agree, "
            f"{len(same)} texts as in {sizes.precisions[0]}, their {len(apart):,} "
            f"log-probabilities apart at most {apart.max():.4f}, mean {apart.mean():.4f}; "
            f"{cpu / len(asked):.2f} s of CPU an answer, one by one; {memory:,.0f} MB",
            flush=True,
        )


def _test(
    candidate: Candidate | None, student: Student, test: Sequence[Pair], *, alone: int
) -> None:
    """Print how a student does on the test split at once, and what some answers take alone."""
    assert candidate is not None
    began, cpu = time.monotonic(), cpu_seconds(os.getpid())
    texts, confidence = student.answer([(text,) for text, _ in test])
    cpu, wall = cpu_seconds(os.getpid()) - cpu, time.monotonic() - began
    before = cpu_seconds(os.getpid())
    for text, _ in test[:alone]:
        student.answer_one((text,))
    each = (cpu_seconds(os.getpid()) - before) / alone
    form = candidate.form
    agrees = np.array(
        [
            canonical_answer(Answer(said), form) == canonical_answer(Answer(answer), form)
            for said, (_, answer) in zip(texts, test, strict=True)
        ]
    )
    right, n = int(agrees.sum()), len(test)
    low, high = clopper_pearson(right, n)
    surest = np.argsort(-confidence, kind="stable")[: n // 2]
    print(
        f"  test split: {right} of {n} agree ({right / n:.1%}, {low:.1%} to {high:.1%}); of the "
        f"surest half {int((~agrees[surest]).sum())} of {len(surest)} do not; an answer "
        f"{cpu / n:.4f} s of CPU, {wall / n:.4f} s, all at once, {each:.4f} s of CPU one by one"
    )


def _serve(name: str, folder: Path, store: str, test: Sequence[Pair]) -> None:
    """Print what the gateway answers with a promoted student, one request after the other."""
    port, log = free_port(), folder / f"up-{store}.log"
    command = [sys.executable, "-m", "openwheel", "up", "--config", str(folder / "openwheel.toml")]
    command += ["--teacher", f"replay:{folder / 'test.jsonl'}", "--db", str(folder / store)]
    command += ["--port", str(port), "--no-turns"]
    with running(command, log) as process:
        wait_until_open(process, port, log)
        _wait_for_student(port)
        began, cpu = time.monotonic(), cpu_seconds(process.pid)
        found = [_ask(name, port, text, stream=bool(i % 2)) for i, (text, _) in enumerate(test)]
        wall, cpu = time.monotonic() - began, cpu_seconds(process.pid) - cpu
        memory = rss_mb(process.pid)
    by_student = [one == "student" for one, _ in found]
    wrong = sum(
        by and _same(said) != _same(answer)
        for by, (_, said), (_, answer) in zip(by_student, found, test, strict=True)
    )
    print(
        f"  behind the gateway: {sum(by_student)} of {len(test)} requests answered by the student "
        f"({wrong} of them otherwise than the data); {cpu / len(test):.3f} s of CPU and "
        f"{wall / len(test):.3f} s a request, every second one streamed; {memory:,.0f} MB, all "
        "processes"
    )


def _same(text: str) -> object:
    with contextlib.suppress(ValueError):
        return json.loads(text)
    return text


def _wait_for_student(port: int) -> None:
    """Wait until the student is loaded: until then the teacher answers.

    Raises:
        SystemExit: It is not loaded within minutes.
    """
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=30) as response:
            if json.load(response)["students"]:
                return
        time.sleep(0.5)
    raise SystemExit("the gateway has not loaded the promoted student; its log says why")


def _ask(name: str, port: int, text: str, *, stream: bool) -> tuple[str, str]:
    """Return who answered a request, and what."""
    body = json.dumps({**_request(name, text), "stream": stream}).encode()
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/chat/completions", body, {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=120) as response:
        source, data = response.headers["x-openwheel-source"], response.read().decode()
    if not stream:
        return source, json.loads(data)["choices"][0]["message"]["content"]
    events = [line[6:] for line in data.splitlines() if line.startswith("data: {")]
    choices = [choice for event in events for choice in json.loads(event)["choices"]]
    return source, "".join(choice["delta"].get("content") or "" for choice in choices)


def _export(folder: Path, store: str, student: str, sizes: Sizes) -> None:
    for form, more in (("adapter", ()), ("gguf", ("--precision", sizes.precision))):
        target = folder / f"export-{form}"
        shutil.rmtree(target, ignore_errors=True)
        options = ("--as", form, *more, "--to", str(target), "--db", store)
        _, cost = _run(folder, "export", student, *options)
        size = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
        print(f"  exported as {form}: {size / 1e6:,.1f} MB in {cost}")


def _request(name: str, text: str) -> dict[str, Any]:
    messages = [{"role": "system", "content": ASKS[name]}, {"role": "user", "content": text}]
    return {"model": "teacher", "messages": messages}


def _line(name: str, pair: Pair) -> str:
    message = {"role": "assistant", "content": pair[1]}
    answer = {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
    return json.dumps({"request": _request(name, pair[0]), "response": answer}) + "\n"

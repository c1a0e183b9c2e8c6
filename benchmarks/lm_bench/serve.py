"""Tokens a second of the engine beside transformers' ``generate`` on the same requests.

All sides run the same random model, greedily, in one process and with as many threads, one after
the other in each round. ``generate`` gets the requests in batches as large as the engine's, padded
on the left; a batch lasts as long as its longest answer. Time is processor time on a CPU, so that
other work on the machine does not count, and wall-clock time on an accelerator. The bound is what
memory allows: a step reads all weights once for the whole batch, and what is remembered of each
text; reading prompts is not in it.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from lm_bench.made import make_base
from shared import rows

VOCABULARY = 4096
_READ_BYTES = 256 << 20


class Work(NamedTuple):
    """Requests: system text and input of each, and how many tokens each answer has at most."""

    name: str
    requests: list[tuple[str, str]]
    tokens: list[int]


class Ran(NamedTuple):
    """What one side did: tokens written, and seconds it took."""

    tokens: int
    seconds: float


def works(count: int) -> list[Work]:
    """Return three loads: labels under a long shared prompt, short texts, texts of all lengths."""
    banking = [row for row in rows("banking77") if row["split"] == "test"][:count]
    labels = sorted({row["label"] for row in rows("banking77")})
    system = (
        "You are given a customer's message to a bank. Say which of these it is about, in exactly "
        "the word given here and nothing else:\n" + "\n".join(f"- {label}" for label in labels)
    )
    texts = [row["text"] for row in banking]
    return [
        Work(
            "labels, 77 of them in the prompt, 8 tokens",
            [(system, text) for text in texts],
            [8] * len(texts),
        ),
        Work(
            "texts of 64 tokens, nothing shared",
            [("", text) for text in texts],
            [64] * len(texts),
        ),
        Work(
            "texts of 4 to 124 tokens, nothing shared",
            [("", text) for text in texts],
            [4 + 8 * (7 * at % 16) for at in range(len(texts))],
        ),
    ]


def measure(shape: str, count: int, rounds: int, device: str, *, batch: int = 16) -> None:
    """Print each side's tokens a second on each load, ratios to ``generate``, and the bound."""
    import torch

    clock = time.process_time if device == "cpu" else time.perf_counter
    print(
        f"serving, {shape} model, {count} requests, batches of {batch}, {device}, "
        f"{torch.get_num_threads()} threads, median of {rounds} rounds"
    )
    bandwidth = read_bandwidth(device)
    for work in works(count):
        with tempfile.TemporaryDirectory() as name:
            texts = [text for request in work.requests for text in request]
            make_base(Path(name), texts, shape=shape, vocabulary=VOCABULARY)
            found = _sides(Path(name), work, rounds, device, batch=batch, clock=clock)
            bound = _bound(Path(name), work, device, batch, bandwidth)
        base = statistics.median(ran.tokens / ran.seconds for ran in found["generate, batched"])
        print(f"\n{work.name}")
        print(f"{'':28} {'tokens/s':>9} {'ratio':>6} {'of the bound':>13}")
        for side, runs in found.items():
            speed = statistics.median(ran.tokens / ran.seconds for ran in runs)
            print(f"{side:28} {speed:9.0f} {speed / base:6.2f} {speed / bound:13.1%}")
        print(f"{'bound: ' + format(bandwidth / 1e9, '.1f') + ' GB/s':28} {bound:9.0f}")


def read_bandwidth(device: str) -> float:
    """Return bytes a second that are read from memory, the best of several tries."""
    import torch

    data = torch.ones(_READ_BYTES // 4, device=device)
    best = 0.0
    for _ in range(8):
        started = time.perf_counter()
        float(data.sum())
        best = max(best, _READ_BYTES / (time.perf_counter() - started))
    return best


def _sides(
    folder: Path, work: Work, rounds: int, device: str, *, batch: int, clock: Callable[[], float]
) -> dict[str, list[Ran]]:
    from openwheel.engine.base import load_base
    from openwheel.engine.engine import Engine, EngineLimits

    limits = EngineLimits(max_batch=batch, max_queue=1 << 20)
    anew = EngineLimits(max_batch=batch, max_queue=1 << 20, prefix_share=0.0)
    found: dict[str, list[Ran]] = {}
    with (
        Engine(load_base(str(folder), device=device), limits=limits) as reusing,
        Engine(load_base(str(folder), device=device), limits=anew) as reading,
    ):
        base = load_base(str(folder), device=device)
        prompts = [reading.render(_turns(request)).ids for request in work.requests]
        sides: dict[str, Callable[[], int]] = {
            "engine": lambda: _write(reusing, prompts, work.tokens),
            "engine, nothing reused": lambda: _write(reading, prompts, work.tokens),
            "generate, batched": lambda: _generate(base, prompts, work.tokens, batch),
            "generate, one by one": lambda: _generate(base, prompts, work.tokens, 1),
        }
        for _ in range(rounds):
            for side, run in sides.items():
                started = clock()
                tokens = run()
                found.setdefault(side, []).append(Ran(tokens, clock() - started))
    return found


def _turns(request: tuple[str, str]) -> list[dict[str, str]]:
    system, text = request
    head = [{"role": "system", "content": system}] if system else []
    return [*head, {"role": "user", "content": text}]


def _write(engine: Any, prompts: list[list[int]], tokens: list[int]) -> int:
    from openwheel.engine.choose import Sampling
    from openwheel.engine.engine import Wanted
    from openwheel.engine.prompts import Rendered

    wanted = [
        Wanted(
            model=engine.name,
            prompt=Rendered("", prompt),
            max_tokens=most,
            sampling=Sampling(temperature=0.0),
            plain=True,
        )
        for prompt, most in zip(prompts, tokens, strict=True)
    ]
    started = engine.start(wanted)
    for one in started:
        one.answering.done.wait()
    return sum(one.answering.written for one in started)


def _generate(base: Any, prompts: list[list[int]], tokens: list[int], batch: int) -> int:
    import torch

    written = 0
    end, pad = base.tokenizer.eos_token_id, base.tokenizer.pad_token_id
    for at in range(0, len(prompts), batch):
        group, most = prompts[at : at + batch], tokens[at : at + batch]
        width = max(map(len, group))
        ids = torch.full((len(group), width), pad, device=base.device)
        mask = torch.zeros_like(ids)
        for row, prompt in enumerate(group):
            ids[row, width - len(prompt) :] = torch.tensor(prompt, device=base.device)
            mask[row, width - len(prompt) :] = 1
        with torch.inference_mode():
            out = base.model.generate(
                ids,
                attention_mask=mask,
                max_new_tokens=max(most),
                do_sample=False,
                pad_token_id=pad,
                eos_token_id=end,
            )
        for row, limit in enumerate(most):
            # Only what was asked for counts: up to each answer's own end.
            answer = out[row, width:].tolist()
            length = answer.index(end) + 1 if end in answer else len(answer)
            written += min(length, limit)
    return written


def _bound(folder: Path, work: Work, device: str, batch: int, bandwidth: float) -> float:
    """Return the tokens a second at which memory could be read, were that all there is to do."""
    from openwheel.engine.base import load_base
    from openwheel.engine.runner import Runner

    base = load_base(str(folder), device=device)
    weights = sum(weight.numel() * weight.element_size() for weight in set(base.model.parameters()))
    runner = Runner(base)
    lengths = [
        len(base.tokenizer.apply_chat_template(_turns(one), tokenize=True)["input_ids"])
        for one in work.requests
    ]
    remembered = runner.token_bytes * (statistics.mean(lengths) + statistics.mean(work.tokens) / 2)
    return float(batch * bandwidth / (weights + batch * remembered))

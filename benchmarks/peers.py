"""Openwheel beside Jevstiller 0.5.3 and stuntd 0.2.1, on the same embeddings and splits.

    python benchmarks/peers.py --install --encoder FOLDER   make their environment, and run
    python benchmarks/peers.py --encoder FOLDER [--only coverage audits cost]
    python benchmarks/peers.py --quick --encoder FOLDER     less of everything: a smoke test

``--encoder`` is all-MiniLM-L6-v2, a folder. The peers have an environment of their own
(``--peers``) with the versions above from PyPI; each side's thresholds, bounds, novelty gates and
drift rules are its own code with its own defaults. How their documents were read is said in
`peers_bench/theirs.py`.

A label is a human's or GPT-4's; no teacher here has probabilities, so all learn from labels alone.
"""

import argparse
import json
import os
import subprocess
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gateway_bench.sides import install, versions
from openwheel.gate import clopper_pearson
from openwheel.students.encoder import SentenceEncoder
from peers_bench import audits, draws, ours
from peers_bench.results import OF_ALL, OF_ANSWERED, Result
from shared import about

PEERS = ["jevstiller==0.5.3", "stuntd[train]==0.2.1"]
ENVIRONMENT = Path(__file__).resolve().parents[1] / ".venv" / "bench-decisions"
THEIRS = Path(__file__).resolve().parent / "peers_bench" / "theirs.py"
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
BUDGETS = (0.05, 0.02, 0.01)
AT_BUDGET = 10_000
"""Audits exactly at the budget."""

COVERED = 0.6
BEFORE, AFTER = 2_500, 20_000
"""Audits before and after a jump."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--encoder", required=True, help="all-MiniLM-L6-v2, a folder")
    add("--peers", type=Path, default=ENVIRONMENT, help="an environment with the two peers")
    add("--install", action="store_true", help="make that environment if it is not there")
    add("--folder", type=Path, default=Path("/tmp/openwheel-peers"), help="for vectors")
    add("--data", nargs="*", default=list(draws.TASKS), choices=list(draws.TASKS))
    add("--repeats", type=int, default=3, help="splits a task")
    add("--runs", type=int, default=1_000, help="streams of audits a world")
    parts = ("coverage", "audits", "cost")
    add("--only", nargs="*", default=parts, choices=parts)
    add("--quick", action="store_true", help="less of everything: a smoke test")
    asked = parser.parse_args()
    if asked.quick:
        asked.data, asked.repeats, asked.runs = ["sms_spam"], 1, 20
    python = str(asked.peers / "bin" / "python")
    if asked.install and not asked.peers.exists():
        install(asked.peers, *PEERS)
    print(about("benchmarks/peers.py"))
    print(f"peers: {versions(python, 'jevstiller', 'stuntd', 'torch', 'numpy')}")
    began = time.process_time()
    if "coverage" in asked.only:
        asked.folder.mkdir(parents=True, exist_ok=True)
        encoder = SentenceEncoder(asked.encoder)
        draws.write(asked.folder, asked.data, encoder, asked.repeats)
        coverage(python, asked.folder, asked.data, asked.repeats)
    if "audits" in asked.only:
        at_budget(python, asked.runs)
        jumps(python, asked.runs)
    if "cost" in asked.only:
        asked.folder.mkdir(parents=True, exist_ok=True)
        name = "sms_spam" if asked.quick else "snips"
        if asked.only == ["cost"]:
            draws.write(asked.folder, [name], SentenceEncoder(asked.encoder), 1)
        cost(python, asked.folder, name, asked.encoder, 50 if asked.quick else 1_000)
    print(f"\n{time.process_time() - began:.0f} s of CPU of Openwheel's side")


def cost(python: str, folder: Path, name: str, encoder: str, answers: int) -> None:
    """Print the CPU of one answer, in process, one text at a time."""
    order = {"part": "cost", "folder": str(folder), "task": name, "encoder": encoder}
    theirs = their(python, order | {"answers": answers})
    task = draws.read(folder, name)
    mine = ours.cost(task, encoder, answers)
    print(
        f"\nCPU of an answer in process, microseconds, one text at a time, {task.name}, "
        f"{answers:,} test texts, one thread: median (99th percentile). Jevstiller routes a text "
        "and keeps it in its store; stuntd decides; Openwheel's student answers. None has its "
        "proxy around it. The encoder is MiniLM as each side runs it without a hub: ONNX Runtime "
        "in 8 bits for Openwheel, torch in 32 bits for the others (Jevstiller takes ONNX from the "
        "hub alone).\n\n| side | its vector given | from the text |\n|---|---|---|"
    )
    for side, found in [("Openwheel", mine), *theirs.items()]:
        cells = (
            f"{np.median(found[way]):,.0f} ({np.quantile(found[way], 0.99):,.0f})"
            for way in ("vector", "text")
        )
        print(f"| {side} | {' | '.join(cells)} |", flush=True)


def their(python: str, order: dict[str, Any]) -> Any:
    """Run the peers' side; its progress goes to standard error."""
    done = subprocess.run(
        [python, str(THEIRS)],
        input=json.dumps(order),
        stdout=subprocess.PIPE,
        check=True,
        text=True,
        env={**os.environ, **ONE_THREAD},
    )
    return json.loads(done.stdout)


def coverage(python: str, folder: Path, names: Sequence[str], repeats: int) -> None:
    """Print what all sides answer on the same test rows, and how wrongly."""
    order = {"part": "coverage", "folder": str(folder), "tasks": names}
    theirs = their(python, order | {"test_share": draws.TEST_SHARE, "budgets": BUDGETS})
    print(
        f"\nCoverage, mean of {repeats} splits (a fifth tests; the rest comes as traffic, which "
        "each side splits as it does), and disagreements among answered and among all, all splits "
        "together with exact 95% intervals. A split is over if its disagreement is evidently above "
        "the budget as stated (exact, 5%). A budget in brackets is not how the side states it."
    )
    for name in names:
        task = draws.read(folder, name)
        found: dict[tuple[str, float, str], list[Result]] = defaultdict(list)
        for repeat in range(repeats):
            mine = ours.coverage(task, repeat, BUDGETS)
            for result in mine + [Result(**each) for each in theirs[name][repeat]]:
                found[result.stated, result.budget, result.side].append(result)
        rows, test = task.split(0)
        print(
            f"\n{task.name}: {len(rows):,} as traffic, {len(test):,} to test, "
            f"{len(task.labels)} labels\n\n| budget | of | side | coverage (least to most) | "
            "disagreement of answered | of all | splits over | CPU to train, s |\n"
            "|---|---|---|---|---|---|---|---|"
        )
        for stated in (OF_ANSWERED, OF_ALL):
            for budget in BUDGETS:
                for (of, at, side), results in found.items():
                    if (of, at) == (stated, budget):
                        line(side, stated, budget, results)


def line(side: str, stated: str, budget: float, results: Sequence[Result]) -> None:
    """Print a row of the table."""
    shares = [result.answered / result.test for result in results]
    answered, wrong = sum(r.answered for r in results), sum(r.wrong for r in results)
    of_answered, of_all = (
        f"{wrong:,}/{total:,} = {wrong / total:.2%} [{low:.2%}, {high:.2%}]" if total else "none"
        for total in (answered, sum(r.test for r in results))
        for low, high in [clopper_pearson(wrong, max(total, 1))]
    )
    over = 0
    for result in results:
        total = result.answered if stated == OF_ANSWERED else result.test
        over += bool(total and clopper_pearson(result.wrong, total, 0.9)[0] > budget)
    own = OF_ANSWERED if side.startswith(("Openwheel", "stuntd")) else OF_ALL
    shown = stated if own == stated else f"({stated})"
    print(
        f"| {budget:.0%} | {shown} | {side} | {np.mean(shares):.3f} ({min(shares):.3f} to "
        f"{max(shares):.3f}) | {of_answered} | {of_all} | {over} of {len(results)} | "
        f"{np.median([r.seconds for r in results]):.1f} |",
        flush=True,
    )


def at_budget(python: str, runs: int) -> None:
    """Print false fallbacks: streams exactly at the budget."""
    worlds = [audits.World(budget, 1.0, ((budget, AT_BUDGET),)) for budget in BUDGETS]
    theirs = their(python, {"part": "audits", "worlds": [w.for_peers(runs) for w in worlds]})
    print(
        f"\nFalse fallbacks within {AT_BUDGET:,} audits that disagree exactly as often as the "
        f"budget allows, {runs:,} streams (Openwheel: {4 * runs:,}), exact 95% intervals, and the "
        "median audit at which those came.\n\n| budget | side | fell back | median audit |\n"
        "|---|---|---|---|"
    )
    for number, (world, peers) in enumerate(zip(worlds, theirs, strict=True)):
        mine = audits.alarms(world, 4 * runs, number)
        for side, found in [("Openwheel", mine), *peers.items()]:
            alarmed = np.asarray(found)[np.asarray(found) > 0]
            low, high = clopper_pearson(len(alarmed), len(found))
            when = f"{np.median(alarmed):,.0f}" if len(alarmed) else "none"
            print(
                f"| {world.epsilon:.0%} | {side} | {len(alarmed):,} of {len(found):,} = "
                f"{len(alarmed) / len(found):.1%} [{low:.1%}, {high:.1%}] | {when} |",
                flush=True,
            )


def jumps(python: str, runs: int) -> None:
    """Print how soon a jump of the disagreement is noticed."""
    epsilon = 0.02
    worlds = [
        audits.World(epsilon, COVERED, ((epsilon / 2, BEFORE), (after, AFTER)))
        for after in (2 * epsilon, 4 * epsilon, 10 * epsilon, 25 * epsilon)
    ]
    theirs = their(python, {"part": "audits", "worlds": [w.for_peers(runs) for w in worlds]})
    print(
        f"\nAudits from a jump until the fallback. The budget is {epsilon:.0%} of answers, of all "
        f"requests {epsilon * COVERED:.1%} for Jevstiller: {COVERED:.0%} are answered. Before the "
        f"jump {BEFORE:,} audits with {epsilon / 2:.0%} of answers wrong; {runs:,} streams. "
        "Streams that fell back before are early, and left out of the delays.\n\n"
        "| wrong answers after | side | early | median | mean | 90th percentile | not within "
        f"{AFTER:,} |\n|---|---|---|---|---|---|---|"
    )
    for number, (world, peers) in enumerate(zip(worlds, theirs, strict=True)):
        mine = audits.alarms(world, runs, 100 + number)
        for side, found in [("Openwheel", mine), *peers.items()]:
            at = np.asarray(found)
            early = (at > 0) & (at <= BEFORE)
            delays = at[~early & (at > 0)] - BEFORE
            missed = int((at == 0).sum())
            cells = (
                f"{np.median(delays):,.0f} | {delays.mean():,.0f} | {np.quantile(delays, 0.9):,.0f}"
                if len(delays)
                else "none | none | none"
            )
            low, high = clopper_pearson(int(early.sum()), len(at))
            share = f"{early.mean():.1%} [{low:.1%}, {high:.1%}]"
            print(
                f"| {world.rates[1][0]:.0%} | {side} | {share} | {cells} | {missed} |",
                flush=True,
            )


if __name__ == "__main__":
    main()

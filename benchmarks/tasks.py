"""How well tasks are found in mixed traffic without tags, and how fast.

Mixes logs out of several data sets of ``../shared/data`` (or ``--data``), each behind a prompt
template of a style drawn by chance, and asks for the tasks back. Human labels stand for the
teacher's answers. Half of the styles were looked at while the finder was written (``seen``); the
other half was kept aside (``--styles held-out``).

Run: ``python benchmarks/tasks.py [--styles seen|held-out|all] [--mixes 10] [--early] [--verbose]``
"""

import argparse
import datetime
import gzip
import json
import platform
import random
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from openwheel.tasks import TaskMatcher, find_tasks, infer_form
from openwheel.wire import Answer, Prompt, ToolCall
from task_styles import FRESH, HELD_OUT, SEEN, Example, Source, Style, raw, tools

SMALL = (60, 100, 200, 400)


def data_sets(folder: Path) -> dict[str, list[Example]]:
    def rows(name: str) -> Iterator[dict[str, Any]]:
        with gzip.open(folder / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
            yield from map(json.loads, lines)

    def label(text: str) -> Answer:
        return Answer(text)

    sets: dict[str, list[Example]] = {
        "banking77": [(r["text"], label(r["label"])) for r in rows("banking77")],
        "sms_spam": [(r["text"], label(r["label"])) for r in rows("sms_spam")],
        "snips": [(r["text"], label(r["intent"])) for r in rows("snips")],
        "slurp": [(r["text"], label(r["scenario"])) for r in rows("slurp_dev_test")],
        "assetops": [(r["text"], label(r["label"])) for r in rows("assetops_workorders")],
        "wnut17": [(r["text"], label(json.dumps(r["slots"]))) for r in rows("wnut17_ner")],
        "maintie": [(r["text"], label(json.dumps(r["slots"]))) for r in rows("maintie_gold")],
        "xstest": [
            (r["text"], label(c["text"])) for r in rows("xstest") for c in r["completions"].values()
        ],
        "gsm8k": [
            (r.get("text") or r.get("prompt") or r["question"], label(str(r.get("gpt4") or r)))
            for r in rows("routellm_gsm8k")
        ],
    }
    sets["spam_yes_no"] = [
        (text, label("yes" if a.text == "spam" else "no")) for text, a in sets["sms_spam"]
    ]
    sets["question_yes_no"] = [
        (text, label("yes" if a.text in {"weather", "news", "qa"} else "no"))
        for text, a in sets["slurp"]
    ]
    return sets


Row = tuple[Prompt, Answer, str, str]


def make_mix(
    rng: random.Random,
    sets: dict[str, list[Example]],
    styles: list[Style],
    n: int,
) -> tuple[list[Row], dict[str, str]]:
    """Return exchanges (prompt, answer, data set, true input) and each data set's style."""
    names = rng.sample(sorted(sets), rng.choice([5, 6, 7, 8]))
    chosen: list[Style] = []
    for _ in names:  # one raw stream a mix: two could not be told apart by anybody
        style = rng.choice(styles)
        while style is raw and raw in chosen:
            style = rng.choice(styles)
        chosen.append(style)
    weights = [rng.choice([1, 1, 2, 3, 5]) for _ in names]
    rows: list[Row] = []
    for name, style, weight in zip(names, chosen, weights, strict=True):
        build = style(Source(name, sets[name], rng))
        for _ in range(n * weight // sum(weights)):
            text, answer = rng.choice(sets[name])
            if style is tools and rng.random() < 0.9:
                answer = Answer(
                    "", (ToolCall(name, json.dumps({"value": answer.text})),), "tool_calls"
                )
            elif rng.random() < 0.02:
                answer = Answer(f"I am not sure about this one, since {rng.random()} is unclear.")
            rows.append((build(rng, text), answer, name, text))
    rng.shuffle(rows)
    return rows, {n: s.__name__ for n, s in zip(names, chosen, strict=True)}


def score(rows: list[Row], verbose: bool) -> tuple[float, float, float]:
    """Return the share of exchanges in the right task, of inputs recovered, and CPU seconds.

    Right: tasks and data sets are matched one to one, so a data set in two tasks counts only
    in one, and a task of two data sets only for one.
    """
    from scipy.optimize import linear_sum_assignment

    start = time.process_time()
    tasks = find_tasks([(prompt, answer, "") for prompt, answer, _, _ in rows[:20_000]])
    seconds = time.process_time() - start
    matcher = TaskMatcher(tasks)
    found: Counter[tuple[str, str]] = Counter()
    answers: dict[str, list[Answer]] = defaultdict(list)
    recovered = 0
    missed: dict[str, tuple[str, ...] | None] = {}
    for prompt, answer, name, text in rows:
        hit = matcher.match(prompt)
        if hit is None:
            missed.setdefault(name, None)
            continue
        found[hit[0].id, name] += 1
        answers[hit[0].id].append(answer)
        if text in hit[1] or text.strip() in hit[1]:
            recovered += 1
        else:
            missed[name] = hit[1]
    ids, names = sorted({i for i, _ in found}), sorted({row[2] for row in rows})
    table = [[-found[i, name] for name in names] for i in ids]
    left, right = linear_sum_assignment(table)
    matched = -sum(table[i][j] for i, j in zip(left, right, strict=True))
    if verbose:
        for task in tasks:
            mix = {name: found[task.id, name] for name in names if found[task.id, name]}
            form = infer_form(answers[task.id]).form
            described = task.template.describe().replace("\n", "⏎")[:300] if task.template else ""
            print(f"    {task.name} {mix} {form}: {described}")
        for name, inputs in missed.items():
            print(f"    missed {name}: {inputs and [value[:80] for value in inputs]}")
    return matched / len(rows), recovered / len(rows), seconds


def early(sets: dict[str, list[Example]], styles: list[Style], mixes: int, seed: int) -> None:
    """Print what the first requests come to: many tasks have too few prompts to be found yet."""
    print("exchanges  assigned  in a task that is mostly another's  tasks of several, not bare")
    for n in SMALL:
        assigned = total = wrong = several = 0
        for number in range(seed, seed + mixes):
            rows, _ = make_mix(random.Random(number), sets, styles, n)
            tasks = find_tasks([(prompt, answer, "") for prompt, answer, _, _ in rows])
            matcher = TaskMatcher(tasks)
            found: dict[str, Counter[str]] = {task.id: Counter() for task in tasks}
            for prompt, _, name, _ in rows:
                if (hit := matcher.match(prompt)) is not None:
                    found[hit[0].id][name] += 1
            total += len(rows)
            for task in tasks:
                mine = found[task.id].total()
                others = mine - max(found[task.id].values(), default=0)
                assigned, wrong = assigned + mine, wrong + others
                several += others > 2 and task.template is not None and not task.template.bare
        print(
            f"{n:9d}  {assigned / total:8.1%}  {wrong:5d} of {assigned} = {wrong / assigned:.1%}"
            f"  {several} in {mixes} mixes",
            flush=True,
        )


def main() -> None:
    here = Path(__file__).resolve().parents[1]
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=here / "../shared/data")
    parser.add_argument("--styles", choices=["seen", "held-out", "fresh", "all"], default="all")
    parser.add_argument("--mixes", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--n", type=int, default=10_000)
    parser.add_argument("--large", type=int, default=0, help="also time the finding of this many")
    parser.add_argument("--early", action="store_true", help="logs of only a few hundred")
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args()
    sets = data_sets(options.data)
    pools: dict[str, list[Style]] = {
        "seen": SEEN,
        "held-out": HELD_OUT,
        "fresh": FRESH,
        "all": SEEN + HELD_OUT + FRESH,
    }
    styles = pools[options.styles]
    print(f"{datetime.date.today()}, {platform.machine()}, Python {platform.python_version()}")
    if options.early:
        print(f"styles: {options.styles} ({len(styles)}), {options.mixes} mixes each")
        early(sets, styles, options.mixes, options.seed)
        return
    print(f"styles: {options.styles} ({len(styles)}), {options.mixes} mixes, n = {options.n} each")
    print("mix  tasks  right task  inputs recovered  CPU s")
    totals = []
    for seed in range(options.seed, options.seed + options.mixes):
        rows, plan = make_mix(random.Random(seed), sets, styles, options.n)
        right, recovered, seconds = score(rows, options.verbose)
        totals.append((right, recovered, seconds))
        print(
            f"{seed:3d}  {len(plan):5d}  {right:10.4f}  {recovered:16.4f}  {seconds:5.2f}",
            flush=True,
        )
        if options.verbose or right < 0.99 or recovered < 0.99:
            print(f"    {plan}")
    means = [sum(column) / len(totals) for column in zip(*totals, strict=True)]
    worst = min(right for right, _, _ in totals)
    print(f"mean        {means[0]:10.4f}  {means[1]:16.4f}  {means[2]:5.2f}; worst {worst:.4f}")
    rows, _ = make_mix(random.Random(options.seed), sets, styles, max(options.n, options.large))
    start = time.process_time()
    tasks = find_tasks([(prompt, answer, "") for prompt, answer, _, _ in rows[:20_000]])
    matcher = TaskMatcher(tasks)
    middle_time = time.process_time()
    for prompt, _, _, _ in rows:
        matcher.match(prompt)
    done = time.process_time()
    print(
        f"n = {len(rows)}: finding {middle_time - start:.2f} CPU s, matching"
        f" {done - middle_time:.2f} CPU s,"
        f" {(done - middle_time) / len(rows) * 1e6:.1f} microseconds a prompt"
    )


if __name__ == "__main__":
    main()

"""The peers' side, in the peers' environment: ``python theirs.py``, JSON in, JSON out.

Their own functions do everything that is theirs: heads, novelty gates, thresholds, demotion. Read
from their documents and code, Jevstiller 0.5.3 and stuntd 0.2.1:

* Jevstiller draws a fifth of the traffic for calibration, fits a logistic head on the rest, defers
  labels with fewer than 50 training rows, and takes the laxest threshold whose Clopper-Pearson
  bound of disagreement over all requests keeps 85% of the budget (`fit_headroom`).
* stuntd leaves out the latest fifth, fits a linear head on the rest, and takes the widest threshold
  whose agreement on that fifth, as observed, reaches the target; requests further from training
  than 99% of that fifth are left to the provider.

Each is given the vectors of the benchmark in place of its own pass through the same encoder.
"""

import collections
import functools
import importlib
import json
import math
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np


def _module(name: str) -> Any:
    return importlib.import_module(name)  # by name: our environment has none of them


class _Task:
    def __init__(self, folder: Path, name: str) -> None:
        written = json.loads((folder / f"{name}.json").read_text())
        arrays = np.load(folder / f"{name}.npz")
        self.texts, self.labels = written["texts"], written["labels"]
        self.codes, self.orders = arrays["codes"], arrays["orders"]
        self.vectors = np.load(folder / f"{name}.vectors.npy")

    def split(self, repeat: int, share: float) -> tuple[Any, Any]:
        cut = int(share * len(self.texts))
        return self.orders[repeat][cut:], self.orders[repeat][:cut]


def _result(way: tuple[str, str, float], answered: Any, wrong: Any, cpu: float) -> Any:
    side, stated, budget = way
    return {
        "side": side,
        "stated": stated,
        "budget": budget,
        "answered": int(answered.sum()),
        "wrong": int((answered & wrong).sum()),
        "test": len(answered),
        "seconds": cpu,
    }


def jevstiller(task: _Task, repeat: int, share: float, budgets: list[float]) -> list[Any]:
    """Fit a head once, and its policy for each budget, as `fit_candidate` does."""
    policies, student_of, ood_of, setting = (
        _module("jevstiller._calibrate"),
        _module("jevstiller._student").LinearStudent,
        _module("jevstiller._ood").KnnOOD,
        _module("jevstiller").Config(),
    )
    rows, test = task.split(repeat, share)
    drawn = np.random.default_rng([11, repeat]).random(len(rows)) < setting.calib_fraction
    training, calibration = rows[~drawn], rows[drawn]
    began = time.process_time()
    vectors, onehot = task.vectors, np.eye(len(task.labels), dtype=np.float32)
    student = student_of(vectors.shape[1], len(task.labels))
    student.fit(
        vectors[training],
        onehot[task.codes[training]],
        epochs=setting.student_epochs,
        l2=setting.student_l2,
        seed=setting.seed,
        sample_weight=np.ones(len(training)),
        patience=setting.student_patience,
    )
    ood = ood_of(setting.ood_k)
    ood.fit(
        vectors[training],
        max_ref=setting.ood_max_ref,
        seed=setting.seed,
        y=task.codes[training],
    )
    limit = ood.threshold(setting.ood_quantile, seed=setting.seed)
    cpu = time.process_time() - began
    names = np.array(task.labels, dtype=object)

    def say(which: Any) -> tuple[Any, Any, Any, Any]:
        probabilities = student.predict_proba(vectors[which])
        codes = probabilities.argmax(axis=1)
        return (
            probabilities.max(axis=1),
            ood.score(vectors[which]),
            names[codes],
            codes == task.codes[which],
        )

    confidence, far, said, agrees = say(calibration)
    seen, distance, answers, right = say(test)
    counts = np.bincount(task.codes[training], minlength=len(task.labels))

    def fitted(budget: float, rare: list[str]) -> Any:
        return policies.fit_policy(
            confidence,
            agrees,
            far,
            budget,
            1 - setting.confidence,
            ood_threshold=limit,
            candidates=policies.threshold_grid(len(task.labels)),
            eligible=~np.isin(said, rare) if rare else None,
            deferred_labels=rare,
        )

    found = []
    for side, least in (
        ("Jevstiller, rare labels answered", 0),
        ("Jevstiller", setting.min_samples_per_class),
    ):
        rare = [label for label, n in zip(task.labels, counts, strict=True) if n < least]
        if least == 0 and (counts >= setting.min_samples_per_class).all():
            continue  # no label is rare
        for budget in budgets:
            spend = budget * (1 - setting.fit_headroom)
            of_all = fitted(spend, rare)
            # A budget of answers: of the budgets of all requests that keep it, by the coverage of
            # their calibration rows, the one that covers most.
            of_answered, best = None, -1.0
            for share_of_budget in np.geomspace(0.04, 1.0, 25):
                policy = fitted(spend * share_of_budget, rare)
                covered = policy.expected_coverage
                if covered >= share_of_budget and covered > best:
                    of_answered, best = policy, covered
            for stated, policy in (("all", of_all), ("answered", of_answered)):
                answered = (
                    np.zeros(len(test), bool)
                    if policy is None
                    else policy.accepts(seen, distance, answers)
                )
                found.append(_result((side, stated, budget), answered, ~right, cpu))
    return found


def jevstiller_loop(task: _Task, repeat: int, share: float, budget: float) -> list[Any]:
    """Replay the traffic through Jevstiller's whole loop, from nothing to a promoted student."""
    package, teachers = _module("jevstiller"), _module("jevstiller.teachers")
    rows, test = task.split(repeat, share)
    names, teacher = task.labels, _Recorded()
    asked = package.Task(
        "task", "Which label?", dict.fromkeys(names, ""), target_agreement=1 - budget
    )
    began = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        config = package.Config(training="inline")
        loop = package.Jevstiller(asked, teacher, folder, encoder=_Known(task), config=config)
        for start in range(0, len(rows), 50):
            which = rows[start : start + 50]
            routed = loop.route([task.texts[i] for i in which])
            outputs = [
                teachers.TeacherOutput(
                    names[task.codes[which[i]]],
                    {name: float(name == names[task.codes[which[i]]]) for name in names},
                    1.0,
                )
                for i in routed.to_teacher
            ]
            loop.complete(routed, outputs)
        labels = [names[task.codes[i]] for i in test]
        judged = loop.evaluate([task.texts[i] for i in test], labels)
        loop.close()
    if judged["version"] is None:
        answered = wrong = np.zeros(len(test), bool)
    else:
        answered = judged["accepted"]
        wrong = np.asarray(judged["student_label"]) != np.array(labels, dtype=object)
    cpu = time.process_time() - began
    found = _result(("Jevstiller, its whole loop", "all", budget), answered, wrong, cpu)
    return [found]


def stuntd(task: _Task, repeat: int, share: float, budgets: list[float]) -> list[Any]:
    """Train a head once, and choose its threshold for each target."""
    import dataclasses

    dataset_of = _module("stuntd.train.dataset").build_dataset
    example = _module("stuntd.store.db").Example
    settings = _module("stuntd.settings").Settings(encoder="vectors of the benchmark")
    pooled, metrics, near = (
        _module("stuntd.train.pooled"),
        _module("stuntd.train.metrics"),
        _module("stuntd.train.novelty"),
    )
    run = _module("stuntd.train.run")
    torch, load = _module("torch"), _module("safetensors.torch").load_file
    rows, test = task.split(repeat, share)
    vectors = dict(zip(task.texts, task.vectors, strict=True))

    class Encoder:
        def __init__(self, *_: Any) -> None:
            pass

        def embed(self, texts: Any) -> Any:
            return torch.from_numpy(np.stack([vectors[text] for text in texts]))

    pooled.Encoder = Encoder
    began = time.process_time()
    question = json.dumps(
        {
            "type": "choice",
            "instructions": "Which label?",
            "criteria": dict.fromkeys(task.labels, ""),
        }
    )
    examples = [
        example(task.texts[i], task.labels[task.codes[i]], float(t)) for t, i in enumerate(rows)
    ]
    site = "task"
    dataset = dataset_of(
        site, "choice", question, examples, settings.min_examples, settings.holdout
    )
    spec = _module("stuntd.train.encoders").EncoderSpec("vectors", "mean", 256, "")
    with tempfile.TemporaryDirectory() as folder:
        head_path = Path(folder) / "head.safetensors"
        trained = pooled.PooledTrainer(spec, "cpu")(dataset, head_path)
        head = load(str(head_path))
        kept = load(str(head_path.with_name("embeddings.safetensors")))["embeddings"].float()
    cpu = time.process_time() - began
    labels = np.array([dataset.labels.index(task.labels[code]) for code in task.codes[test]])
    queries = torch.from_numpy(task.vectors[test])
    logits = (queries @ head["head.weight"].T + head["head.bias"]).tolist()
    distance = near.novelty(queries, kept).numpy()
    found = []
    for budget in budgets:
        model = run._evaluate(  # what `stuntd train` writes of a head
            dataset, trained, dataclasses.replace(settings, target_agreement=1 - budget), 0.0
        )
        said = metrics.predict(logits, labels.tolist(), model.temperature)
        confidence = np.array([one.confidence for one in said])
        wrong = np.array([one.label != one.predicted for one in said])
        keeps = [p for p in model.curve if (1 - p.agreement) * p.coverage <= budget]
        of_all = max(keeps, key=lambda point: point.coverage).threshold if keeps else math.inf
        of_answered = math.inf if model.threshold is None else model.threshold
        for stated, threshold in (("answered", of_answered), ("all", of_all)):
            answered = (confidence >= threshold) & (distance <= model.novelty_cutoff)
            found.append(_result(("stuntd", stated, budget), answered, wrong, cpu))
    return found


class _Drift:
    """What Jevstiller's own drift check reads and writes, with audits of ours in its store."""

    def __init__(self, target: float) -> None:
        package, core = _module("jevstiller"), _module("jevstiller._core")
        policy = _module("jevstiller._calibrate").RoutingPolicy
        self.cfg = package.Config()
        self.task = package.Task("task", "?", ["a", "b"], target_agreement=target)
        self._prod = _Named(policy(0.5, math.inf, 1.0, 0.0, 0.0, 1 - target, 0.05, 500))
        self._state, self._shadow = threading.Lock(), None
        self.forced_fallback = self._retrain_requested = self._suspicious = False
        self._teacher_model, self._since_id = "teacher", 0
        self.store = self
        self._kind = core.Jevstiller
        self.audits: collections.deque[tuple[bool, bool]] = collections.deque(
            maxlen=self.cfg.drift_window
        )

    def max_id(self) -> int:
        return 0

    def event(self, *_: Any, **__: Any) -> None:
        pass

    def audit_served(self, *_: Any) -> tuple[Any, ...]:
        accepted, wrong = np.array(self.audits, bool).T
        said = np.full(len(wrong), "a", dtype=object)
        true = np.where(wrong, "b", "a").astype(object)
        return said, accepted.astype(float), np.zeros(len(wrong)), true, np.ones(len(wrong))

    def _audit_stats(self, prod: Any) -> Any:
        return self._kind._audit_stats(self, prod)

    def step(self, number: int, accepted: bool, wrong: bool) -> bool:
        """Take the audit of that number, from 1; return whether all falls back to the teacher."""
        self.audits.append((accepted, wrong))
        if number % self.cfg.drift_check_every == 0:
            self._kind._check_drift(self)
        return bool(self.forced_fallback)


class _Named:
    name = "student:v1"

    def __init__(self, policy: Any) -> None:
        self.policy = policy


class _Window:
    """stuntd's own window and demotion, with comparisons of ours."""

    def __init__(self, target: float) -> None:
        self.monitor, self.kind = _module("stuntd.serve.monitor"), _module("stuntd.store.db")
        self.settings = _module("stuntd.settings").Settings(target_agreement=target)
        self.latest: collections.deque[Any] = collections.deque(maxlen=self.settings.window)

    def step(self, number: int, accepted: bool, wrong: bool) -> bool:
        """Take one audit; requests that the student left to the teacher are not compared."""
        del number
        if not accepted:
            return False
        self.latest.append(self.kind.Decision("task", "check", "a", 1.0, not wrong, 0, 0.0))
        window = self.monitor.window_agreement(self.latest, 0.5)
        return bool(
            self.monitor.should_demote(
                window, self.settings.min_window, self.settings.target_agreement
            )
        )


def audits(worlds: list[dict[str, Any]]) -> Any:
    """Return the audit at which each run of each world alarmed, 0 for none, by rule.

    A world has ``target`` for each rule, and ``rates``: of disagreement among accepted audits, and
    for how many audits; ``coverage`` is the share of audits that are accepted.
    """
    core = _module("jevstiller._core")
    # The same numbers come up again and again, and the bound is plain Python.
    for name in ("clopper_pearson_upper", "clopper_pearson_lower"):
        setattr(core, name, functools.lru_cache(maxsize=None)(getattr(core, name)))
    core.log.disabled = True
    found = []
    for number, world in enumerate(worlds):
        alarms: dict[str, list[int]] = {}
        for rule, kind in (("Jevstiller", _Drift), ("stuntd", _Window)):
            rng = np.random.default_rng([13, number])
            rates = np.concatenate([np.full(count, rate) for rate, count in world["rates"]])
            alarms[rule] = []
            for _ in range(world["runs"]):
                at, watch = 0, kind(world["target"][rule])
                accepted = rng.random(world["audits"]) < world["coverage"]
                wrong = rng.random(world["audits"]) < rates
                for place in range(world["audits"]):
                    if watch.step(place + 1, bool(accepted[place]), bool(wrong[place])):
                        at = place + 1
                        break
                alarms[rule].append(at)
            print(number, rule, file=sys.stderr, flush=True)
        found.append(alarms)
    return found


def cost(folder: Path, name: str, encoder: str, answers: int) -> Any:
    """Return microseconds of CPU of each answer, by side: given its vector, and from the text.

    A text that the student left to the teacher costs the same; its teacher's answer is not counted.
    """
    task = _Task(folder, name)
    rows, test = task.split(0, 0.2)
    return {
        "Jevstiller": _cost_of_jevstiller(task, rows, test[:answers], encoder),
        "stuntd": _cost_of_stuntd(task, rows, test[:answers], encoder),
    }


def _timed(act: Any, texts: list[str]) -> list[float]:
    for text in texts[:20]:
        act(text)
    found = []
    for text in texts:
        began = time.process_time_ns()
        act(text)
        found.append((time.process_time_ns() - began) / 1e3)
    return found


class _Known:
    """An encoder of Jevstiller's that knows the vectors of texts."""

    def __init__(self, task: _Task) -> None:
        self.id, self.dim = "vectors of the benchmark", task.vectors.shape[1]
        self._vectors = dict(zip(task.texts, task.vectors, strict=True))

    def encode(self, texts: Any) -> Any:
        return np.stack([self._vectors[text] for text in texts])


class _Recorded:
    name = "recorded"  # `complete` is given its answers


def _cost_of_jevstiller(task: _Task, rows: Any, test: Any, encoder: str) -> Any:
    """Time `route` and `complete` of one text each, with all that the loop keeps of it."""
    package, teachers = _module("jevstiller"), _module("jevstiller.teachers")
    names, found = task.labels, {}
    for way in ("vector", "text"):
        asked = package.Task("task", "Which label?", dict.fromkeys(names, ""))
        with tempfile.TemporaryDirectory() as scratch:
            config = package.Config(training="manual", audit_rate=1e-9)
            loop = package.Jevstiller(
                asked, _Recorded(), scratch, encoder=_Known(task), config=config
            )

            def said(i: int) -> Any:
                label = names[task.codes[i]]
                return teachers.TeacherOutput(label, {n: float(n == label) for n in names}, 1.0)

            for start in range(0, len(rows), 500):
                which = rows[start : start + 500]
                routed = loop.route([task.texts[i] for i in which])
                loop.complete(routed, [said(which[i]) for i in routed.to_teacher])
            report = loop.train_now()
            loop.promote(report.version)
            known = {task.texts[i]: said(i) for i in test}
            if way == "text":
                loop.encoder = package.load_encoder(f"torch:{encoder}")

            found[way] = _timed(
                functools.partial(_routed, loop, known), [task.texts[i] for i in test]
            )
            loop.close()
    return found


def _routed(loop: Any, known: Any, text: str) -> None:
    routed = loop.route([text])
    loop.complete(routed, [known[text]] if routed.to_teacher else [])


def _cost_of_stuntd(task: _Task, rows: Any, test: Any, encoder: str) -> Any:
    """Time `PooledDecider.decide`: the head and the novelty gate, without its proxy."""
    dataset_of = _module("stuntd.train.dataset").build_dataset
    settings = _module("stuntd.settings").Settings()
    example, run = _module("stuntd.store.db").Example, _module("stuntd.train.run")
    torch, train = _module("torch"), _module("stuntd.train.pooled")
    serve, specs = _module("stuntd.serve.pooled"), _module("stuntd.train.encoders")
    torch.set_num_threads(1)
    vectors = dict(zip(task.texts, task.vectors, strict=True))
    real = train.Encoder

    class Known:
        hidden_size = task.vectors.shape[1]

        def __init__(self, *_: Any) -> None:
            pass

        def embed(self, texts: Any) -> Any:
            return torch.from_numpy(np.stack([vectors[text] for text in texts]))

    spec = specs.resolve_encoder(encoder)
    question = json.dumps(
        {"type": "choice", "instructions": "?", "criteria": dict.fromkeys(task.labels, "")}
    )
    examples = [
        example(task.texts[i], task.labels[task.codes[i]], float(t)) for t, i in enumerate(rows)
    ]
    dataset = dataset_of("task", "choice", question, examples, 300, settings.holdout)
    found = {}
    with tempfile.TemporaryDirectory() as scratch:
        head_path = Path(scratch) / "head.safetensors"
        train.Encoder = Known
        trained = train.PooledTrainer(spec, "cpu")(dataset, head_path)
        model = run._evaluate(dataset, trained, settings, 0.0)
        for way, kind in (("vector", Known), ("text", real)):
            serve.Encoder = kind
            decider = serve.PooledDecider(spec, "cpu")
            found[way] = _timed(
                functools.partial(decider.decide, model, head_path),
                [task.texts[i] for i in test],
            )
    return found


def coverage(folder: Path, names: list[str], share: float, budgets: list[float]) -> Any:
    """Return results by task and repeat."""
    found: dict[str, list[list[Any]]] = {}
    for name in names:
        task = _Task(folder, name)
        found[name] = []
        for repeat in range(len(task.orders)):
            results = jevstiller(task, repeat, share, budgets)
            results += stuntd(task, repeat, share, budgets)
            if repeat == 0:
                results += jevstiller_loop(task, repeat, share, 0.02)
            found[name].append(results)
            print(name, repeat, file=sys.stderr, flush=True)
    return found


def main() -> None:
    asked = json.loads(sys.stdin.read())
    if asked["part"] == "coverage":
        folder = Path(asked["folder"])
        found = coverage(folder, asked["tasks"], asked["test_share"], asked["budgets"])
    elif asked["part"] == "cost":
        folder = Path(asked["folder"])
        found = cost(folder, asked["task"], asked["encoder"], asked["answers"])
    else:
        found = audits(asked["worlds"])
    print(json.dumps(found))


if __name__ == "__main__":
    main()

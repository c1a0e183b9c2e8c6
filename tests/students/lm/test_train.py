"""Training, killed and gone on with."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest

from full_disk import full_disk
from openwheel.errors import ModelError
from openwheel.settings import LmSection
from openwheel.students.lm.examples import Record
from openwheel.students.lm.order import Event, HeldOut, Note, Progress
from openwheel.students.lm.prompt import Asking
from openwheel.students.lm.run import LOOKS, look_steps
from openwheel.students.lm.train import place_order, train_adapter
from openwheel.wire import PromptMessage

from .conftest import train_here
from .made import TASK, exchanges

pytest.importorskip("peft", reason="the extra `lm` is not installed")


def records(n: int = 200) -> list[Record]:
    asking = Asking(template=TASK)
    inputs, answers = exchanges(n)
    return [
        Record(messages=asking.messages(values), answer=answer, held_out=i >= 0.8 * n)
        for i, (values, answer) in enumerate(zip(inputs, answers, strict=True))
    ]


def settings(base: Path, **changes) -> LmSection:
    usual = {"epochs": 3, "learning_rate": 5e-3, "threads": 1, "patience": 100}
    return LmSection(base=str(base), **(usual | changes))


@pytest.fixture(scope="module")
def finished(train, tiny_base, tmp_path_factory):
    """A run that nothing disturbed: its adapter's bytes, its report and what it told."""
    told: list[Event] = []
    work = tmp_path_factory.mktemp("work")
    adapter, report = train(place_order(work, records(), settings(tiny_base)), told.append)
    return adapter, report, told


def test_it_learns_and_says_so(finished):
    adapter, report, told = finished
    assert {path.name for path in adapter.iterdir()} == {
        "adapter.gguf",
        "adapter_config.json",
        "adapter_model.safetensors",
        "llama_cpp.json",
    }
    assert report.frame is not None
    losses = [event.loss for event in told if isinstance(event, HeldOut)]
    assert losses[0] > 2 * report.held_out_loss
    assert report.held_out_loss == min(losses)
    assert report.steps == 30 == len([event for event in told if isinstance(event, Progress)])
    assert report.packed
    assert report.dropped == 0
    configured = json.loads((adapter / "adapter_config.json").read_text())
    assert set(configured["target_modules"]) == set(report.targets)
    assert {"q_proj", "down_proj"} <= set(report.targets)


class StopError(Exception):
    pass


def stop_at(step: int) -> Callable[[Event], None]:
    def tell(event: Event) -> None:
        if isinstance(event, Progress) and event.step >= step:
            raise StopError

    return tell


@pytest.mark.parametrize(
    ("steps", "stopped"),
    [((17,), train_here), pytest.param((4, 17), train_adapter, marks=pytest.mark.evidence)],
    ids=["once", "twice, killed"],
)
def test_a_stopped_run_goes_on_and_ends_with_the_very_same_weights(
    finished, train, tiny_base, tmp_path, steps, stopped
):
    order = place_order(tmp_path / "work", records(), settings(tiny_base), checkpoint_s=0.0)
    for step in steps:
        with pytest.raises(StopError):  # whoever follows it may stop it: a process is killed
            stopped(order, stop_at(step))
    told: list[Event] = []
    adapter, report = train(order, told.append)
    assert report.continued >= 16
    assert any(isinstance(event, Note) and "continuing" in event.text for event in told)
    expected, straight, _ = finished
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        assert (adapter / name).read_bytes() == (expected / name).read_bytes()
    assert (report.best_step, report.held_out_loss, report.tokens) == (
        straight.best_step,
        straight.held_out_loss,
        straight.tokens,
    )
    assert not (order.path / "checkpoint").exists()
    # Finished, it is not done again.
    assert train_adapter(order)[1] == report


def test_a_killed_learner_leaves_no_process_that_trains_and_the_next_goes_on(
    train, tiny_base, tmp_path
):
    order = place_order(tmp_path / "work", records(), settings(tiny_base), checkpoint_s=0.0)
    code = (
        "import sys, msgspec\nfrom pathlib import Path\n"
        "from openwheel.students.lm.order import Order\n"
        "from openwheel.students.lm.train import train_adapter\n"
        "order = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Order)\n"
        "train_adapter(order, lambda event: print(event, flush=True))"
    )
    given = tmp_path / "given.json"
    given.write_bytes(msgspec.json.encode(order))
    command = [sys.executable, "-c", code, str(given)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as learner:
        assert learner.stdout is not None
        next(line for line in learner.stdout if b"step=3" in line)
        learner.kill()
    report = train(order)[1]
    assert report.continued >= 2  # killed while the third checkpoint was written, perhaps
    assert report.steps == 30


def test_at_its_time_limit_the_best_weights_are_kept_and_with_more_time_it_goes_on(
    finished, train, tiny_base, tmp_path
):
    work = tmp_path / "work"
    told: list[Event] = []
    short = place_order(work, records(), settings(tiny_base, time_limit=0.001))
    adapter, report = train(short, told.append)
    looks = [event.loss for event in told if isinstance(event, HeldOut)]
    assert (report.steps, report.best_step, report.time_limit) == (1, 1, 0.001)
    assert report.held_out_loss == looks[0]
    assert (adapter / "adapter_model.safetensors").exists()
    told.clear()
    assert train(short, told.append)[1] == report  # its time is up still
    assert not told
    longer = place_order(work, records(), settings(tiny_base, threads=1, answer_timeout=99.0))
    adapter, report = train(longer)
    expected, straight, _ = finished
    assert (report.continued, report.time_limit) == (1, 0.0)
    assert (report.steps, report.best_step) == (straight.steps, straight.best_step)
    name = "adapter_model.safetensors"
    assert (adapter / name).read_bytes() == (expected / name).read_bytes()
    assert not (work / "checkpoint").exists()


def test_what_changes_nothing_that_is_learned_is_the_same_order(tiny_base, tmp_path):
    def order(**changes):
        return place_order(tmp_path, records(8), settings(tiny_base, **changes)).id

    usual = order()
    for same in (
        {"time_limit": 900.0, "threads": 2, "pass_tokens": 512, "answer_timeout": 60.0},
        {"server": "http://127.0.0.1:1", "server_api": "sglang", "server_key_env": "KEY"},
        {"gguf": "base.gguf"},
    ):
        assert order(**same) == usual
    for other in ({"epochs": 4}, {"rank": 8}, {"seed": 1}, {"context": 99}, {"patience": 1}):
        assert order(**other) != usual


def test_what_it_takes_is_said_before_the_first_step(finished):
    _, _, told = finished
    first = next(i for i, event in enumerate(told) if isinstance(event, Progress))
    (said,) = [e.text for e in told[:first] if isinstance(e, Note) and "on this machine" in e.text]
    assert re.match(r"training takes about \d+ \w+ on this machine: 30 steps on one thread", said)
    assert "lm.time_limit" in said
    assert "--rungs" in said
    steps = [event for event in told if isinstance(event, Progress)]
    assert all(event.speed > 0 and event.loss > 0 for event in steps)


@pytest.mark.parametrize(("steps", "epochs"), [(53, 1), (148, 2), (150, 2), (3, 3), (1, 1)])
def test_the_last_look_is_at_the_last_step_and_none_is_near_it(steps, epochs):
    looks = sorted(look_steps(steps, epochs))
    assert looks[-1] == steps
    assert looks[0] > 0
    assert len(looks) <= LOOKS * epochs
    apart = [after - before for before, after in pairwise([0, *looks])]
    assert min(apart) >= steps // (LOOKS * epochs)


def test_other_settings_do_not_go_on_with_a_run(finished, train, tiny_base, tmp_path):
    shutil.copytree(finished[0].parent, tmp_path / "work")
    other = place_order(tmp_path / "work", records(), settings(tiny_base, epochs=1))
    again = train(other)[1]
    assert (again.steps, again.continued) == (10, 0)


def test_it_stops_early_and_keeps_the_best(train, tiny_base, tmp_path):
    noise = [
        Record(messages=r.messages, answer=answer, held_out=r.held_out)
        for r, answer in zip(records(60), exchanges(60, seed=9)[1], strict=True)
    ]
    order = place_order(tmp_path, noise, settings(tiny_base, epochs=40, patience=2))
    told: list[Event] = []
    report = train(order, told.append)[1]
    assert report.best_step < report.steps < 40 * 3
    losses = {event.step: event.loss for event in told if isinstance(event, HeldOut)}
    assert report.held_out_loss == losses[report.best_step] == min(losses.values())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"base": "/nowhere/at/all"}, "must be a folder or an id of the hub"),
        ({"targets": ("no_such_module",)}, "LoRA cannot be put on"),
        ({"context": 16}, "all 200 are longer"),
    ],
)
def test_what_stops_it_is_said(train, tiny_base, tmp_path, changes, message):
    wrong = settings(**({"base": tiny_base} | changes))
    with pytest.raises(ModelError, match=message):
        train(place_order(tmp_path / "work", records(), wrong))


def test_an_unknown_family_is_refused_with_the_way_to_name_its_modules(train, make_base, tmp_path):
    base = make_base("gpt_neox")
    order = place_order(tmp_path / "work", records(), settings(base))
    with pytest.raises(ModelError, match=r"no LoRA targets for model_type 'gpt_neox'.*targets ="):
        train(order)
    named = settings(base, targets=("query_key_value",), epochs=1)
    with pytest.raises(ModelError, match=r"cannot be served by llama\.cpp .*\[lm\] server"):
        train(place_order(tmp_path / "here", records(), named))
    elsewhere = msgspec.structs.replace(named, server="http://localhost:1", server_api="vllm")
    adapter, report = train(place_order(tmp_path / "other", records(), elsewhere))
    assert report.steps == 10
    assert not (adapter / "adapter.gguf").exists()


def test_a_full_disk_is_said_and_leaves_the_checkpoint_before(train, tiny_base, tmp_path):
    order = place_order(tmp_path / "work", records(), settings(tiny_base), checkpoint_s=0.0)
    with full_disk(100_000), pytest.raises(ModelError, match="cannot be written"):
        train(order)
    assert train(order)[1].steps == 30


def test_a_process_that_dies_is_said(tiny_base, tmp_path):
    order = place_order(tmp_path / "work", records(), settings(tiny_base))
    (order.path / "examples.jsonl").write_bytes(b"")
    with pytest.raises(ModelError, match="not those of the order"):
        train_adapter(order)


def test_messages_are_asked_as_they_stand(train, tiny_base, tmp_path):
    odd = [Record(messages=(PromptMessage("user", "<|im_end|> 🙈"),), answer="ok")] * 4
    assert train(place_order(tmp_path, odd, settings(tiny_base, epochs=1)))[1].steps == 1


HYBRID = {
    "num_hidden_layers": 4,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 16,
    "linear_value_head_dim": 16,
}


@pytest.mark.parametrize(
    ("family", "changes", "why"),
    [
        ("olmo3", {}, "olmo3 is not among the families llama, "),
        ("qwen3_5_text", HYBRID, "as many linear value heads as key heads"),
    ],
)
def test_what_nothing_could_serve_is_refused_before_it_is_trained(
    make_base, tmp_path, family, changes, why
):
    told: list[Event] = []
    order = place_order(tmp_path, records(40), settings(make_base(family, **changes)))
    with pytest.raises(ModelError, match=rf"cannot be served by llama\.cpp \(.*{why}"):
        train_here(order, told.append)
    assert not any(isinstance(event, Progress) for event in told)

"""Training with real processes, killed and gone on with."""

import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from openwheel.errors import ModelError
from openwheel.settings import LmSection
from openwheel.students.lm.examples import Record
from openwheel.students.lm.order import ORDER, Event, HeldOut, Note, Progress
from openwheel.students.lm.prompt import Asking
from openwheel.students.lm.train import place_order, train_adapter
from openwheel.wire import PromptMessage

from .made import TASK, exchanges

pytest.importorskip("peft", reason="the extra `lm` is not installed")
pytestmark = pytest.mark.slow


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
def finished(tiny_base, tmp_path_factory):
    """A run that nothing disturbed: its adapter's bytes, its report and what it told."""
    told: list[Event] = []
    work = tmp_path_factory.mktemp("work")
    adapter, report = train_adapter(place_order(work, records(), settings(tiny_base)), told.append)
    return adapter, report, told


def test_it_learns_and_says_so(finished):
    adapter, report, told = finished
    assert {path.name for path in adapter.iterdir()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
    }
    losses = [event.loss for event in told if isinstance(event, HeldOut)]
    assert losses[0] > 2 * report.held_out_loss
    assert report.held_out_loss == min(losses)
    assert report.steps == 30 == len([event for event in told if isinstance(event, Progress)])
    assert report.packed
    assert report.dropped == 0
    configured = json.loads((adapter / "adapter_config.json").read_text())
    assert set(configured["target_modules"]) == set(report.targets)
    assert {"q_proj", "down_proj"} <= set(report.targets)


def test_a_killed_run_goes_on_and_ends_with_the_very_same_weights(finished, tiny_base, tmp_path):
    order = place_order(tmp_path / "work", records(), settings(tiny_base), checkpoint_s=0.0)
    command = [sys.executable, "-m", "openwheel.students.lm.work", str(order.path / ORDER)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    for step in (4, 17):
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if json.loads(line).get("step", 0) >= step:
                    break
            process.kill()
        assert process.returncode == -signal.SIGKILL
    told: list[Event] = []
    adapter, report = train_adapter(order, told.append)
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


def test_a_killed_learner_leaves_no_process_that_trains_and_the_next_goes_on(tiny_base, tmp_path):
    order = place_order(tmp_path / "work", records(), settings(tiny_base), checkpoint_s=0.0)
    code = (
        "import sys, msgspec\nfrom pathlib import Path\n"
        "from openwheel.students.lm.order import Order\n"
        "from openwheel.students.lm.train import train_adapter\n"
        "order = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Order)\n"
        "train_adapter(order, lambda event: print(event, flush=True))"
    )
    command = [sys.executable, "-c", code, str(order.path / ORDER)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as learner:
        assert learner.stdout is not None
        next(line for line in learner.stdout if b"step=3" in line)
        learner.kill()
    report = train_adapter(order)[1]
    assert report.continued >= 3
    assert report.steps == 30


def test_other_settings_do_not_go_on_with_a_run(finished, tiny_base):
    adapter, _, _ = finished
    other = place_order(adapter.parent, records(), settings(tiny_base, epochs=1))
    again = train_adapter(other)[1]
    assert (again.steps, again.continued) == (10, 0)


def test_it_stops_early_and_keeps_the_best(tiny_base, tmp_path):
    noise = [
        Record(messages=r.messages, answer=answer, held_out=r.held_out)
        for r, answer in zip(records(60), exchanges(60, seed=9)[1], strict=True)
    ]
    order = place_order(tmp_path, noise, settings(tiny_base, epochs=40, patience=2))
    told: list[Event] = []
    report = train_adapter(order, told.append)[1]
    assert report.best_step < report.steps < 40 * 3
    losses = {event.step: event.loss for event in told if isinstance(event, HeldOut)}
    assert report.held_out_loss == losses[report.best_step] == min(losses.values())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"base": "/nowhere/at/all"}, "must be a folder or an id of the hub"),
        ({"targets": ("no_such_module",)}, "LoRA cannot be put on"),
        ({"time_limit": 0.001}, "must take at most 0.001 s"),
        ({"context": 16}, "all 200 are longer"),
        ({"distil": "on-policy"}, "needs a model as .* teacher"),
    ],
)
def test_what_stops_it_is_said(tiny_base, tmp_path, changes, message):
    wrong = settings(**({"base": tiny_base} | changes))
    with pytest.raises(ModelError, match=message):
        train_adapter(place_order(tmp_path / "work", records(), wrong))


def test_an_unknown_family_is_refused_with_the_way_to_name_its_modules(make_base, tmp_path):
    base = make_base("gpt_neox")
    order = place_order(tmp_path / "work", records(), settings(base))
    with pytest.raises(ModelError, match=r"no LoRA targets for model_type 'gpt_neox'.*targets ="):
        train_adapter(order)
    named = settings(base, targets=("query_key_value",), epochs=1)
    assert train_adapter(place_order(tmp_path / "other", records(), named))[1].steps == 10


def test_a_full_disk_is_said_and_leaves_the_checkpoint_before(tiny_base, tmp_path):
    order = place_order(tmp_path / "work", records(), settings(tiny_base), checkpoint_s=0.0)
    code = (
        "import resource, signal, sys\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"  # a full disk: writes fail with OSError
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))\n"
        "sys.argv = ['work', sys.argv[1]]\n"
        "from openwheel.students.lm.work import main\n"
        "sys.exit(main())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(order.path / ORDER)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    last = json.loads(done.stdout.splitlines()[-1])
    assert last["type"] == "failed"
    assert "cannot be written" in last["message"]
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
    assert train_adapter(order)[1].steps == 30


def test_a_process_that_dies_is_said(tiny_base, tmp_path):
    order = place_order(tmp_path / "work", records(), settings(tiny_base))

    class StopError(Exception):
        pass

    def kill(event: Event) -> None:
        raise StopError

    with pytest.raises(StopError):  # whoever follows it may stop it
        train_adapter(order, kill)
    (order.path / "examples.jsonl").write_bytes(b"")
    with pytest.raises(ModelError, match="not those of the order"):
        train_adapter(order)
    (order.path / ORDER).unlink()
    with pytest.raises(ModelError, match="cannot go on"):
        train_adapter(order)


def test_messages_are_asked_as_they_stand(tiny_base, tmp_path):
    odd = [Record(messages=(PromptMessage("user", "<|im_end|> 🙈"),), answer="ok")] * 4
    assert train_adapter(place_order(tmp_path, odd, settings(tiny_base, epochs=1)))[1].steps == 1

"""What the process that trains is told, and what it tells."""

import hashlib
from pathlib import Path

import msgspec

from openwheel.inference.frame import Frame
from openwheel.job import Failed
from openwheel.machine import processors
from openwheel.settings import LmSection

RECORDS = "examples.jsonl"
ADAPTER, CHECKPOINT, REPORT = "adapter", "checkpoint", "report.json"


NOT_LEARNED = (
    *("time_limit", "threads", "pass_tokens"),
    *("server", "server_api", "server_key_env", "gguf", "answer_timeout"),
)
"""Settings that change nothing of what is learned but its rounding: a run goes on with others."""


def threads_of(settings: LmSection) -> int:
    """Return how many threads compute: one for each core, unless the settings say."""
    return settings.threads or max(1, int(processors()))


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """One training run. The same order again continues the run that it began.

    Attributes:
        folder: The run's work folder: the records lie in it, checkpoints and the adapter come
            there.
        settings: The settings of the rung.
        records_sha256: Hash of the records file, so that changed records begin a new run.
        deadline_s: Seconds it may take, in all processes that work on it, without loading the
            base; 0: no end.
        checkpoint_s: Seconds of work that a killed run may have to do again.
    """

    folder: str
    settings: LmSection
    records_sha256: str
    deadline_s: float = 0.0
    checkpoint_s: float = 60.0

    @property
    def id(self) -> str:
        """What a checkpoint must carry to be continued: all that the result depends on."""
        settings = msgspec.structs.asdict(self.settings)
        learned = {name: value for name, value in settings.items() if name not in NOT_LEARNED}
        depends = [learned, self.records_sha256]
        return hashlib.sha256(msgspec.json.encode(depends, order="sorted")).hexdigest()

    @property
    def path(self) -> Path:
        """The work folder."""
        return Path(self.folder)


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What a finished run was.

    Attributes:
        steps: Optimizer steps taken.
        best_step: After which of them the adapter was best on the held-out part, and was kept.
        loss: Mean training loss of the last steps, nats a token.
        held_out_loss: Loss on the held-out part at the best step, nats a token; None without one.
        tokens: Tokens of the examples learned from, each counted as often as it was.
        seconds: Time it took, in this process alone.
        cpu_seconds: Processor time it took, in this process alone.
        dropped: Exchanges longer than the context, which were left out.
        longest_answer: Tokens of the longest answer, its end-of-turn token included.
        packed: Whether examples were packed.
        continued: The step from which an earlier run was continued; 0 if none was.
        time_limit: Seconds after which it was stopped before its last step; 0 if it was not.
        soft: Exchanges learned from the teacher's probabilities rather than its answer alone.
        base_revision: The hub's commit of the base.
        model_type: The base's.
        targets: LoRA targets.
        frame: What stands around messages in the prompts that were trained on; None where that
            is not one text.
    """

    steps: int
    best_step: int
    loss: float
    held_out_loss: float | None
    tokens: int
    seconds: float
    cpu_seconds: float
    dropped: int
    longest_answer: int
    packed: bool
    continued: int = 0
    time_limit: float = 0.0
    soft: int = 0
    base_revision: str = ""
    model_type: str = ""
    targets: tuple[str, ...] = ()
    frame: Frame | None = None


class Progress(msgspec.Struct, frozen=True, tag="progress"):
    """Where a run stands after a step.

    Attributes:
        step: Steps taken, ``steps`` at the most.
        loss: Of this step, in nats a token.
        tokens: Tokens learned from, in all.
        speed: Tokens a second in this process, looks at the held-out part included.
    """

    step: int
    steps: int
    loss: float
    tokens: int
    speed: float


class HeldOut(msgspec.Struct, frozen=True, tag="held_out"):
    """A look at the held-out part."""

    step: int
    loss: float


class Note(msgspec.Struct, frozen=True, tag="note"):
    """Something to tell the user."""

    text: str


class Done(msgspec.Struct, frozen=True, tag="done"):
    """The run is finished; adapter and report lie in its folder."""

    report: Report


Event = Progress | HeldOut | Note | Done | Failed
EVENTS: msgspec.json.Decoder[Event] = msgspec.json.Decoder(Event)

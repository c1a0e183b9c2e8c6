"""Settings of the models that are run, trained and learned from: what they may be, and how."""

from typing import Annotated, Literal

from msgspec import Meta

from openwheel.settings.section import Section, Share

Precision = Literal["f32", "bf16", "f16", "q8_0"]
"""Of the weights in a GGUF file."""


class PolicySection(Section, frozen=True):
    """What licences, places and uses are allowed: a veto on sending, training and promoting."""

    use: Annotated[
        Literal["commercial", "non-commercial"] | None,
        Meta(
            description="What you use models for. Unsaid, what is for non-commercial use only may "
            "be asked, with a warning, and nothing is trained on it."
        ),
    ] = None
    licences: Annotated[
        tuple[str, ...],
        Meta(
            description="Licences allowed: SPDX or LicenseRef ids (`*` is a wildcard) or "
            "properties; by default all that are not forbidden."
        ),
    ] = ()
    forbidden_licences: Annotated[
        tuple[str, ...], Meta(description="Licences forbidden, likewise.")
    ] = ()
    unknown: Annotated[
        Literal["allow", "refuse"],
        Meta(description="What is done where a licence, or what it says, is not known."),
    ] = "allow"
    regions: Annotated[
        tuple[str, ...],
        Meta(
            description="Where you operate, as country codes (ISO 3166) or EU: licences that "
            "exclude one are refused."
        ),
    ] = ()
    jurisdictions: Annotated[
        tuple[str, ...],
        Meta(
            description="Where requests may be sent, likewise; by default anywhere. This machine "
            "always may."
        ),
    ] = ()
    yearly_revenue: Annotated[
        Annotated[float, Meta(ge=0)] | None,
        Meta(description="US dollars in the last twelve months, affiliates included."),
    ] = None
    monthly_users: Annotated[
        Annotated[int, Meta(ge=0)] | None,
        Meta(description="Users active in a month, affiliates included."),
    ] = None
    sells_models: Annotated[
        bool | None,
        Meta(
            description="Whether you sell what models answer: models as a service, or an "
            "assistant. Licences have limits for such business; unsaid, training takes it for so."
        ),
    ] = None
    models: Annotated[
        dict[str, str],
        Meta(
            description="The checkpoint or licence behind a model's name (`*` is a wildcard), "
            "where the catalogue does not know the name."
        ),
    ] = {}
    overrides: Annotated[
        dict[str, Annotated[str, Meta(min_length=1)]],
        Meta(
            description="Written permission against what a licence says, by licence or "
            "checkpoint; every lineage shows it."
        ),
    ] = {}


class LmSection(Section, frozen=True):
    """The rung ``lm``: a small language model with an adapter (extra `lm`)."""

    base: Annotated[
        str, Meta(description="The base: a hub id or a folder. Empty: the rung is not tried.")
    ] = ""
    revision: Annotated[
        str, Meta(description="With a hub id: its commit, 40 hexadecimal digits.")
    ] = ""
    prompt: Annotated[
        Literal["task", "inputs"],
        Meta(
            description="task asks the student what the teacher was asked; inputs gives it the "
            "variables alone: shorter, and enough for a student trained on them."
        ),
    ] = "task"
    reasoning: Annotated[
        Literal["drop", "keep"],
        Meta(
            description="Whether students of a teacher that thinks first learn to think too. "
            "Either way only final answers are compared."
        ),
    ] = "drop"
    distil: Annotated[
        Literal["answers", "probabilities"],
        Meta(
            description="answers learns what the teacher wrote; probabilities also what it might "
            "have written, where log-probabilities were captured or `teacher` is given."
        ),
    ] = "answers"
    teacher: Annotated[
        str,
        Meta(description="A model with the base's tokenizer to distil from: a hub id or a folder."),
    ] = ""
    teacher_revision: Annotated[str, Meta(description="With a hub id: its commit.")] = ""
    targets: Annotated[
        tuple[str, ...],
        Meta(description="Modules that LoRA changes; by default those the catalogue names."),
    ] = ()
    experts: Annotated[
        bool, Meta(description="Whether LoRA changes the routed experts of a mixture too.")
    ] = False
    rank: Annotated[int, Meta(ge=1, le=1024, description="Rank of the adapter.")] = 16
    learning_rate: Annotated[
        float, Meta(gt=0, le=1, description="The highest step size, after warm-up.")
    ] = 2e-4
    schedule: Annotated[
        Literal["cosine", "linear", "constant"],
        Meta(description="How the step size falls after warm-up."),
    ] = "cosine"
    warmup: Annotated[Share, Meta(description="Share of the steps in which it rises.")] = 0.05
    epochs: Annotated[
        int, Meta(ge=1, le=1000, description="The most times an exchange is learned from.")
    ] = 3
    batch: Annotated[int, Meta(ge=1, description="Exchanges of an optimizer step.")] = 16
    context: Annotated[
        int, Meta(ge=16, description="The most tokens of an exchange; longer ones are left out.")
    ] = 4096
    pass_tokens: Annotated[
        int,
        Meta(ge=0, description="The most tokens of one pass through the model; 0 chooses."),
    ] = 0
    held_out: Annotated[
        float,
        Meta(
            gt=0,
            lt=1,
            description="Share of the training exchanges, the latest, that are not trained on: "
            "for early stopping and for confidence.",
        ),
    ] = 0.2
    patience: Annotated[
        int, Meta(ge=1, description="Looks at held-out exchanges without gain before it stops.")
    ] = 3
    time_limit: Annotated[
        float,
        Meta(
            ge=0,
            description="Seconds of a training run, after which the best weights so far are "
            "judged; 0: no end.",
        ),
    ] = 0.0
    precision: Annotated[
        Literal["auto", "float32", "bfloat16", "float16"],
        Meta(description="What it computes in; auto is what the hardware does well."),
    ] = "auto"
    device: Annotated[str, Meta(description="A torch device; auto takes an accelerator.")] = "auto"
    threads: Annotated[
        int,
        Meta(
            ge=0,
            description="Threads for training; 0: as many as there are cores with `learn`, and "
            "one fewer in turns, beside a gateway.",
        ),
    ] = 0
    server: Annotated[
        str,
        Meta(
            description="URL of a server that has the base and takes adapters while it runs; empty "
            "starts llama.cpp on this machine, as [engine] says."
        ),
    ] = ""
    server_api: Annotated[
        Literal["llama.cpp", "vllm", "sglang"],
        Meta(description="What that server is; llama.cpp: `openwheel serve`."),
    ] = "vllm"
    gguf: Annotated[
        str,
        Meta(
            description="A GGUF file of the base, for llama.cpp on this machine; empty: one is "
            "made of the base, once."
        ),
    ] = ""
    server_key_env: Annotated[
        str, Meta(description="Environment variable that holds that server's key.")
    ] = ""
    answer_timeout: Annotated[
        float, Meta(gt=0, description="Seconds a student may take before the teacher is asked.")
    ] = 30.0
    seed: Annotated[int, Meta(ge=0, description="Where random numbers begin.")] = 0


class EngineSection(Section, frozen=True):
    """Models that llama.cpp serves on this machine: teachers ``local:MODEL``, the base of students.

    The extra `serve`.
    """

    precision: Annotated[
        Precision,
        Meta(description="In which a GGUF file is made of a folder or a hub id, once."),
    ] = "q8_0"
    threads: Annotated[
        int, Meta(ge=0, description="Threads that compute; 0 for as many as there are cores.")
    ] = 0
    slots: Annotated[
        int,
        Meta(
            ge=1,
            le=256,
            description="The most answers that a model writes at a time; each remembers a prompt.",
        ),
    ] = 4
    max_queue: Annotated[
        int, Meta(ge=1, description="The most answers that may wait; more are refused with 429.")
    ] = 512
    context: Annotated[
        int,
        Meta(
            ge=0,
            description="The most tokens of a prompt with its answer; 0: what students need, and "
            "4,096 for a teacher.",
        ),
    ] = 0


class CatalogSection(Section, frozen=True):
    """The catalogue of checkpoints."""

    files: Annotated[
        tuple[str, ...],
        Meta(description="Your own catalogue files; their rows come before those that ship."),
    ] = ()

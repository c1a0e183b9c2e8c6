"""Defines the rows of the catalogue. A field's `Meta` holds its limits, as for the settings.

What nobody has read stays unknown: None, an empty text, or ``"unknown"``. A row never guesses.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

Confidence = Literal["A", "B", "C", "?"]
"""A: the vendor's own text was read. B: a third party that read it, or the hub's metadata. C: one
secondary source, or sources disagree. ?: not found."""

Verdict = Literal["yes", "no", "conditional", "unknown"]
"""Whether a licence allows a thing; conditional: the clause says when."""

Name = Annotated[str, Meta(min_length=1)]
Count = Annotated[int, Meta(ge=1)]
Billions = Annotated[float, Meta(gt=0)]
HubId = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?$",
        description="an id on the hub, like Qwen/Qwen3-0.6B",
    ),
]
LicenceId = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9.+-]*$",
        description="an SPDX id, or LicenseRef- and a name",
    ),
]
Region = Annotated[
    str,
    Meta(pattern=r"^[A-Z]{2}$", description="two capital letters: a country of ISO 3166, or EU"),
]
When = Annotated[
    str,
    Meta(
        pattern=r"^\d{4}(-(0[1-9]|1[0-2])(-(0[1-9]|[12]\d|3[01]))?)?$",
        description="a year, a month or a day, like 2025, 2025-04 or 2025-04-28",
    ),
]
Sha256 = Annotated[
    str, Meta(pattern=r"^[0-9a-f]{64}$", description="64 hexadecimal digits, a SHA-256")
]


class _Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table of the catalogue's files."""


class Clause(_Row, frozen=True, kw_only=True):
    """What a licence says on one matter.

    Attributes:
        about: The matter.
        text: The licence's words, shortened; or, in brackets, what a source says they are.
        source: Where it was read.
        confidence: How surely it is what the licence says.
    """

    about: Literal[
        "outputs", "derivatives", "notice", "regions", "commercial", "users", "revenue", "use"
    ]
    text: Name
    source: Name
    confidence: Confidence


class Threshold(_Row, frozen=True, kw_only=True):
    """A size from which a licence asks for more.

    Attributes:
        measure: What is counted: active users a day or a month, or US dollars of revenue.
        above: The size, in users or dollars; 0 where any is enough.
        who: Whose size it is and in what business, where the licence narrows it.
        business: ``models`` if only who sells what models answer is meant: models as a service,
            or an assistant; ``any`` otherwise.
        then: What is asked: to show the model's name, to get a licence first, or no use at all.
    """

    measure: Literal["daily_users", "monthly_users", "monthly_revenue", "annual_revenue"]
    above: Annotated[float, Meta(ge=0)]
    then: Literal["display", "licence", "forbidden", "review"]
    who: str = ""
    business: Literal["any", "models"] = "any"


class Licence(_Row, frozen=True, kw_only=True):
    """A licence, as far as it matters to a loop that trains on answers.

    Attributes:
        id: SPDX, or ``LicenseRef-...`` where SPDX has none.
        name: As its authors call it.
        url: Where its text is, if known.
        outputs_may_train: Whether answers may train another model.
        commercial: Whether the weights may be used commercially.
        derivatives: Whether tuned weights may be made and passed on.
        non_commercial: Commercial use is forbidden, or needs an authorisation first.
        distillate_is_derivative: Whether a model trained on its answers is, by its words, a
            derivative, to which the whole licence applies.
        derivative_name: What the name of a derivative must begin with.
        notice: What must be shown with a derivative, e.g. ``Built with Llama``.
        ship_licence: Whether the licence's text goes with a derivative.
        excluded_regions: Where it does not apply: ISO 3166 countries, or EU.
        thresholds: Sizes from which it asks for more.
        clauses: Its words on what matters here, with sources.
        text_sha256: Hash of the text that was read, if one was.
        confidence: How surely these fields say what the text says.
        source: Where they were read.
        notes: Anything else to read before relying on it.
    """

    id: LicenceId
    name: Name
    url: str = ""
    outputs_may_train: Verdict = "unknown"
    commercial: Verdict = "unknown"
    derivatives: Verdict = "unknown"
    non_commercial: bool = False
    distillate_is_derivative: bool = False
    derivative_name: str = ""
    notice: str = ""
    ship_licence: bool = False
    excluded_regions: tuple[Region, ...] = ()
    thresholds: tuple[Threshold, ...] = ()
    clauses: tuple[Clause, ...] = ()
    text_sha256: Sha256 | None = None
    confidence: Confidence
    source: Name
    notes: str = ""

    def clause(self, about: str) -> str:
        """Return its words on a matter, or an empty text; several clauses are joined."""
        return " ".join(clause.text for clause in self.clauses if clause.about == about)


class Service(_Row, frozen=True, kw_only=True):
    """An endpoint whose answers are under terms of its own.

    Attributes:
        id: What people call it.
        hosts: Of its URLs, with ``*`` as a wildcard.
        models: Names of its models, likewise.
        licence: The id of the licence that stands for its terms.
        confidence: How surely these are its hosts and models.
        source: Where they were read.
    """

    id: Name
    hosts: tuple[Name, ...] = ()
    models: tuple[Name, ...] = ()
    licence: LicenceId
    confidence: Confidence
    source: Name


class Shape(_Row, frozen=True, kw_only=True):
    """What memory estimates need of an architecture. Numbers of weights and caches follow from it.

    Attributes:
        layers: Decoder layers.
        hidden: Width of the residual stream.
        heads: Query heads of a layer.
        kv_heads: Key and value heads of a layer.
        head_dim: Width of a head.
        vocab: Rows of the embedding.
        intermediate: Width of the dense MLP; 0 where every layer is a mixture of experts.
        tied_embeddings: Whether the output layer is the embedding.
        experts: Routed experts of a layer; 0: dense.
        experts_per_token: How many of them a token uses.
        expert_intermediate: Width of one expert.
        shared_experts: Experts that every token uses, counted in ``expert_intermediate``.
        dense_layers: Layers of a mixture that have a dense MLP instead.
        cached_layers: Layers whose cache grows with the context; None: all. The others keep a
            state of fixed size.
        sliding_layers: Of the cached layers, those that look back only ``sliding_window``.
        sliding_window: Tokens that a sliding layer keeps.
        latent: Numbers cached for a token and a layer where keys and values are compressed
            (multi-head latent attention); 0: whole keys and values are.
        state: Numbers of fixed-size state in one sequence, all layers together.
        confidence: How surely it is this checkpoint's.
        source: Where it was read, e.g. the checkpoint's config.json or a class's defaults.
    """

    layers: Count
    hidden: Count
    heads: Count
    kv_heads: Count
    head_dim: Count
    vocab: Count
    intermediate: Annotated[int, Meta(ge=0)] = 0
    tied_embeddings: bool = False
    experts: Annotated[int, Meta(ge=0)] = 0
    experts_per_token: Annotated[int, Meta(ge=0)] = 0
    expert_intermediate: Annotated[int, Meta(ge=0)] = 0
    shared_experts: Annotated[int, Meta(ge=0)] = 0
    dense_layers: Annotated[int, Meta(ge=0)] = 0
    cached_layers: Annotated[int, Meta(ge=0)] | None = None
    sliding_layers: Annotated[int, Meta(ge=0)] = 0
    sliding_window: Annotated[int, Meta(ge=0)] = 0
    latent: Annotated[int, Meta(ge=0)] = 0
    state: Annotated[int, Meta(ge=0)] = 0
    confidence: Confidence
    source: Name


class Quality(_Row, frozen=True, kw_only=True):
    """One published measurement of a checkpoint.

    Attributes:
        benchmark: Its name, with the variant and the number of shots.
        value: The score, in the benchmark's own unit.
        source: Who published it, and where.
        confidence: As for all rows.
    """

    benchmark: Name
    value: float
    source: Name
    confidence: Confidence


class Checkpoint(_Row, frozen=True, kw_only=True):
    """One checkpoint. Terms change within a family, so each has its own row.

    Attributes:
        id: On the Hugging Face hub.
        organisation: Who published it.
        country: The organisation's home (ISO 3166).
        family: What it belongs to, in its publisher's words, e.g. ``Qwen3``.
        kind: A causal language model, or an encoder that embeds text.
        total_parameters: In billions, as published, or counted from the shape where it gives more
            digits; never from the tensors of quantised files.
        active_parameters: In billions, those that a token uses. A dense model's are its total.
        context: Tokens, as the checkpoint's config has it.
        context_extended: Tokens with the means its publisher names (YaRN and the like).
        released: Day, month or year.
        licence: The id of its licence; ``LicenseRef-unknown`` where none was found.
        further_licences: Others whose terms it inherits, e.g. from the model it was made of.
        model_type: As its config.json says; the key of its `Family`.
        shape: Its architecture, where known.
        quality: Published measurements, where known.
        confidence: How surely the licence is this.
        size_confidence: How surely parameters, context and date are these.
        source: Where the row was read.
        notes: Anything else to read before relying on it.
    """

    id: HubId
    organisation: Name
    country: Region
    family: Name
    kind: Literal["lm", "encoder"] = "lm"
    total_parameters: Billions | None = None
    active_parameters: Billions | None = None
    context: Count | None = None
    context_extended: Count | None = None
    released: When | None = None
    licence: Name
    further_licences: tuple[Name, ...] = ()
    model_type: Name
    shape: Shape | None = None
    quality: tuple[Quality, ...] = ()
    confidence: Confidence
    size_confidence: Confidence = "B"
    source: Name
    notes: str = ""


class Family(_Row, frozen=True, kw_only=True):
    """What is known of the checkpoints of one ``model_type``.

    Attributes:
        model_type: As config.json has it.
        aliases: Other model types of the same classes, e.g. that of the text part.
        title: What people call it.
        native: The class that `AutoModelForCausalLM` makes of it; empty if there is none.
        reason: Why there is none, or why it was not tried.
        loads_as: The model type to put in its place before loading, where it is not registered.
        attention_targets: LoRA targets in attention and what stands in its place: names of
            ``nn.Linear`` modules.
        mlp_targets: LoRA targets in dense MLPs and shared experts.
        expert_targets: Fused routed experts: PEFT's ``target_parameters``.
        routers: Modules that choose experts; they are never targets.
        all_linear: Whether PEFT's ``all-linear`` runs on it, and means attention and MLP alone.
        batching: Whether an answer in a padded batch equals that given alone: neutral, or to be
            verified on the checkpoint.
        trust: What loading it would need that Openwheel does not do, e.g. remote code.
        tested: With what it was tested, and how.
        confidence: As for all rows.
        source: Where it was read or measured.
        notes: Anything else to read before relying on it.
    """

    model_type: Name
    aliases: tuple[Name, ...] = ()
    title: Name
    native: str = ""
    reason: str = ""
    loads_as: str = ""
    attention_targets: tuple[Name, ...] = ()
    mlp_targets: tuple[Name, ...] = ()
    expert_targets: tuple[Name, ...] = ()
    routers: tuple[Name, ...] = ()
    all_linear: bool = False
    batching: Literal["neutral", "verify", "unknown"] = "unknown"
    trust: str = ""
    tested: str = ""
    confidence: Confidence
    source: Name
    notes: str = ""

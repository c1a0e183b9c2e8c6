"""The engine: a base model and its adapters, written with from many threads at once."""

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from openwheel.engine.adapters import Adapters
from openwheel.engine.answering import Answering, Progress
from openwheel.engine.base import Base
from openwheel.engine.choose import Sampling
from openwheel.engine.grammar import Matcher, grammar_of
from openwheel.engine.memory import free_memory
from openwheel.engine.prefixes import Prefixes
from openwheel.engine.prompts import Rendered, render, turn_end
from openwheel.engine.reasoning import (
    STYLES,
    ReasoningStyle,
    plain_reader,
    reader_for,
    reasoning_style,
    style_marks,
    template_of,
)
from openwheel.engine.runner import Abilities, Runner
from openwheel.engine.scheduler import Counts, Job, Scheduler
from openwheel.engine.text import Vocabulary
from openwheel.engine.tools import TOOL_FORMS, ToolForm, tool_form
from openwheel.errors import EngineError, RequestError, SettingError
from openwheel.inference.writer import Ask, Constraint, Written

DEFAULT_CONTEXT = 8192


class EngineLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What an engine may take.

    Attributes:
        max_batch: The most answers written at a time.
        max_queue: The most that may wait.
        context: The most tokens of a prompt with its answer; 0 for what the model was made for,
            8,192 at most.
        memory_share: The share of the memory left once the model is loaded that conversations
            may take.
        prefix_share: The share of that for beginnings that prompts share; 0 keeps none.
    """

    max_batch: int = 16
    max_queue: int = 512
    context: int = 0
    memory_share: float = 0.6
    prefix_share: float = 0.2


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """An answer that is wanted, its prompt rendered already.

    Attributes:
        model: Name of the base or of an adapter.
        prompt: The prompt.
        constraint: What the answer may be.
        max_tokens: The most tokens to write, None for what is left of the context.
        stop: Texts that end it.
        sampling: How tokens are chosen.
        top: How many of the most likely tokens are wanted at each place.
        plain: Whether all that is written is the answer: no thoughts and no tool calls.
        tools: Whether it may be a tool call.
    """

    model: str
    prompt: Rendered
    constraint: Constraint = Constraint()
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    sampling: Sampling = Sampling()
    top: int = 0
    plain: bool = False
    tools: bool = False


class Started(msgspec.Struct, eq=False):
    """An answer that is being written."""

    job: Job
    answering: Answering


class Engine:
    """Writes answers with a model; see `Writer`. Close it when done.

    Args:
        base: The model, which belongs to the engine from now on.
        name: What the base is served as, by default the name it was loaded by.
        limits: What it may take.
        reasoning: The form in which the model thinks (see `openwheel.engine.reasoning`); ``auto``
            reads it from the chat template.
        tools: The form in which it calls tools (see `openwheel.engine.tools`), likewise.
        batched: Whether answers may be written together; False for models whose answers
            batching is known to change.

    Attributes:
        name: What the base is served as.
        context: The most tokens of a prompt with its answer.
    """

    def __init__(
        self,
        base: Base,
        *,
        name: str = "",
        limits: EngineLimits | None = None,
        reasoning: str = "auto",
        tools: str = "auto",
        batched: bool = True,
    ) -> None:
        limits = limits or EngineLimits()
        self.name = name or base.name
        self._base = base
        self._tokenizing = threading.Lock()  # tokenizers are for one thread at a time
        template = template_of(base.tokenizer)
        self._style = _style(reasoning, template)
        self._tool_form = _tool_form(tools, template)
        kept = (*style_marks(self._style), *self._tool_form.marks)
        scored = base.model.get_input_embeddings().weight.shape[0]
        self._vocabulary = Vocabulary(base.tokenizer, _ends(base), kept, scored=scored)
        self._runner = Runner(base, batched=batched)
        self._adapters = Adapters(base)
        self.context = _context(base, limits.context)
        budget = _budget(base, limits.memory_share)
        beginnings = int(budget * limits.prefix_share) if self._runner.abilities.reuse else 0
        most = (budget - beginnings) // max(self._runner.token_bytes, 1)
        self._prefixes = Prefixes(beginnings, sliceable=self._runner.abilities.cache == "full")
        self._scheduler = Scheduler(
            self._runner,
            self._prefixes,
            vocabulary=self._vocabulary.size,
            switch=self._adapters.use,
            max_batch=limits.max_batch,
            max_queue=limits.max_queue,
            most_tokens=max(most, 1),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def base(self) -> Base:
        """The model."""
        return self._base

    @property
    def abilities(self) -> Abilities:
        """What the model allows."""
        return self._runner.abilities

    @property
    def vocabulary(self) -> Vocabulary:
        """What its tokens stand for."""
        return self._vocabulary

    @property
    def tool_form(self) -> ToolForm:
        """How the model writes tool calls."""
        return self._tool_form

    @property
    def default_sampling(self) -> Sampling:
        """How tokens are chosen where a request does not say: as the checkpoint recommends."""
        said = self._base.model.generation_config
        return Sampling(
            temperature=1.0 if said.temperature is None else float(said.temperature),
            top_p=1.0 if said.top_p is None else float(said.top_p),
        )

    @property
    def alive(self) -> bool:
        """Whether it still writes."""
        return self._scheduler.alive

    def counts(self) -> Counts:
        """Return what it has done, and has to do."""
        return self._scheduler.counts()

    def models(self) -> list[str]:
        """Return the names it serves: the base first, then the adapters."""
        return [self.name, *self._adapters.names()]

    def load_adapter(self, name: str, folder: str | Path) -> None:
        """Load an adapter, between answers.

        Raises:
            ModelError: The folder holds no adapter of this model.
            RequestError: The name is taken.
            EngineError: The engine has ended.
        """
        if name == self.name or not name:
            raise RequestError(f"An adapter must have a name of its own, was {name!r}")
        self._scheduler.call(lambda: self._adapters.load(name, str(folder)))

    def unload_adapter(self, name: str) -> None:
        """Let an adapter go, between answers.

        Raises:
            RequestError: There is none of that name.
            EngineError: The engine has ended.
        """

        def unload() -> None:
            self._adapters.unload(name)
            self._prefixes.forget(name)

        self._scheduler.call(unload)

    def render(
        self,
        turns: Sequence[Mapping[str, Any]],
        *,
        thinking: bool | None = None,
        tools: Sequence[Mapping[str, Any]] = (),
        variables: Mapping[str, Any] | None = None,
        formed: bool = False,
    ) -> Rendered:
        """Return a conversation as a prompt; see `openwheel.engine.prompts.render`."""
        with self._tokenizing:
            return render(
                self._base.tokenizer,
                turns,
                thinking=thinking,
                tools=tools,
                variables=variables,
                formed=formed,
                style=self._style,
            )

    def tokens(self, text: str, *, special: bool) -> list[int]:
        """Return the tokens of a text, with those that begin every text if ``special``."""
        with self._tokenizing:
            return list(self._base.tokenizer(text, add_special_tokens=special)["input_ids"])

    def start(
        self,
        wanted: Sequence[Wanted],
        listeners: Sequence[Callable[[Progress], None] | None] = (),
    ) -> list[Started]:
        """Begin to write answers, and return at once.

        Raises:
            RequestError: What is wanted cannot be written: its form, or more tokens than fit.
            EngineError: The model is not served, too many wait (`EngineFullError`), or the
                engine has ended.
        """
        heard = listeners or [None] * len(wanted)
        started = [self._prepared(one, told) for one, told in zip(wanted, heard, strict=True)]
        self._scheduler.submit([one.job for one in started])
        return started

    def write(self, asks: Sequence[Ask]) -> list[Written]:
        """Write answers; see `Writer.write`.

        Raises:
            EngineError: The model is not served, too many wait, or the engine has ended.
            RequestError: An ask cannot be answered as asked.
        """
        wanted = [self._wanted(ask) for ask in asks]
        started = self.start(wanted)
        try:
            for one in started:
                one.answering.done.wait()
        except BaseException:
            for one in started:
                one.job.cancelled = True
            raise
        return [_written(one) for one in started]

    def close(self) -> None:
        """End; answers that are not finished fail."""
        self._scheduler.close()

    def _wanted(self, ask: Ask) -> Wanted:
        turns = [{"role": message.role, "content": message.text} for message in ask.messages]
        formed = ask.constraint != Constraint()
        prompt = self.render(turns, thinking=ask.thinking, formed=formed)
        return Wanted(
            model=ask.model,
            prompt=prompt,
            constraint=ask.constraint,
            max_tokens=ask.max_tokens,
            stop=ask.stop,
            sampling=Sampling(temperature=ask.temperature),
            plain=formed and not ask.thinking,
        )

    def _prepared(self, wanted: Wanted, listener: Callable[[Progress], None] | None) -> Started:
        served = self.models()
        if wanted.model not in served:
            raise UnknownModelError(
                f"The model {wanted.model!r} is not served here; there is {', '.join(served)}"
            )
        prompt = wanted.prompt.ids
        left = self.context - len(prompt)
        if not prompt or left < 1:
            raise ContextError(
                f"The prompt must have 1 to {self.context - 1} tokens, and has {len(prompt)}"
            )
        if wanted.max_tokens is not None and wanted.max_tokens < 1:
            raise RequestError(f"max_tokens must be at least 1, was {wanted.max_tokens}")
        grammar = grammar_of(wanted.constraint)
        answering = Answering(
            self._vocabulary,
            plain_reader()
            if wanted.plain
            else reader_for(
                self._style,
                wanted.prompt.text,
                tool_marks=self._tool_form.around if wanted.tools else None,
            ),
            matcher=Matcher(self._vocabulary, grammar) if grammar else None,
            stops=wanted.stop,
            top=wanted.top,
            listener=listener,
        )
        job = Job(
            prompt=prompt,
            adapter="" if wanted.model == self.name else wanted.model,
            max_tokens=min(left, wanted.max_tokens or left),
            steering=answering,
            sampling=wanted.sampling,
        )
        return Started(job, answering)


class UnknownModelError(EngineError):
    """A model was asked for that the engine does not serve."""


class ContextError(RequestError):
    """A prompt is empty, or longer than the model's context."""


def _style(asked: str, template: str) -> ReasoningStyle:
    if asked == "auto":
        return reasoning_style(template)
    for style in STYLES:
        if style == asked:
            return style
    raise SettingError(f"The form of reasoning must be auto, {', '.join(STYLES)}, was {asked!r}")


def _tool_form(asked: str, template: str) -> ToolForm:
    if asked == "auto":
        return tool_form(template)
    if asked not in TOOL_FORMS:
        raise SettingError(
            f"The form of tool calls must be auto, {', '.join(TOOL_FORMS)}, was {asked!r}"
        )
    return TOOL_FORMS[asked]


def _written(started: Started) -> Written:
    answering = started.answering
    if answering.error is not None:
        raise answering.error
    return Written(
        text=answering.text(),
        reasoning=answering.reasoning(),
        finish=answering.finish,
        logprobs=tuple(one.logprob for one in answering.scored),
        margins=tuple(one.margin for one in answering.scored),
        prompt_tokens=len(started.job.prompt),
        completion_tokens=answering.written,
    )


def _ends(base: Base) -> list[int]:
    """Return the tokens that end an answer: what the checkpoint says, and its chat template."""
    ends: set[int] = set()
    for said in (base.model.generation_config.eos_token_id, base.tokenizer.eos_token_id):
        if isinstance(said, int):
            ends.add(said)
        elif said is not None:
            ends.update(int(one) for one in said)
    turn = turn_end(base.tokenizer)
    if turn is not None:
        ends.add(turn)
    return sorted(end for end in ends if end < len(base.tokenizer))


def _context(base: Base, asked: int) -> int:
    config = base.model.config.get_text_config(decoder=True)
    made_for = getattr(config, "max_position_embeddings", None)
    if asked:
        return min(asked, made_for) if made_for else asked
    return min(made_for or DEFAULT_CONTEXT, DEFAULT_CONTEXT)


def _budget(base: Base, share: float) -> int:
    free = free_memory(base.model.device)
    return int((8 << 30 if free is None else free) * share)

"""Continuous batching: texts join and leave the batch that one thread keeps running.

A batch holds one adapter. Texts wait in order; while a batch runs, those of its adapter join it
as long as none of another has waited longer.
"""

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, Protocol

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray

from openwheel.engine.cache import bytes_of
from openwheel.engine.choose import Chosen, Draw, Sampling, choose
from openwheel.engine.prefixes import Prefixes
from openwheel.engine.runner import Batch, Runner
from openwheel.errors import EngineError, OpenwheelError, RequestError

_MOST_READ = 8192
_ALIKE = 64


class EngineFullError(EngineError):
    """As many texts wait as may; try again later."""


class Steering(Protocol):
    """What becomes of a text's tokens, and what they may be. Called by the scheduler's thread."""

    @property
    def top(self) -> int:
        """How many of the most likely tokens it wants to know at each place."""

    def allowed(self) -> NDArray[np.bool_] | None:
        """Return which tokens may come next, None for any."""

    def accept(self, chosen: Chosen) -> bool:
        """Take a token, and return whether the text ends with it."""

    def end(self, error: OpenwheelError | None) -> None:
        """The text has ended: by itself, at its length, or by an error."""


class Job(msgspec.Struct, eq=False):
    """A text to write.

    Attributes:
        prompt: Its prompt's tokens.
        adapter: The adapter that writes it, ``""`` for the base.
        max_tokens: The most tokens to write.
        steering: What becomes of them.
        sampling: How they are chosen.
        cancelled: Set from any thread when nobody waits for it any more.
    """

    prompt: Sequence[int]
    adapter: str
    max_tokens: int
    steering: Steering
    sampling: Sampling = Sampling()
    cancelled: bool = False


class _Running(msgspec.Struct, eq=False):
    job: Job
    draw: Draw
    written: int = 0
    last: int = 0


class _Planned(msgspec.Struct, eq=False):
    """A text whose prompt is to be read, and what is known of its first tokens."""

    job: Job
    cache: Any
    known: int

    @property
    def new(self) -> int:
        return len(self.job.prompt) - self.known


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """What a scheduler has done, and has to do.

    Attributes:
        waiting: Texts that wait.
        running: Texts in the batch.
        texts: Texts that have ended.
        tokens: Tokens written.
        prompt_tokens: Tokens of prompts.
        spared_tokens: Those of them that were known from an earlier prompt.
    """

    waiting: int
    running: int
    texts: int
    tokens: int
    prompt_tokens: int
    spared_tokens: int


class Scheduler:
    """Writes texts, many at a time.

    Args:
        runner: Runs the model.
        prefixes: Beginnings that prompts share.
        vocabulary: Tokens in the vocabulary.
        switch: Puts an adapter in place, ``""`` for none.
        max_batch: The most texts at a time.
        max_queue: The most that may wait.
        most_tokens: The most tokens, of all texts of a batch, that memory holds.
    """

    def __init__(
        self,
        runner: Runner,
        prefixes: Prefixes,
        *,
        vocabulary: int,
        switch: Callable[[str], None],
        max_batch: int,
        max_queue: int,
        most_tokens: int,
    ) -> None:
        self._runner = runner
        self._prefixes = prefixes
        self._vocabulary = vocabulary
        self._switch = switch
        self._max_batch = max_batch if runner.abilities.batch else 1
        self._max_queue = max_queue
        self._most_tokens = most_tokens
        self._changed = threading.Condition()
        self._waiting: deque[Job] = deque()
        self._calls: deque[tuple[Callable[[], None], Future[None]]] = deque()
        self._running: list[_Running] = []
        self._batch: Batch | None = None
        self._adapter: str | None = ""
        self._closing = False
        self._texts = 0
        self._tokens = 0
        self._thread = threading.Thread(target=self._run, name="openwheel-engine", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether texts are still being written."""
        return self._thread.is_alive()

    def counts(self) -> Counts:
        """Return what it has done, and has to do."""
        return Counts(
            waiting=len(self._waiting),
            running=len(self._running),
            texts=self._texts,
            tokens=self._tokens,
            prompt_tokens=self._prefixes.read,
            spared_tokens=self._prefixes.spared,
        )

    def submit(self, jobs: Sequence[Job]) -> None:
        """Have texts written; all of them are taken, or none.

        Raises:
            RequestError: One needs more memory than there is.
            EngineFullError: Too many wait already.
            EngineError: The engine has ended.
        """
        for job in jobs:
            needed = len(job.prompt) + job.max_tokens
            if needed > self._most_tokens:
                raise RequestError(
                    f"The prompt and max_tokens together must be at most {self._most_tokens} "
                    f"tokens, which is what memory holds; they are {needed}"
                )
        with self._changed:
            if self._closing:
                raise EngineError("The engine has ended")
            if len(self._waiting) + len(jobs) > self._max_queue:
                raise EngineFullError(f"{len(self._waiting)} texts wait already; try again later")
            self._waiting.extend(jobs)
            self._changed.notify()

    def call(self, work: Callable[[], None]) -> None:
        """Do something while no text is being written, and return when it is done.

        Raises:
            EngineError: The engine has ended.
            OpenwheelError: What the work raises.
        """
        done: Future[None] = Future()
        with self._changed:
            if self._closing:
                raise EngineError("The engine has ended")
            self._calls.append((work, done))
            self._changed.notify()
        done.result()

    def close(self) -> None:
        """End: texts that are not finished end with an error."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        try:
            while self._wait():
                self._drop_cancelled()
                if self._calls and not self._running:
                    self._do_call()
                    continue
                try:
                    if not self._calls:
                        self._admit()
                    if self._running:
                        self._step()
                except (RuntimeError, MemoryError) as error:  # torch's own are of the first kind
                    self._fail_running(f"The model failed: {str(error).partition(chr(10))[0]}")
        finally:
            with self._changed:
                self._closing = True
            self._fail_running("The engine has ended")
            for job in self._waiting:
                job.steering.end(EngineError("The engine has ended"))
            self._waiting.clear()
            for _, done in self._calls:
                done.set_exception(EngineError("The engine has ended"))

    def _wait(self) -> bool:
        with self._changed:
            while not (self._closing or self._waiting or self._running or self._calls):
                self._changed.wait()
            return not self._closing

    def _do_call(self) -> None:
        with self._changed:
            work, done = self._calls.popleft()
        self._adapter = None  # whatever is done to the model, it has to be put in place again
        try:
            work()
            done.set_result(None)
        except OpenwheelError as error:
            done.set_exception(error)
        finally:
            if not done.done():  # it was a bug, which ends this thread
                done.set_exception(EngineError("The engine has ended"))

    def _admit(self) -> None:
        """Take waiting texts into the batch, as many as belong there and fit."""
        jobs = self._next_jobs()
        if not jobs:
            return
        if not self._running and jobs[0].adapter != self._adapter:
            self._switch(jobs[0].adapter)
            self._adapter = jobs[0].adapter
        try:
            self._read_beginnings(jobs)
            planned = [_Planned(job, *self._prefixes.find(job.adapter, job.prompt)) for job in jobs]
            while planned:
                group = self._read_together(planned)
                self._read(group)
                planned = planned[len(group) :]
        except BaseException as error:
            reason = str(error).partition("\n")[0] or type(error).__name__
            running = {id(one.job) for one in self._running}
            for job in jobs:
                if id(job) not in running:
                    job.steering.end(
                        EngineError(f"The model failed while it read the prompt: {reason}")
                    )
            raise

    def _read_beginnings(self, jobs: Sequence[Job]) -> None:
        """Read what prompts share with each other, or with earlier ones, once and for all."""
        for job in jobs:
            shared = self._prefixes.note(job.adapter, job.prompt)
            if not shared:
                continue
            head = job.prompt[:shared]
            cache, known = self._prefixes.find(job.adapter, head)
            batch, _ = self._runner.read([head], [(cache, known)])
            kept = self._runner.copy_head(batch, 0, shared)
            self._prefixes.put(job.adapter, head, kept, bytes_of(kept))

    def _next_jobs(self) -> list[Job]:
        with self._changed:
            if not self._waiting:
                return []
            adapter = self._waiting[0].adapter
            if self._running and adapter != self._adapter:
                return []
            jobs: list[Job] = []
            longest = max((self._needed(one.job) for one in self._running), default=0)
            for job in list(self._waiting):
                rows = len(self._running) + len(jobs) + 1
                longest = max(longest, self._needed(job))
                if rows > self._max_batch or rows * longest > self._most_tokens:
                    break
                if job.adapter == adapter:
                    jobs.append(job)
                    self._waiting.remove(job)
                elif self._running:
                    break  # it has waited longer than those behind it
            return jobs

    @staticmethod
    def _needed(job: Job) -> int:
        return len(job.prompt) + job.max_tokens

    def _read_together(self, planned: "list[_Planned]") -> "list[_Planned]":
        """Return the first texts that are read in one pass: alike in how much there is to read."""
        if not self._runner.abilities.together:
            return planned[:1]
        planned.sort(key=lambda one: one.new)
        group: list[_Planned] = []
        for one in planned:
            if group and (
                one.new > 2 * planned[0].new + _ALIKE or (len(group) + 1) * one.new > _MOST_READ
            ):
                break
            group.append(one)
        return group

    def _read(self, group: "Sequence[_Planned]") -> None:
        batch, logits = self._runner.read(
            [one.job.prompt for one in group], [(one.cache, one.known) for one in group]
        )
        started = [_Running(one.job, Draw(one.job.sampling)) for one in group]
        going = self._take(started, logits)
        if len(going) < len(started) and going:
            self._runner.keep(batch, going)
        if going:
            self._running += [started[row] for row in going]
            whole = [batch] if self._batch is None else [self._batch, batch]
            self._batch = self._runner.join(whole)

    def _step(self) -> None:
        """Write a token of every text in the batch."""
        assert self._batch is not None
        logits = self._runner.step(self._batch, [one.last for one in self._running])
        self._keep(self._take(self._running, logits))

    def _take(self, texts: Sequence[_Running], logits: torch.Tensor) -> list[int]:
        """Choose a token of each text, and return which texts go on."""
        masks: list[NDArray[np.bool_] | None] = []
        failed: dict[int, OpenwheelError] = {}
        for row, one in enumerate(texts):
            masks.append(None)
            try:
                masks[-1] = one.job.steering.allowed()
            except OpenwheelError as problem:  # a grammar may turn out too complex half-way
                failed[row] = problem
        chosen = choose(
            logits,
            [one.draw for one in texts],
            masks,
            [one.job.steering.top for one in texts],
            self._vocabulary,
        )
        going = []
        for row, (one, token) in enumerate(zip(texts, chosen, strict=True)):
            one.written += 1
            one.last = token.token
            self._tokens += 1
            ended = one.job.cancelled
            error = failed.get(row)
            if error is None and not ended:
                try:
                    ended = one.job.steering.accept(token)
                except OpenwheelError as problem:
                    error = problem
            if error is None and not ended and one.written < one.job.max_tokens:
                going.append(row)
                continue
            self._texts += 1
            one.job.steering.end(error)
        return going

    def _drop_cancelled(self) -> None:
        if any(one.job.cancelled for one in self._running):
            going = []
            for row, one in enumerate(self._running):
                if one.job.cancelled:
                    one.job.steering.end(EngineError("It was cancelled"))
                else:
                    going.append(row)
            self._keep(going)
        with self._changed:
            gone = [job for job in self._waiting if job.cancelled]
            for job in gone:
                self._waiting.remove(job)
        for job in gone:
            job.steering.end(EngineError("It was cancelled"))

    def _keep(self, going: list[int]) -> None:
        if len(going) == len(self._running):
            return
        self._running = [self._running[row] for row in going]
        if self._running and self._batch is not None:
            self._runner.keep(self._batch, going)
        else:
            self._batch = None

    def _fail_running(self, message: str) -> None:
        for one in self._running:
            one.job.steering.end(EngineError(message))
        self._running = []
        self._batch = None
        with contextlib.suppress(RuntimeError):
            self._prefixes.forget()

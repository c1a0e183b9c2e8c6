"""Carries out the computations of work that is taken part by part, in order.

A part is a generator: it yields a computation where it has a heavy one, and is sent the result.
While the computation of one part is away, the parts after it begin. Nothing of two parts runs at
once in this process, and parts end in their order, so what they write comes in one order.
"""

import contextlib
import tempfile
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from openwheel.executors.needs import Needs

Result = TypeVar("Result")
Result_co = TypeVar("Result_co", covariant=True)


class Computation(Protocol[Result_co]):
    """A heavy computation: a pure function of its data, with the same result wherever it runs.

    Attributes:
        module: Runs it in a process of its own: `job.run_job`.
        name: Its work, as a sentence begins: ``Training a student``.
        needs: What it needs of a machine.
    """

    @property
    def module(self) -> str: ...  # noqa: D102 - see the attributes
    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def needs(self) -> Needs: ...  # noqa: D102

    def here(self) -> Result_co:
        """Compute it in this process."""

    def place(self, folder: Path, /) -> bool:
        """Write its order and its data into a folder; return False if it can be done only here.

        Raises:
            ModelError: They cannot be written.
        """

    def read(self, folder: Path, /) -> Result_co:
        """Return the result from the files that the module wrote.

        Raises:
            ModelError: They are not what they must be.
            OpenwheelError: The result is one.
        """


Computing = Generator[Computation[Any], Any, Result]
"""A part of some work, which yields its heavy computations."""


class Session(Protocol):
    """Carries out computations elsewhere, until its block ends.

    Attributes:
        at_once: How many at most.
    """

    @property
    def at_once(self) -> int: ...  # noqa: D102 - see the attributes

    def require(self) -> None:
        """Be ready to take computations; else this is seen to when the first one starts.

        Raises:
            ModelError: What carries them out cannot be reached.
        """

    def start(self, computation: Computation[Any], folder: Path) -> None:
        """Start a computation whose files are in a folder, without waiting for it.

        Raises:
            ModelError: What carries it out cannot be reached.
        """

    def wait(self, folder: Path) -> None:
        """Wait until the files of the result are in the folder of results.

        Raises:
            ModelError: The computation failed, or what carries it out cannot be reached any more.
            JobDiedError: Its process died, and so did that of a second try.
        """

    def drop(self, folder: Path) -> None:
        """Stop a computation whose result nobody waits for; of one that has ended, do nothing."""


class Executor(Protocol):
    """Where computations can be carried out."""

    def session(self) -> AbstractContextManager[Session]:
        """Return a session, whose end stops what is left of its computations."""


@contextlib.contextmanager
def session_of(executor: Executor | None) -> Iterator[Session | None]:
    """Open a session, none where this process carries out the computations."""
    if executor is None:
        yield None
        return
    with executor.session() as session:
        yield session


def away(computation: Computation[Result]) -> Computing[Result]:
    """Have a computation carried out, and return its result; it is called with ``yield from``."""
    result: Result = yield computation
    return result


class _Nothing:
    """Computes nothing, and only here."""

    module = name = ""
    needs = Needs()

    def here(self) -> None:
        """Do nothing."""

    def place(self, _: Path, /) -> bool:
        """Return False."""
        return False

    def read(self, _: Path, /) -> None:
        """Not called."""


def after_earlier() -> Computing[None]:
    """Wait until the parts before this one have ended; it is called with ``yield from``.

    What is computed here is computed when its part comes first of those that have not ended.
    """
    yield from away(_Nothing())


def in_order(
    parts: Iterable[Computing[Result]], session: Session | None
) -> Generator[Result, None, None]:
    """Carry out parts; yield what they return, in order.

    Args:
        parts: A part is made when its turn to begin comes.
        session: Carries out the computations; None: this process does.

    Raises:
        Exception: What a part raises. The parts that have begun are closed, and their computations
            stopped.
    """
    at_once = 1 if session is None else session.at_once
    begun: deque[_Begun[Result]] = deque()
    try:
        for part in parts:
            begun.append(_Begun(part, session))
            if begun[-1].failed:
                break  # which is raised once the parts before it have ended
            if len(begun) >= at_once:
                yield begun[0].end()
                begun.popleft()
        while begun:
            yield begun[0].end()
            begun.popleft()
    finally:
        for left in begun:
            left.close()


class _Begun(Generic[Result]):
    """A part that has begun: its computation is away, or it is over."""

    def __init__(self, part: Computing[Result], session: Session | None) -> None:
        self._part = part
        self._session = session
        self._open = contextlib.ExitStack()
        self._carry_out: Callable[[], Any] | None = None
        self._result: Result
        self._problem: Exception | None = None
        self._go_on(lambda: next(part))

    @property
    def failed(self) -> bool:
        """Whether the part itself has raised an error."""
        return self._problem is not None

    def end(self) -> Result:
        """Wait for its computations, one after the other; return what it returns, or raise that."""
        while (carry_out := self._carry_out) is not None:
            problem: Exception | None = None
            result = None
            try:
                result = carry_out()
            except MemoryError:
                problem = MemoryError()  # without the frames that hold what there is too little of
            except Exception as error:
                problem = error
            if problem is None:
                self._go_on(partial(self._part.send, result))
            else:
                self._go_on(partial(self._part.throw, problem))
        if self._problem is not None:
            raise self._problem
        return self._result

    def close(self) -> None:
        """Stop its computation, and close the part."""
        with self._open:
            self._part.close()

    def _go_on(self, step: Callable[[], Computation[Any]]) -> None:
        """Let the part go on to its next computation, which is started, or to its end."""
        self._carry_out = None
        try:
            computation = step()
            self._carry_out = self._started(computation)
        except StopIteration as end:
            self._result = end.value
            self._open.close()
        except Exception as error:
            self._problem = error
            self._open.close()

    def _started(self, computation: Computation[Any]) -> Callable[[], Any]:
        """Start a computation; return what waits for its result, or raises why there is none."""
        session = self._session
        if session is None:
            return computation.here
        folder = Path(self._open.enter_context(tempfile.TemporaryDirectory(prefix="openwheel-")))
        try:
            if not computation.place(folder):
                return computation.here
            session.start(computation, folder)
        except Exception as error:  # a matter of its part, as where it is computed here
            return partial(_raise, error)
        self._open.callback(session.drop, folder)

        def wait() -> Any:
            session.wait(folder)
            return computation.read(folder)

        return wait


def _raise(error: Exception) -> None:
    raise error

"""Compares two answers to one request by asking the teacher whether they are interchangeable."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager

import msgspec

from openwheel.errors import SettingError, TeacherError
from openwheel.loop.judging.question import LONGEST_ANSWER, PROMPT_SHA256, ask_about
from openwheel.store.judgements import JudgeCache
from openwheel.tasks.compare import Pair, fingerprint_of, settled

AskTeacher = Callable[[bytes], Awaitable[str]]
"""Sends the body of a request and returns the text of the answer; raises TeacherError."""

Connect = Callable[[], AbstractAsyncContextManager[AskTeacher]]
"""Opens connections to a teacher that belong to the running event loop, until its block ends."""

AT_ONCE = 8
"""Questions under way at a time."""

KEPT_EVERY = 64
"""Replies are written in portions of this size, so paid replies survive a teacher that fails."""

TRIES = 3
WAIT = 0.5
"""Seconds before a question that failed is asked again; twice as long each time."""


class _Asked(msgspec.Struct, frozen=True):
    """A question about one pair, in one order."""

    request: str
    first: str
    second: str


class TeacherJudge:
    """Compares texts by asking a model, in both orders; the loss is the share of noes.

    The question does not say which answer is whose. Equal answers need no question, and answers
    that call tools agree only if they are equal. A reply that cannot be read is asked for once
    more and then counts as no. Replies are kept, so that a pair always has the same loss.
    """

    setting = "judge"
    bounded = True
    free = False
    equality = False

    def __init__(
        self, connect: Connect, cache: JudgeCache, *, model: str, budget: int, wait: float = WAIT
    ) -> None:
        """Make a judge for one task, with a budget of questions for the task, ever.

        A question that failed is asked again after ``wait`` seconds at first.
        """
        self.model = model
        self.fingerprint = fingerprint_of("judge", model, PROMPT_SHA256)
        self._connect = connect
        self._cache = cache
        self._budget = budget
        self._wait = wait

    def losses(self, pairs: Sequence[Pair]) -> list[float]:
        """Return the share of orders in which each pair is not interchangeable: 0, 0.5 or 1.

        Raises:
            SettingError: The budget does not reach; nothing was asked.
            TeacherError: The teacher could not be asked; replies so far are kept.
        """
        settled_losses = [_known(pair) for pair in pairs]
        rows = [i for i, loss in enumerate(settled_losses) if loss is None]
        verdicts = self.verdicts([pairs[i] for i in rows])
        losses = [1.0 if loss is None else loss for loss in settled_losses]
        for i, orders in zip(rows, verdicts, strict=True):
            losses[i] = sum(same is not True for same in orders) / 2
        return losses

    def affordable(self, pairs: Sequence[Pair]) -> int:
        """Return for how many pairs, from the first on, the budget suffices.

        The choice depends on no reply, so the first pairs are still traffic as it came.
        """
        requests_left = self.left()
        questions = [[] if _known(pair) is not None else _both_orders(pair) for pair in pairs]
        cached = self._cache.find([self._key(asked) for two in questions for asked in two])
        seen = set(cached)
        for number, two in enumerate(questions):
            new = {self._key(asked) for asked in two} - seen
            if len(new) > requests_left:
                return number
            requests_left -= len(new)
            seen |= new
        return len(pairs)

    def left(self) -> int:
        """Return how many more questions may be asked."""
        return max(0, self._budget - self._cache.spent())

    def verdicts(self, pairs: Sequence[Pair]) -> list[tuple[bool | None, bool | None]]:
        """Return the judge's verdict on each pair, in both orders; None where it gave none.

        Every pair is asked about, equal answers too.

        Raises:
            SettingError: The budget does not reach; nothing was asked.
            TeacherError: The teacher could not be asked; replies so far are kept.
        """
        questions = {self._key(asked): asked for pair in pairs for asked in _both_orders(pair)}
        replies = self._cache.find(list(questions))
        missing = {key: asked for key, asked in questions.items() if key not in replies}
        if len(missing) > self.left():
            raise SettingError(
                f"judge_budget allows {self.left():,} more questions for this task, and "
                f"{len(missing):,} are to be asked"
            )
        if missing:
            replies |= asyncio.run(self._ask_all(missing))
        return [
            (replies[self._key(first)], replies[self._key(other)])
            for first, other in map(_both_orders, pairs)
        ]

    async def _ask_all(self, missing: dict[str, _Asked]) -> dict[str, bool | None]:
        keys = list(missing)
        verdicts: dict[str, bool | None] = {}
        async with self._connect() as ask:
            slots = asyncio.Semaphore(AT_ONCE)
            for start in range(0, len(keys), KEPT_EVERY):
                part = keys[start : start + KEPT_EVERY]
                replies = await asyncio.gather(
                    *(self._ask_one(ask, slots, missing[key]) for key in part),
                    return_exceptions=True,
                )
                good = {
                    key: reply
                    for key, reply in zip(part, replies, strict=True)
                    if not isinstance(reply, BaseException)
                }
                verdicts |= self._cache.keep(good)
                for reply in replies:
                    if isinstance(reply, BaseException):
                        raise reply
        return verdicts

    async def _ask_one(
        self, ask: AskTeacher, slots: asyncio.Semaphore, asked: _Asked
    ) -> tuple[bool | None, int]:
        """Return the judge's verdict, and how many times it was asked."""
        async with slots:
            for number in (1, 2):
                question = ask_about(self.model, asked.request, asked.first, asked.second)
                verdict = question.read(await self._send(ask, question.body))
                if verdict is not None:
                    return verdict, number
        return None, 2

    async def _send(self, ask: AskTeacher, body: bytes) -> str:
        for number in range(TRIES - 1):
            try:
                return await ask(body)
            except TeacherError:
                await asyncio.sleep(self._wait * 2**number)
        return await ask(body)

    def _key(self, asked: _Asked) -> str:
        parts = (self.fingerprint, asked.request, asked.first, asked.second)
        digest = hashlib.sha256()
        for part in parts:
            encoded = part.encode("utf-8", "surrogatepass")
            digest.update(len(encoded).to_bytes(8, "big") + encoded)
        return digest.hexdigest()


def _known(pair: Pair) -> float | None:
    """Return the loss of a pair that no judge needs to see, else None."""
    loss = settled(pair)
    if loss is None and max(len(pair.teacher.text), len(pair.student.text)) > LONGEST_ANSWER:
        return 1.0
    return loss


def _both_orders(pair: Pair) -> tuple[_Asked, _Asked]:
    teacher, student = pair.teacher.text, pair.student.text
    return _Asked(pair.request, teacher, student), _Asked(pair.request, student, teacher)

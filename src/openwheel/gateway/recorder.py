"""Keeps exchanges, all or a share of them, and counts their costs."""

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import msgspec

from openwheel.access import Key
from openwheel.gateway.authorization import Guard
from openwheel.gateway.capture import Capture
from openwheel.gateway.meter import Meter
from openwheel.settings import CaptureSection
from openwheel.store.exchange import Exchange
from openwheel.teachers import most_tokens
from openwheel.wire import Usage

logger = logging.getLogger(__name__)

BYTES_A_TOKEN: Final = 4
"""A rough average, to estimate tokens if a teacher does not count them."""


_DEFAULTS: Final = CaptureSection()
_FREE: Final = (0.0, 0.0)
_TOKENS_A_SECOND: Final = 50
_MOST_TOKENS: Final = 4_096


class Recorder:
    """Keeps exchanges and counts their costs.

    Args:
        capture: Where exchanges are kept; None keeps nothing.
        meter: Counts.
        guard: Charges keys.
        settings: How durably exchanges are kept, and which of them.
        prices: Dollars for a million tokens, read and written, by the teacher's name.
        rng: Draws from [0, 1) for the sample.
    """

    def __init__(
        self,
        capture: Capture | None,
        meter: Meter,
        guard: Guard,
        *,
        settings: CaptureSection = _DEFAULTS,
        prices: Mapping[str, tuple[float, float]] | None = None,
        rng: Callable[[], float] = random.random,
    ) -> None:
        self._capture = None if settings.mode == "off" else capture
        self._meter = meter
        self._guard = guard
        self.strict = settings.mode == "strict" and self._capture is not None
        self._strict_timeout = settings.strict_timeout
        self._sample = settings.sample
        self._others = self._sample.get("*", 1.0)
        self._prices = prices or {}
        self._rng = rng

    def put(self, exchange: Exchange, task: str, *, is_retry: bool = False) -> None:
        """Give an exchange of a task to the writer; a retry is one that the client says it is."""
        if self._capture is not None and (storable := self._kept(exchange, task)):
            self._capture.put(storable, is_retry=is_retry)

    async def commit(self, exchange: Exchange, task: str, *, is_retry: bool = False) -> None:
        """Keep an exchange, and wait until it is on disk, for ``strict_timeout`` seconds."""
        if self._capture is None or not (storable := self._kept(exchange, task)):
            return
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()

        def settle() -> None:
            if not future.done():
                future.set_result(None)

        def done() -> None:
            with contextlib.suppress(RuntimeError):  # the loop ended before the writer
                loop.call_soon_threadsafe(settle)

        self._capture.put(storable, done, is_retry=is_retry)
        await asyncio.wait([future], timeout=self._strict_timeout)
        if not future.done():
            self._meter.strict_late += 1
            logger.error("Capture: an answer was completed before its commit, which takes too long")

    async def commit_all(self, exchanges: Iterable[tuple[Exchange, str, bool]]) -> None:
        """Keep exchanges, each given as to `commit`, and wait until all are on disk."""
        await asyncio.gather(
            *(self.commit(one, task, is_retry=is_retry) for one, task, is_retry in exchanges)
        )

    def spent(
        self, teacher: str, usage: Usage | None, read: int, written: int, key: Key | None
    ) -> None:
        """Count the cost of a teacher's answer, for a client's key unless the gateway asked itself.

        Where the teacher reports no usage, tokens are estimated from the bytes read and written.
        """
        if usage is None:
            usage = Usage(read // BYTES_A_TOKEN + 1, written // BYTES_A_TOKEN + 1)
        tokens = (usage.prompt_tokens, usage.completion_tokens)
        read_price, written_price = self._prices.get(teacher, _FREE)
        cost = round(tokens[0] * read_price + tokens[1] * written_price)
        self._meter.tokens(teacher, tokens[0], tokens[1], cost)
        self._guard.charge(key, sum(tokens), cost)

    def unanswered(self, teacher: str, body: bytes, seconds: float, key: Key | None) -> None:
        """Count the tokens that an answer may have cost that did not begin in ``seconds``."""
        written = min(int(seconds * _TOKENS_A_SECOND), most_tokens(body) or _MOST_TOKENS)
        self.spent(teacher, None, len(body), written * BYTES_A_TOKEN, key)

    def _kept(self, exchange: Exchange, task: str) -> Exchange | None:
        """Return an exchange as it is to be kept, None if it is not."""
        share = self._sample.get(task, self._others) if self._sample else 1.0
        if share >= 1:
            return exchange
        # Audited exchanges are kept, also if all are audited: then a student is named.
        audited = exchange.unbiased and (exchange.audit_probability < 1 or exchange.student != "")
        if not audited and self._rng() >= share:
            self._meter.not_sampled += 1
            return None
        if exchange.source == "teacher" and exchange.student_answer is None:
            # Deferred requests are evidence if all are kept. In a sample only audited ones are.
            return msgspec.structs.replace(exchange, student="")
        return exchange

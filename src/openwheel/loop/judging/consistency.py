"""Measures a judge before a student is judged by it."""

import math
from collections.abc import Sequence

import msgspec

from openwheel.errors import SettingError
from openwheel.gate import Compared, clopper_pearson
from openwheel.loop.judging.question import LONGEST_ANSWER
from openwheel.loop.judging.teacher_judge import TeacherJudge
from openwheel.tasks.compare import Pair, settled

PROBES = 50
"""Exchanges each question is tried on."""

FEWEST = 20
"""The fewest exchanges that a judge is measured on."""

IDENTICAL = 0.05
"""The largest share of answers that a judge may find different from themselves."""

SWAPPED = 0.2
"""The largest share of answers to other requests that it may find as good as the right one: some
are, as "I do not know" is."""

FLIPS = 0.2
"""The largest share of pairs for which the order may decide the verdict."""


class Share(msgspec.Struct, frozen=True):
    """A share: how many of how many."""

    count: int
    of: int

    @property
    def share(self) -> float:
        """The share, 0 of none."""
        return self.count / self.of if self.of else 0.0

    def __str__(self) -> str:
        return f"{self.count} of {self.of}"


class Consistency(msgspec.Struct, frozen=True):
    """The measurements of a judge.

    Attributes:
        identical: Answers that it did not find interchangeable with themselves.
        swapped: Answers to another request that it found interchangeable, in both orders.
        flips: Pairs of two different answers for which the order decided.
        first: Of those, how many it found interchangeable with the answers in the order given.
        own: The teacher's own two answers to one request: the sum of their losses, rounded
            up, and how many pairs there were.
        unread: Replies that could not be read, also when asked for again.
    """

    identical: Share
    swapped: Share
    flips: Share
    first: int
    own: Share
    unread: Share

    def problems(self, epsilon: float) -> tuple[str, ...]:
        """Return why no student can be judged by it, a sentence each; none if it is good enough.

        Args:
            epsilon: The most disagreement allowed: a judge that evidently finds more between the
                teacher and itself would refuse any student.
        """
        problems = []
        if self.identical.of < FEWEST or self.swapped.of < FEWEST:
            few = min(self.identical.of, self.swapped.of)
            problems.append(f"it was tried on {few} exchanges, and {FEWEST} are needed")
        for share, most, fault in (
            (self.identical, IDENTICAL, "found an answer different from itself"),
            (self.swapped, SWAPPED, "took the answer to another request for as good"),
            (self.flips, FLIPS, "changed its mind with the order of the answers"),
            (self.unread, IDENTICAL, "gave a reply that is neither yes nor no"),
        ):
            if share.share > most:
                problems.append(
                    f"it {fault} in {share} cases ({share.share:.1%}, at most {most:.0%})"
                )
        low, _ = clopper_pearson(self.own.count, self.own.of)
        if low > epsilon:
            problems.append(
                f"the teacher's own second answers have a loss of {self.own} ({self.own.share:.1%})"
                f", evidently above the limit of {epsilon:.1%}: so would any student's"
            )
        return tuple(problems)

    def measured(self) -> dict[str, float]:
        """Return the numbers for a certificate."""
        return {
            name: value
            for field in ("identical", "swapped", "flips", "own", "unread")
            for share in [getattr(self, field)]
            for name, value in ((field, share.share), (f"{field}_of", float(share.of)))
        }


def measure(
    judge: TeacherJudge, exchanges: Sequence[Pair], twice: Sequence[Pair] = ()
) -> Consistency:
    """Ask a judge about pairs whose verdict is known, or must be the same.

    At most four questions for each of `PROBES` exchanges, and two for each pair of ``twice``.

    Args:
        exchanges: Training requests with the teacher's answer, never those that calibrate.
            ``student`` is ignored.
        twice: The teacher's two answers to one request, where it was asked twice.

    Raises:
        SettingError: The budget does not reach.
        TeacherError: The teacher could not be asked.
    """
    probes = [pair for pair in exchanges if _shown(pair)][:PROBES]
    answers = [pair.teacher for pair in probes]
    identical = [msgspec.structs.replace(pair, student=pair.teacher) for pair in probes]
    # Half the list away: neighbours in time are often about the same.
    half = len(probes) // 2
    swapped = [
        pair
        for probe, answer in zip(probes, [*answers[half:], *answers[:half]], strict=True)
        if settled(pair := msgspec.structs.replace(probe, student=answer)) is None
    ]
    teacher_pairs = [pair for pair in twice if _shown(pair)][:PROBES]
    unlike = [pair for pair in teacher_pairs if settled(pair) is None]
    verdicts = judge.verdicts([*identical, *swapped, *unlike])
    of_identical, rest = verdicts[: len(identical)], verdicts[len(identical) :]
    of_swapped, of_own = rest[: len(swapped)], rest[len(swapped) :]
    flips = [orders for orders in rest if set(orders) == {True, False}]
    lost = sum(sum(same is not True for same in orders) / 2 for orders in of_own)
    called = sum(settled(pair) == 1.0 for pair in teacher_pairs)
    return Consistency(
        identical=Share(sum(orders[0] is not True for orders in of_identical), len(identical)),
        swapped=Share(sum(orders == (True, True) for orders in of_swapped), len(swapped)),
        flips=Share(len(flips), len(rest)),
        first=sum(orders[0] is True for orders in flips),
        own=Share(math.ceil(lost + called), len(teacher_pairs)),
        unread=Share(
            sum(same is None for orders in verdicts for same in orders), 2 * len(verdicts)
        ),
    )


def believed(
    judge: TeacherJudge, exchanges: Sequence[Pair], twice: Sequence[Pair], epsilon: float
) -> Compared:
    """Measure a judge as `measure` does; return a certificate's entry if it is consistent enough.

    Raises:
        SettingError: It is not, with the numbers; or the budget does not suffice.
        TeacherError: The teacher could not be asked.
    """
    consistency = measure(judge, exchanges, twice)
    if problems := consistency.problems(epsilon):
        raise SettingError(f"{judge.model} cannot judge here: {'; '.join(problems)}")
    return Compared(judge.setting, judge.fingerprint, judge.model, consistency.measured())


def asked_twice(exchanges: Sequence[Pair]) -> list[Pair]:
    """Return the teacher's two answers to one request, for each request that came twice or more.

    Args:
        exchanges: Requests with the teacher's answer, in order of arrival.
    """
    before: dict[str, Pair] = {}
    pairs: dict[str, Pair] = {}
    for pair in exchanges:
        first = before.setdefault(pair.request, pair)
        if first is not pair and pair.request not in pairs:
            pairs[pair.request] = msgspec.structs.replace(first, student=pair.teacher)
    return list(pairs.values())


def _shown(pair: Pair) -> bool:
    """Whether a pair is one that a judge could be shown."""
    longest = max(len(pair.teacher.text), len(pair.student.text))
    return bool(pair.teacher.text) and not pair.teacher.tool_calls and longest <= LONGEST_ANSWER

"""Splits prompts into groups of one template each.

Every prompt of a template holds the template's runs of tokens and few others do. So sets of prompts
that share many runs are proposed, the most distinctive first, and judged. Users' own words have
many such sets too (phrases, signatures, names), so text alone is not enough: a group must add
instructions of its own, or its answers must be of another kind than the others'.
"""

import re
from collections import Counter
from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from openwheel.tasks.evidence import (
    ALONE,
    INSTEAD,
    PROGRAMMED,
    Added,
    answer_symbols,
    many_values,
    part_weight,
    variable_columns,
)
from openwheel.tasks.features import Cluster, Features, View
from openwheel.tasks.induce import Inducer
from openwheel.tasks.template import Parts, PromptKey, Template
from openwheel.tasks.tokens import Vocabulary
from openwheel.wire import Answer

Members = NDArray[np.int64]

_MOST_JUDGED = 60  # proposals of one group that are examined
_MOST_SEEN = 4000
# The weight of constant text a group must add where its answers are of another kind.
_DIFFERENT = 1.5
_DIFFERENT_AT_EDGE = 0.4
# Questions asked in one place are few, the values of a variable many; templates may be many.
_FEW, _MANY = 3, 16
_SMALLEST_SHARE = 0.15  # of a value that is an instruction rather than a variable's


class Grouped(msgspec.Struct):
    """A group of prompts with one template."""

    template: Template
    members: list[int]


class Splitter:
    """Splits the prompts of one log that share tools and response format.

    Args:
        prompts: Distinct prompts.
        repeats: How often each occurred.
        answers: One answer of each.
        least: How many prompts that differ make a group.
    """

    def __init__(
        self,
        prompts: Sequence[Parts],
        repeats: Sequence[int],
        answers: Sequence[Answer],
        *,
        key: PromptKey,
        least: int,
    ) -> None:
        vocabulary = Vocabulary()
        self.prompts, self.repeats = prompts, repeats
        self.key = key
        self.answers = answers
        self.least = least
        self.features = Features(prompts, vocabulary, least)
        self.inducer = Inducer(vocabulary)
        self.symbols, self.weights, self.own = answer_symbols(answers, repeats)
        # Of answers that are no labels, the length (in powers of two) tells tasks apart.
        lengths = np.array([len(answer.final).bit_length() for answer in answers], np.int64)
        is_label = self.own[self.symbols[:, 0]] & (self.weights[:, 0] == 1)
        self.manner = np.where(is_label, self.symbols[:, 0] + 40, np.minimum(lengths, 39))
        self.manners = len(self.own) + 40

    def groups(self) -> list[Grouped]:
        """Return the groups, each with at least ``least`` prompts that differ."""
        groups: list[Grouped] = []
        pending = [np.arange(len(self.prompts))]
        while pending:
            members = pending.pop()
            if len(members) < self.least:
                continue
            view = self.features.within(members)
            accepted = self._accepted(view)
            if accepted is not None:
                rest = np.setdiff1d(members, accepted, assume_unique=True)
                pending += [rest, accepted]
            elif len(rare := self._rare(members)):
                pending.append(np.setdiff1d(members, rare, assume_unique=True))
            else:
                groups.append(Grouped(self._template(members, 150), members.tolist()))
        return groups

    def _rare(self, members: Members) -> Members:
        """Return those of some prompts that are of tasks with too few prompts yet.

        After all groups were found, the remaining prompts may be of several such tasks, which are
        enough together and share a few words ("Answer with the name."). As one task, with their
        instructions as an input, they would stay one for ever. They are recognised only by the
        system text, which programs write: a few texts, each with several prompts, and each with
        more text than they share.
        """
        by_system: dict[str, list[int]] = {}
        for i in members.tolist():
            by_system.setdefault(self.prompts[i][0], []).append(i)
        sets = [np.array(same) for same in by_system.values() if len(same) > 1]
        if not 1 < len(by_system) <= _MANY or sum(map(len, sets)) < 0.95 * len(members):
            return np.zeros(0, np.int64)
        template, elsewhere = self._template(members, 60), self._some(members)
        shared = part_weight(template.parts[0])
        rare = []
        for same in sets:
            added = Added(self._template(same, 60), template, self._some(same), elsewhere)
            if (
                len(same) < self.least
                and added.weight > shared
                and self._believed(added, False, same, members)
                and self._instructs(same, members, template)
            ):
                rare.append(same)
        return np.sort(np.concatenate(rare)) if rare else np.zeros(0, np.int64)

    def _template(self, members: Members, most: int) -> Template:
        chosen = members.tolist()
        return self.inducer.template(
            [self.prompts[i] for i in chosen],
            [self.repeats[i] for i in chosen],
            self.key,
            most=most,
        )

    def _some(self, members: Members, most: int = 40) -> list[Parts]:
        return [self.prompts[i] for i in members[:: 1 + len(members) // most].tolist()]

    def _accepted(self, view: View) -> Members | None:
        """Return the first proposed set of prompts that is a group of its own."""
        clusters = view.clusters()
        if not clusters:
            return None
        whole = self._template(view.members, 60)
        judged = 0
        for cluster in clusters[:_MOST_SEEN]:
            different = self._different(cluster.members, view.members)
            if cluster.size < (2 if different else 5):
                continue
            if view.distinct(cluster.members) < self.least:
                continue
            judged += 1
            if judged > _MOST_JUDGED:
                break
            if self._own_group(cluster, different, view.members, clusters, whole):
                return cluster.members
        return None

    def _own_group(
        self,
        cluster: Cluster,
        different: bool,
        whole: Members,
        clusters: Sequence[Cluster],
        template: Template,
    ) -> bool:
        """Whether proposed prompts are a group apart from the rest of all prompts looked at."""
        members = cluster.members
        mine, elsewhere = self._some(members), self._some(whole)
        if sum(template.match_parts(parts) is not None for parts in mine) < 0.9 * len(mine):
            # The template of all is that of most; a few of them share less with it.
            rest = np.setdiff1d(whole, members, assume_unique=True)
            both = [each[:: 1 + len(each) // 30] for each in (members, rest)]
            template = self._template(np.concatenate(both), 62)
            elsewhere = mine + self._some(rest)
        part = self._template(members, 60)
        added = Added(part, template, mine, elsewhere)
        if not self._believed(added, different, members, whole):
            return False
        if not (different or self._apart(members, whole, added)):
            most = _FEW if added.value else _MANY
            named = not added.value and self._names_labels(members, part)
            if not named and not self._covered(members, whole, clusters, most):
                return False
        return self._instructs(members, whole, template)

    def _believed(self, added: Added, different: bool, members: Members, whole: Members) -> bool:
        share = len(members) / len(whole)
        by_program = added.by_program or (added.fixed_message and share >= _SMALLEST_SHARE)
        value = added.value
        if (value or added.fixed_message or not by_program) and self._one_answer(members, whole):
            return False
        if different and (by_program or self._messages(members) >= self.least):
            return added.weight >= (_DIFFERENT_AT_EDGE if by_program and added.edge else _DIFFERENT)
        if value:
            return share >= _SMALLEST_SHARE and added.weight >= INSTEAD and by_program
        if by_program:
            return added.weight >= PROGRAMMED
        return added.edge and added.weight >= ALONE

    def _apart(self, members: Members, whole: Members, added: Added) -> bool:
        """Return whether the answers of some prompts have another distribution than the rest's.

        The value of a variable predicts little of the answer; a task's question predicts much. The
        test is the likelihood-ratio test of homogeneity, with the cube-root normal
        approximation of chi-squared (Wilson and Hilferty, 1931).
        """
        mine = np.bincount(self.manner[members], minlength=self.manners).astype(float)
        rest = np.bincount(self.manner[whole], minlength=self.manners) - mine
        common = mine + rest >= 5
        mine = np.append(mine[common], mine[~common].sum())
        rest = np.append(rest[common], rest[~common].sum())
        if min(mine.sum(), rest.sum()) < 1:
            return False
        both = mine + rest
        statistic = 0.0
        for side in (mine, rest):
            expected = both * side.sum() / both.sum()
            seen = side > 0
            statistic += 2 * float((side[seen] * np.log(side[seen] / expected[seen])).sum())
        freedom = max(1, int((both > 0).sum()) - 1)
        spread = 2 / (9 * freedom)
        z = ((statistic / freedom) ** (1 / 3) - (1 - spread)) / spread**0.5
        distance = 0.5 * np.abs(mine / mine.sum() - rest / rest.sum()).sum()
        # People who sign their messages may also ask for other things, a little.
        return bool(z > 4 and distance > (0.25 if added.ends_only else 0.08))

    def _names_labels(self, members: Members, template: Template) -> bool:
        """Whether a template asks for two or more of the labels that its prompts got."""
        labels = Counter(self.answers[i].text.strip() for i in members.tolist())
        text = "\n".join(literal for part in template.parts for literal in part.literals)
        asked = [
            label
            for label, times in labels.most_common(5)
            if times >= 3
            and 0 < len(label) <= 60
            and re.search(rf"(?<!\w){re.escape(label)}(?!\w)", text, re.IGNORECASE)
        ]
        return len(asked) >= 2

    def _covered(
        self, members: Members, whole: Members, clusters: Sequence[Cluster], most: int
    ) -> bool:
        """Whether all prompts fall into at most so many sets like this one, hardly overlapping."""
        covered = np.zeros(self.features.n, bool)
        covered[members] = True
        total, sets = len(members), 1
        for cluster in clusters:
            if total >= 0.95 * len(whole) or sets >= most:
                break
            if cluster.size >= 5 and covered[cluster.members].mean() < 0.02:
                covered[cluster.members] = True
                total = int(covered.sum())
                sets += 1
        return total >= 0.95 * len(whole)

    def _instructs(self, members: Members, whole: Members, template: Template) -> bool:
        """Return whether text shared by some prompts looks like instructions, as variables' values.

        A shared text that is a variable's whole value must not be one of many that come again
        and again, and one that is a part of a message's variable must leave many values;
        otherwise it is a repeated input.
        """
        mine, all_of = self._some(members, 200), self._some(whole, 400)
        rich, poor = False, False
        for number, part in enumerate(template.parts):
            if number != 2 and part_weight(part) < 1:
                continue
            columns = variable_columns(part, [parts[number] for parts in mine])
            outer_columns = variable_columns(part, [parts[number] for parts in all_of])
            for values, before in zip(columns, outer_columns, strict=False):
                shared = self.inducer.part(values[:60], Counter(values))
                if part_weight(shared) < _DIFFERENT_AT_EDGE:
                    continue
                if not shared.variables and many_values(before):
                    return False
                many = self._distinct_values(values) >= min(self.least, len(values))
                if many or number != 2 or not shared.variables:
                    rich = True
                else:
                    poor = True
        return rich or not poor

    def _distinct_values(self, values: Sequence[str]) -> int:
        return len({self.inducer.array(value).tobytes() for value in values})

    def _messages(self, members: Members) -> int:
        return len({self.prompts[i][2] for i in members.tolist()})

    def _different(self, members: Members, whole: Members) -> bool:
        """Whether the answers of some prompts are of another kind than those of the rest."""
        n = len(self.own)
        mine = np.bincount(self.symbols[members].ravel(), self.weights[members].ravel(), n)
        rest = np.bincount(self.symbols[whole].ravel(), self.weights[whole].ravel(), n) - mine
        if rest.sum() < 1:
            return False
        often = rest * mine.sum() >= 0.2 * mine * rest.sum()
        shared = np.where(self.own, rest >= np.maximum(2.5, 0.05 * mine), often & (mine > 0))
        if mine[shared].sum() > 0.1 * mine.sum():
            return False
        # Users' own words often have one label for one phrase.
        alone = mine * ~shared
        return bool(alone[~self.own].sum() >= 0.5 * mine.sum()) or bool(
            (alone >= 2).sum() >= 2 and alone.max() < 0.97 * mine.sum()
        )

    def _one_answer(self, members: Members, whole: Members) -> bool:
        """Whether some prompts all have one and the same label, which most others have not."""
        n = len(self.own)
        mine = np.bincount(self.symbols[members].ravel(), self.weights[members].ravel(), n)
        rest = np.bincount(self.symbols[whole].ravel(), self.weights[whole].ravel(), n) - mine
        mine[~self.own] = 0
        most = int(mine.argmax())
        return bool(mine[most] >= 0.92 * len(members)) and bool(rest[most] < 0.6 * rest.sum())

"""Finds tasks in a sample of traffic."""

import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from openwheel.tasks.match import Task, TaskMatcher
from openwheel.tasks.template import (
    Parts,
    PromptKey,
    Template,
    prompt_key,
    prompt_parts,
    question_template,
)
from openwheel.wire import Answer, Prompt, Question, question_in, read_tools, shared_tools
from openwheel.wire.question import MARK

MIN_SUPPORT = 20

_MOST_CHARACTERS = 30_000_000


def find_templates(
    sample: Sequence[tuple[Prompt, Answer]], *, min_support: int = MIN_SUPPORT
) -> list[Template]:
    """Find the prompt templates of a sample of exchanges, most exchanges first.

    Args:
        sample: Exchanges drawn at random from the whole log, up to about 20,000, that match no
            known template. The same sample gives the same templates.
        min_support: How many distinct prompts make a template.
    """
    groups: dict[tuple[PromptKey, bool, bool], _Group] = {}
    for prompt, answer in sample:
        parts, key = prompt_parts(prompt), prompt_key(prompt)
        group = groups.setdefault((key, bool(parts[0]), bool(parts[3])), {})
        entry = group.get(parts)
        seen = _Seen(answer, Counter()) if entry is None else entry
        seen.tools[prompt.tools] += 1
        group[parts] = seen
    support: Counter[Template] = Counter()
    for key, group in _families(groups):
        if len(group) >= min_support:
            _add_templates(support, key, group, min_support)
    return [t for t, _ in sorted(support.items(), key=lambda item: (-item[1], item[0].id))]


class _Seen(NamedTuple):
    """What a sample has of one prompt: an answer, and how often it came with which tools."""

    answer: Answer
    tools: Counter[str]


_Group = dict[Parts, _Seen]


def _families(
    groups: Mapping[tuple[PromptKey, bool, bool], _Group],
) -> list[tuple[PromptKey, _Group]]:
    """Join groups that differ only in their tools and share some."""
    joined: dict[tuple[PromptKey, bool, bool, str], tuple[PromptKey, _Group]] = {}
    alone = []
    first: dict[tuple[PromptKey, bool, bool, tuple[str, str]], str] = {}
    parents: dict[str, str] = {}

    def root(tools: str) -> str:
        while parents[tools] != tools:
            parents[tools] = parents[parents[tools]]
            tools = parents[tools]
        return tools

    several = []
    for (key, system, tail), group in groups.items():
        if not key.tools:
            alone.append((key, group))
            continue
        read = read_tools(key.tools)
        rest = key._replace(tools=read.rest, more=True)
        parents.setdefault(key.tools, key.tools)
        for tool in read.likeness.items():
            other = first.setdefault((rest, system, tail, tool), key.tools)
            parents[root(key.tools)] = root(other)
        several.append((rest, system, tail, key, group))
    for rest, system, tail, key, group in several:
        place = (rest, system, tail, root(key.tools))
        if place not in joined:
            joined[place] = (key, {})
        whole = joined[place][1]
        for parts, seen in group.items():
            if parts in whole:
                whole[parts].tools.update(seen.tools)
            else:
                whole[parts] = seen
    return [*alone, *joined.values()]


def _add_templates(
    support: Counter[Template], key: PromptKey, group: _Group, min_support: int
) -> None:
    """Add the templates of prompts that may belong together, with how many exchanges they have."""
    from openwheel.tasks.split import Splitter  # noqa: PLC0415 - NumPy stays out of what only matches

    prompts = _affordable(list(group))
    splitter = Splitter(
        prompts,
        [group[parts].tools.total() for parts in prompts],
        [group[parts].answer for parts in prompts],
        key=key,
        least=min_support,
    )
    for grouped in splitter.groups():
        template = grouped.template
        # A group without any constant is a task only if its prompts are single messages.
        if template.literal_length == 0 and prompts[grouped.members[0]][0]:
            continue
        fitting = [
            prompts[i] for i in grouped.members if template.match_parts(prompts[i]) is not None
        ]
        for own, parts in _by_tools(
            template, {one: group[one].tools for one in fitting}, min_support
        ):
            if len(parts) >= min_support:
                support[own] += sum(group[one].tools.total() for one in parts)


def _by_tools(
    template: Template, prompts: Mapping[Parts, Counter[str]], min_support: int
) -> list[tuple[Template, list[Parts]]]:
    """Return the templates of prompts that differ in their tools alone, each with its prompts.

    With constant text they are one task, whatever further tools they offer. A bare template says
    too little for that: prompts with the same tools are a task of their own if they are enough, and
    the others one if all of them share a tool.
    """
    sets: dict[str, list[Parts]] = {}
    for parts, tools in prompts.items():
        for text in tools:
            sets.setdefault(text, []).append(parts)
    if len(sets) <= 1:
        return [(msgspec.structs.replace(template, tools=text), own) for text, own in sets.items()]
    found, left = [], sets
    if template.bare:
        large = {text: own for text, own in sets.items() if len(own) >= min_support}
        found = [
            (msgspec.structs.replace(template, tools=text), own) for text, own in large.items()
        ]
        left = {text: own for text, own in sets.items() if text not in large}
    if left:
        shared = shared_tools({text: len(own) for text, own in left.items()})
        if read_tools(shared).likeness or not template.bare:
            varied = msgspec.structs.replace(template, tools=shared, more=True)
            fitting = [
                parts
                for text, own in left.items()
                if varied.with_tools((), text) is not None
                for parts in own
            ]
            found.append((varied, list(dict.fromkeys(fitting))))
    return found


def find_tasks(
    sample: Sequence[tuple[Prompt, Answer, str]],
    known_tasks: Sequence[Task] = (),
    *,
    min_support: int = MIN_SUPPORT,
) -> list[Task]:
    """Find the new tasks in a sample of exchanges.

    Args:
        sample: Prompt, answer and the task the client named (``""`` if none) of exchanges drawn
            at random from the whole log. A name makes one task, whatever its prompts look like,
            if it has as many exchanges as it takes prompts to make a task without one.
        known_tasks: Tasks to leave out; exchanges that they match are skipped, except those of bare
            templates, behind which new tasks may hide.
        min_support: How many distinct prompts make a task without a name, and how many exchanges
            one with a name.

    Returns:
        New tasks only: named ones first, then typed questions and then others, each by the number
        of exchanges.
    """
    matcher = TaskMatcher([t for t in known_tasks if t.template is None or not t.template.bare])
    names = {task.explicit for task in known_tasks if task.explicit}
    named: dict[str, list[tuple[Prompt, Answer]]] = {}
    free: list[tuple[Prompt, Answer]] = []
    questions: Counter[str] = Counter()
    for prompt, answer, explicit in sample:
        if prompt.response_format.startswith(MARK):
            questions[prompt.response_format] += matcher.match(prompt) is None
        elif explicit:
            if explicit not in names:
                named.setdefault(explicit, []).append((prompt, answer))
        elif matcher.match(prompt) is None:
            free.append((prompt, answer))
    taken = {task.name for task in known_tasks}
    tasks: list[Task] = []
    for explicit, exchanges in sorted(named.items(), key=lambda item: (-len(item[1]), item[0])):
        if len(exchanges) < min_support:
            continue  # too few answers to infer a form, and anybody can make up names
        identity = hashlib.sha256(b"explicit\0" + explicit.encode()).hexdigest()[:12]
        name = _free_name(_slug(explicit) or "task", taken)
        tasks.append(Task(identity, name, named_template([p for p, _ in exchanges]), explicit))
    ids = {task.id for task in known_tasks}
    for asked, number in sorted(questions.items(), key=lambda item: (-item[1], item[0])):
        question = question_in(asked)
        if number >= min_support and question is not None:
            template = question_template(asked)
            name = _free_name(_question_name(question), taken)
            tasks.append(Task(template.id, name, template))
    templates = [t for t in find_templates(free, min_support=min_support) if t.id not in ids]
    for template in templates:
        name = _describing_name(template, templates)
        if template.after:
            name = f"{name[:24]}-after-{_slug(template.after)[:24]}"
        name = _free_name(name, taken)
        tasks.append(Task(template.id, name, template))
    return tasks


def named_template(prompts: Sequence[Prompt]) -> Template | None:
    """Return the template that nearly all (98%) of an explicitly named task's prompts share."""
    from openwheel.tasks.induce import Inducer  # noqa: PLC0415 - as above
    from openwheel.tasks.tokens import Vocabulary  # noqa: PLC0415 - as above

    first = prompts[0]
    counts = Counter(prompt_parts(prompt) for prompt in prompts)
    distinct = list(counts)
    template = Inducer(Vocabulary()).template(
        distinct, [counts[parts] for parts in distinct], prompt_key(first)
    )
    if len({prompt.tools for prompt in prompts}) > 1 and all(prompt.tools for prompt in prompts):
        shared = shared_tools(Counter(prompt.tools for prompt in prompts))
        template = msgspec.structs.replace(template, tools=shared, more=True)
    fitting = sum(1 for prompt in prompts if template.match(prompt) is not None)
    return template if fitting >= 0.98 * len(prompts) and len(distinct) > 1 else None


def _affordable(prompts: list[Parts]) -> list[Parts]:
    """Return evenly spaced prompts with no more text than can be read in a few seconds."""
    total = sum(min(len(text), 6000) for parts in prompts for text in parts)
    step = max(1, -(-total // _MOST_CHARACTERS))
    return prompts[::step]


_WORD = re.compile(r"[^\W\d_]{3,}")
_COMMON_WORDS = """
the and for you are with that this from your what which following given into one only not answer
reply please text message user assistant respond output input return exactly each must will can
its their they them has have was were any all use just nothing else helpful expert below above
name than either without also who whose whether today date
"""
_COMMON = frozenset(_COMMON_WORDS.split())


def _describing_name(template: Template, others: Sequence[Template]) -> str:
    """Return up to three words of the template that the fewest other templates have."""
    rarity: Counter[str] = Counter()
    for other in others:
        rarity.update(set(_words(other)))
    words = list(dict.fromkeys(word for word in _words(template) if word not in _COMMON))
    chosen = sorted(words, key=lambda word: (rarity[word], words.index(word)))[:3]
    name = "-".join(sorted(chosen, key=words.index))
    return _slug(name) or ("messages" if template.bare else "task")


def _question_name(question: Question) -> str:
    """Return up to three words of a question, of its choices if it has no instructions."""
    found = [word.lower() for word in _WORD.findall(question.described)]
    chosen = list(dict.fromkeys(word for word in found if word not in _COMMON))[:3]
    return _slug("-".join(chosen)) or question.type


def _words(template: Template) -> list[str]:
    text = " ".join(literal for part in template.parts for literal in part.literals)
    return [word.lower() for word in _WORD.findall(text)]


def _slug(text: str) -> str:
    return re.sub(r"[^\w]+", "-", text.lower()).strip("-_")[:48]


def _free_name(name: str, taken: set[str]) -> str:
    """Return the name, numbered if it is taken, and take it."""
    candidate, number = name, 1
    while candidate in taken:
        number += 1
        candidate = f"{name}-{number}"
    taken.add(candidate)
    return candidate

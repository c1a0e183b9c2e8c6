"""Finds tasks in a sample of traffic."""

import hashlib
import re
from collections import Counter
from collections.abc import Sequence

from openwheel.tasks.match import Task, TaskMatcher
from openwheel.tasks.template import Parts, Template, prompt_parts, question_template
from openwheel.wire import Answer, Prompt, Question, question_in
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
    from openwheel.tasks.split import Splitter  # noqa: PLC0415 - NumPy stays out of what only matches

    groups: dict[tuple[str, str, bool, bool], dict[Parts, tuple[Answer, int]]] = {}
    for prompt, answer in sample:
        parts = prompt_parts(prompt)
        key = (prompt.tools, prompt.response_format, bool(parts[0]), bool(parts[3]))
        group = groups.setdefault(key, {})
        entry = group.get(parts)
        group[parts] = (answer, 1) if entry is None else (entry[0], entry[1] + 1)
    support: Counter[Template] = Counter()
    for (tools, response_format, *_), group in groups.items():
        if len(group) < min_support:
            continue
        prompts = _affordable(list(group))
        splitter = Splitter(
            prompts,
            [group[parts][1] for parts in prompts],
            [group[parts][0] for parts in prompts],
            tools=tools,
            response_format=response_format,
            least=min_support,
        )
        for grouped in splitter.groups():
            template = grouped.template
            # A group without any constant is a task only if its prompts are single messages.
            if template.literal_length == 0 and prompts[grouped.members[0]][0]:
                continue
            fitting = [i for i in grouped.members if template.match_parts(prompts[i]) is not None]
            if len(fitting) >= min_support:
                support[template] += sum(group[prompts[i]][1] for i in fitting)
    return [t for t, _ in sorted(support.items(), key=lambda item: (-item[1], item[0].id))]


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
        name = _free_name(_describing_name(template, templates), taken)
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
        distinct, [counts[parts] for parts in distinct], first.tools, first.response_format
    )
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

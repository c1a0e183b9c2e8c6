"""Finds the task of a prompt."""

import hashlib
from collections.abc import Sequence

import msgspec

from openwheel.tasks.index import TemplateIndex
from openwheel.tasks.template import Inputs, PromptKey, Template, prompt_key, prompt_parts
from openwheel.wire import Prompt, Question, question_in

MATCHING = 2
"""Raised when a prompt may come to belong to another task, or have other inputs, than before."""


class Task(msgspec.Struct, frozen=True):
    """A stream of exchanges that share a prompt template and an answer form.

    Attributes:
        id: Stable: the template's id, or a hash of the explicit name.
        name: Short and readable, from the template's distinctive words or the explicit name.
        template: None for an explicitly named task whose prompts share no template; its inputs
            are the texts of all messages.
        explicit: The client's name for it, ``""`` if the task was found.
    """

    id: str
    name: str
    template: Template | None = None
    explicit: str = ""

    @property
    def question(self) -> Question | None:
        """The typed question that it is, None if it is none."""
        return None if self.template is None else question_in(self.template.response_format)


class TaskMatcher:
    """Finds the task of a prompt in microseconds, however many tasks there are.

    The most specific template wins.
    """

    def __init__(self, tasks: Sequence[Task]) -> None:
        self.tasks = tuple(tasks)
        self._named: dict[str, list[Task]] = {}
        entries_by_key: dict[PromptKey, list[tuple[Task, Template]]] = {}
        for task in tasks:
            if task.explicit:
                self._named.setdefault(task.explicit, []).append(task)
            elif task.template is not None:
                entries_by_key.setdefault(task.template.key, []).append((task, task.template))
        self._found = {
            key: TemplateIndex(sorted(entries, key=_by_rank))
            for key, entries in entries_by_key.items()
        }
        self._more = any(key.more for key in self._found)
        for named in self._named.values():
            named.sort(key=lambda task: task.template is None)

    def takers(self, task: Task) -> list[Task]:
        """Return the tasks that take part of a task's prompts: those that fit and come first."""
        return [other for other in self.tasks if takes_from(other, task)]

    def fingerprint(self, task: Task) -> str:
        """Return the sha256 of all that decides a task's prompts and their inputs."""
        takers = sorted(self.takers(task), key=lambda other: other.id)
        content = [MATCHING, task.explicit, task.template, [other.template for other in takers]]
        return hashlib.sha256(msgspec.json.encode(content)).hexdigest()

    def match(self, prompt: Prompt, explicit: str = "") -> tuple[Task, Inputs] | None:
        """Return the task of a prompt and its inputs, or None if it belongs to none.

        Args:
            prompt: The prompt.
            explicit: The task the client named. An unknown name is a new task, so no task is
                returned for it. A prompt without a name belongs to no named task.
        """
        if explicit:
            for task in self._named.get(explicit, ()):
                if task.template is None:
                    return task, tuple(message.text for message in prompt.messages)
                inputs = task.template.match(prompt)
                if inputs is not None:
                    return task, inputs
            return None
        keys = [prompt_key(prompt)]
        if prompt.tools and self._more:
            keys.append(prompt_key(prompt, more=True))
        found = [index for key in keys if (index := self._found.get(key)) is not None]
        if not found:
            return None
        parts = prompt_parts(prompt)
        for index in found:
            entries = index.candidates(parts)
            if len(entries) > 1:
                entries.sort(key=_by_rank)
            for task, template in entries:
                inputs = template.match_parts(parts)
                if inputs is not None:
                    inputs = template.with_tools(inputs, prompt.tools)
                if inputs is not None:
                    return task, inputs
        return None


def takes_from(first: Task, other: Task) -> bool:
    """Return whether a task takes some of the prompts that another would have without it."""
    if first.explicit or first.template is None or other.explicit or other.template is None:
        return False
    return _rank(first.template) < _rank(other.template) and first.template.overlaps(other.template)


def _by_rank(entry: tuple[Task, Template]) -> tuple[bool, int, bool, str]:
    return _rank(entry[1])


def _rank(template: Template) -> tuple[bool, int, bool, str]:
    """Return the sort key of templates that fit a prompt: the first one takes it."""
    varies = bool(template.parts[0].variables)
    return template.more, -template.literal_length, varies, template.id

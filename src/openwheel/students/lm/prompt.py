"""What a language-model student is asked: the messages of an input, and what its answer may be."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import msgspec

from openwheel.inference.frame import Frame
from openwheel.inference.writer import Ask, Constraint
from openwheel.students.lm.schema import in_schema_order, inferred_schema, requested_schema
from openwheel.students.model import text_of
from openwheel.students.student import Inputs
from openwheel.tasks import FORMS, Form, Template
from openwheel.tasks.forms import record_of
from openwheel.tasks.forms.record import RECORD
from openwheel.wire import Answer, PromptMessage

MOST_CHOICES = 2_000
"""Beyond this many answers a constraint costs more than it saves; the answer is then free text."""

LONGER_THAN_SEEN = 2.0
"""An input this many times longer than any in training is unlike them and is not answered."""


class Asking(msgspec.Struct, frozen=True, kw_only=True):
    """How a task's inputs become what a language model is asked.

    Attributes:
        template: The task's prompt template.
        prompt: ``task`` asks what the teacher was asked; ``inputs`` gives the chosen variables
            alone, which is shorter and enough for a model trained on them.
        variables: Which variables are given under ``inputs``.
        form: The task's answer form.
        folds: How its answers may differ and still be one.
        constraint: What an answer may be.
        max_tokens: The most tokens of an answer, what the model thought before it included.
        longest: Characters of the longest prompt in training.
        thinking: Whether the model thinks before it answers.
        frame: What stands around the messages in the prompts that were trained on.
    """

    template: Template
    prompt: Literal["task", "inputs"] = "task"
    variables: tuple[int, ...] = ()
    form: Form = "label"
    folds: tuple[str, ...] = ()
    constraint: Constraint = Constraint()
    max_tokens: int = 256
    longest: int = 0
    thinking: bool = False
    frame: Frame | None = None

    def messages(self, inputs: Inputs) -> tuple[PromptMessage, ...]:
        """Return the conversation that asks about an input.

        History and tail stand in the user's message with their roles, as the template has them.

        Raises:
            ValueError: There are not as many inputs as the template has variables.
        """
        if self.prompt == "inputs":
            if len(inputs) != self.template.variables:
                raise ValueError(
                    f"The template has {self.template.variables} variables, got {len(inputs)}"
                )
            return (PromptMessage("user", text_of(inputs, self.variables)),)
        system, history, message, tail = self.template.render(inputs)
        user = "\n".join(text for text in (history, message, tail) if text)
        if not user:  # some chat templates refuse a conversation without a user
            return (PromptMessage("user", system),)
        head = (PromptMessage("system", system),) if system else ()
        return (*head, PromptMessage("user", user))

    def ask(self, inputs: Inputs, model: str) -> Ask | None:
        """Return what to ask a writer about an input, None if it must be left to the teacher.

        That is an input that does not fit the template, is no text, or is much longer than any
        in training.
        """
        try:
            messages = self.messages(inputs)
            characters = sum(len(message.text) for message in messages)
            for message in messages:
                message.text.encode()
        except (ValueError, UnicodeEncodeError):
            return None
        if self.longest and characters > LONGER_THAN_SEEN * self.longest:
            return None
        return Ask(
            model=model,
            messages=messages,
            prompt=self.frame.prompt(messages) if self.frame else None,
            constraint=self.constraint,
            max_tokens=self.max_tokens,
            thinking=self.thinking,
        )


def constraint_for(
    form: Form, template: Template, answers: Iterable[str], surfaces: Mapping[str, str]
) -> Constraint:
    """Return what a task's answers may be.

    Args:
        form: The task's answer form.
        template: Its template; the response format that its requests ask for comes first.
        answers: Canonical answers of its training exchanges.
        surfaces: How the teacher mostly wrote each.
    """
    if FORMS[form].closed:
        choices = tuple(sorted({surfaces.get(answer, answer) for answer in answers}))
        return Constraint(choices=choices) if len(choices) <= MOST_CHOICES else Constraint()
    if form == RECORD.name:
        schema = requested_schema(template.response_format)
        written = (surfaces.get(answer, answer) for answer in answers)
        return Constraint(json_schema=schema or inferred_schema(_records(written)))
    return Constraint()


def learned_text(answer: str, surfaces: Mapping[str, str], constraint: Constraint) -> str:
    """Return how a student is taught to write an answer.

    It is how the teacher mostly wrote it, in the order of keys in which the student can write it.

    Args:
        answer: The canonical answer.
        surfaces: How the teacher mostly wrote each.
        constraint: What the student's answers may be.
    """
    text = surfaces.get(answer, answer)
    schema = constraint.json_schema
    return in_schema_order(text, schema) if schema else text


def _records(answers: Iterable[str]) -> list[dict[str, Any]]:
    found = (record_of(Answer(answer)) for answer in answers)
    return [record for record in found if record is not None]


def longest_prompt(asking: Asking, inputs: Sequence[Inputs]) -> int:
    """Return the characters of the longest prompt."""
    lengths = (sum(len(m.text) for m in asking.messages(values)) for values in inputs)
    return max(lengths, default=0)

"""A task as a turn works on it: what it is, how its answers are compared, and with what."""

from pathlib import Path

import msgspec

from openwheel.errors import SettingError
from openwheel.gate import Compared
from openwheel.loop.registry import Registry, TaskRecord
from openwheel.loop.settings import LoopSettings
from openwheel.loop.tools import Tools
from openwheel.tasks import Inputs
from openwheel.tasks.compare import Comparison, make_comparison

TRAINING = ".training"
"""The folder beside the students' own in which trainings are under way."""


class Subject(msgspec.Struct, frozen=True):
    """A task to learn.

    Attributes:
        record: The task.
        settings: What the user decides.
        tools: What rungs need from outside.
        comparison: How two answers are compared; None where equal canonical answers agree.
        work: Folder for a training under way.
    """

    record: TaskRecord
    settings: LoopSettings
    tools: Tools
    comparison: Comparison | None
    work: Path

    @property
    def rungs(self) -> tuple[str, ...]:
        """The rungs that may be tried on it."""
        return self.settings.rungs_for(self.record.form)

    @property
    def compared(self) -> Compared | None:
        """How answers are compared, as a certificate has it; None for equality."""
        if self.comparison is None:
            return None
        return Compared(self.comparison.setting, self.comparison.fingerprint)

    def request_of(self, inputs: Inputs) -> str:
        """Return the request that has these inputs, as text, for a judge."""
        template = self.record.task.template
        if template is None:
            return "\n".join(inputs)
        return "\n\n".join(part for part in template.render(inputs) if part)


def subject_of(
    registry: Registry, record: TaskRecord, settings: LoopSettings, tools: Tools
) -> Subject:
    """Return what a turn works on.

    Raises:
        SettingError: The comparison that the user chose does not go with the task's answers, or
            what it needs is not there.
    """
    chosen = settings.comparison(record.task.name)
    comparison = None
    if chosen is not None and chosen.kind != "exact":
        try:
            comparison = make_comparison(chosen, record.form, encoder=tools.encoder)
        except SettingError as error:
            raise SettingError(f"tasks.{record.task.name}: {error}") from None
    work = registry.students_folder / TRAINING / record.task.id
    return Subject(record, settings, tools, comparison, work)


def why_left(record: TaskRecord, settings: LoopSettings) -> str:
    """Say why no student may learn a task, ``""`` if one may."""
    if record.form in {"unknown", "tool_call"}:
        more = " Students do not learn tool calls yet." if record.form == "tool_call" else ""
        return record.form_reason + more
    if record.form == "text" and settings.comparison(record.task.name) is None:
        return (
            f"{record.form_reason} Texts are left to the teacher until you choose how two of them "
            f"are compared: compare under [tasks.{record.task.name}]."
        )
    if not settings.rungs_for(record.form):
        return f"{record.form_reason} No rung that may be tried answers the form {record.form}."
    return ""

"""Keeps students' files in one folder, which learners and workers of one machine share."""

from collections.abc import Collection, Mapping
from pathlib import Path

from openwheel.store import Transaction


class StudentsFolder:
    """The folder beside a store; see `StudentFiles`."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def folder(self, student_id: str) -> Path:
        """See `StudentFiles.folder`."""
        return self._path / student_id

    def workplace(self, task_id: str) -> Path:
        """See `StudentFiles.workplace`."""
        return self._path / ".training" / task_id

    def publish(self, student_id: str, files: Mapping[str, str]) -> None:
        """See `StudentFiles.publish`: who reads them reads the same folder."""

    def require_published(
        self, transaction: Transaction, student_id: str, files: Mapping[str, str]
    ) -> None:
        """See `StudentFiles.require_published`."""

    def fetch(self, student_id: str, files: Mapping[str, str]) -> Path:
        """See `StudentFiles.fetch`: whoever loads a student checks its files."""
        del files
        return self.folder(student_id)

    def at_hand(self, student_id: str, files: Mapping[str, str]) -> bool:
        """See `StudentFiles.at_hand`."""
        del student_id, files
        return True

    def sweep(self, in_use: Collection[str]) -> None:
        """See `StudentFiles.sweep`: there is no other copy."""

    def collect(self) -> None:
        """See `StudentFiles.collect`."""

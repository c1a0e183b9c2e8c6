"""Says what the registry asks of students' files; `folder` and `published` are those there are."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Protocol

from openwheel.store import Transaction


class StudentFiles(Protocol):
    """The files of students, each with its sha256 by its name in the student's folder."""

    def folder(self, student_id: str) -> Path:
        """Return the folder of a student's files on this machine; `fetch` fills it."""

    def workplace(self, task_id: str) -> Path:
        """Return the folder on this machine for a training of a task that is under way."""

    def publish(self, student_id: str, files: Mapping[str, str]) -> None:
        """Let other machines have the files of a student, which are in its folder.

        Raises:
            StudentFileError: One is not what it was when it was saved, or is too large.
            StoreError: They could not be written.
        """

    def require_published(
        self, transaction: Transaction, student_id: str, files: Mapping[str, str]
    ) -> None:
        """Raise `StudentFileError` unless other machines can have a student's files.

        In a transaction alone, they can also after it.
        """

    def fetch(self, student_id: str, files: Mapping[str, str]) -> Path:
        """Return a student's folder once it has these files, which may take minutes.

        Raises:
            StudentFileError: One is nowhere, or is not the one expected.
            StoreError: It could not be read; an `ObjectStoreError` if the object store was away.
        """

    def at_hand(self, student_id: str, files: Mapping[str, str]) -> bool:
        """Return whether a student's folder has these files; they are fetched beside if not.

        Raises:
            StoreError: They could not be fetched so far. It is tried again, and again.
        """

    def sweep(self, in_use: Collection[str]) -> None:
        """Delete what this machine keeps of other students, once it was not used for a day."""

    def collect(self) -> None:
        """Delete what was published a day ago or longer and no student needs.

        Raises:
            StoreError: It could not be deleted; the next call does.
        """

"""Finds the files of students on this machine.

They are in a folder beside the store. Where machines share the store, that folder is a cache: a
student's files are published under their hashes before it is registered, and fetched where they
are needed. Knows nothing of what the files hold.
"""

from openwheel.loop.files.files import StudentFiles
from openwheel.loop.files.folder import StudentsFolder
from openwheel.loop.files.published import PublishedStudents
from openwheel.store import Store

__all__ = ["PublishedStudents", "StudentFiles", "StudentsFolder", "files_of"]


def files_of(store: Store) -> StudentFiles:
    """Return the students' files of a store."""
    folder = StudentsFolder(store.beside(".students"))
    return PublishedStudents(store, folder) if store.shared else folder

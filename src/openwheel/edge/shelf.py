"""Keeps the bundles that an edge has installed, each as a registry of its own, and serves one.

A bundle is laid out in a folder beside the spool, under its hash, and put there by one rename: it
is whole or not there.
"""

import logging
import os
import shutil
import tempfile
from pathlib import Path
from typing import Final

import msgspec

from openwheel.edge.bundle import Bundle
from openwheel.edge.standing import Standing, State
from openwheel.errors import BundleError, PolicyError
from openwheel.loop.registry import Registry
from openwheel.store import Store, promotions
from openwheel.store.spool import find_note, put_note
from openwheel.trust import Policy

logger = logging.getLogger(__name__)

_NOTE: Final = "bundle"
_STORE: Final = "registry.db"


class Installed(msgspec.Struct, frozen=True):
    """What is kept of a bundle beside its registry.

    Attributes:
        sha256: Of the file.
        created: When it was made, in seconds since 1970.
        unheard: Seconds that its students may go on without a word of the upstream.
        state: Which students were in front of traffic when it was made.
    """

    sha256: str
    created: float
    unheard: float
    state: State


class Shelf:
    """The installed bundles.

    Args:
        folder: Where they are; made if need be.
        policy: May forbid a student by its lineage.
    """

    def __init__(self, folder: Path, policy: Policy) -> None:
        self._folder = folder
        self._policy = policy

    def install(self, bundle: Bundle) -> None:
        """Lay a bundle out, unless it is there already.

        Raises:
            BundleError: It cannot be laid out; nothing of it is left.
            StudentFileError: A student of it cannot be loaded here.
        """
        place = self._folder / bundle.sha256
        if place.exists():
            return
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            scratch = Path(tempfile.mkdtemp(prefix=".new-", dir=self._folder))
            try:
                _lay_out(bundle, scratch)
                os.replace(scratch, place)
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
        except OSError as error:
            raise BundleError(f"The bundle {bundle.path} cannot be installed: {error}") from None

    def open(self, sha256: str) -> "Opened":
        """Open an installed bundle.

        Raises:
            BundleError: The folder holds something else.
            StoreError: It is not installed, or cannot be opened.
        """
        store = Store.open(self._folder / sha256 / _STORE, create=False)
        try:
            with store.read() as transaction:
                installed = find_note(transaction, _NOTE, Installed)
            if installed is None:
                raise BundleError(f"{store} is no installed bundle")
        except BaseException:
            store.close()
            raise
        return Opened(store, Registry(store), installed, self._policy)

    def has(self, sha256: str) -> bool:
        """Return whether a bundle is installed."""
        return (self._folder / sha256 / _STORE).exists()

    def keep_only(self, sha256: str) -> None:
        """Delete all other bundles, and what a killed process has left."""
        if not self._folder.exists():
            return
        for path in self._folder.iterdir():
            if path.name != sha256:
                shutil.rmtree(path, ignore_errors=True)


class Opened:
    """An installed bundle in use.

    Attributes:
        registry: Its tasks, students and promotions; the latter as the upstream last said.
        installed: What else is known of it.
    """

    def __init__(
        self, store: Store, registry: Registry, installed: Installed, policy: Policy
    ) -> None:
        self._store = store
        self._policy = policy
        self.registry = registry
        self.installed = installed

    def close(self) -> None:
        """Close its registry."""
        self._store.close()

    def obey(self, state: State) -> None:
        """Bring promotions in line with what the upstream says; all of it is on disk then.

        What takes a student off comes first, and in one write. A student that the policy forbids
        here stays off.

        Raises:
            StoreError: It could not be written.
        """
        registry = self.registry
        known = {certificate.id: certificate for certificate in registry.certificates()}
        wanted = {
            task: standing
            for task, standing in state.students.items()
            if standing.certificate in known
        }
        current = {
            task: promotion
            for task, promotion in registry.promotions().items()
            if promotion.certificate is not None
        }
        off = [
            task
            for task, promotion in current.items()
            if promotion.certificate is not None
            and (task not in wanted or wanted[task].certificate != promotion.certificate.id)
        ]
        with self._store.write() as transaction:
            for task in off:
                reason = "the upstream gateway took it off"
                promotions.add(transaction, task, None, by="audit", reason=reason)
        for task in off:
            logger.warning("Task %s: its student was taken off, as upstream", task)
        if registry.set_stopped(state.stopped, by="upstream"):
            logger.warning("Students %s, as upstream", "stop" if state.stopped else "go on")
        for task, standing in wanted.items():
            if task in current and task not in off:
                continue
            try:
                registry.promote(
                    known[standing.certificate],
                    by="turn",
                    reason="as upstream",
                    audit=standing.audit,
                    canary=standing.canary,
                    policy=self._policy,
                )
            except PolicyError as error:
                logger.error("Task %s stays with the teacher: %s", task, error)
            else:
                logger.info("Task %s: %s answers, as upstream", task, standing.student)
        self._plan(wanted)

    def _plan(self, wanted: dict[str, Standing]) -> None:
        plans, standing_now = self.registry.plans(), self.registry.promotions()
        for task, standing in wanted.items():
            promotion = standing_now.get(task)
            if promotion is None or promotion.certificate is None:
                continue
            row = promotion.since
            if plans.get(row) != standing.plan:
                with self._store.write() as transaction:
                    promotions.add_plan(transaction, row, standing.plan)


def _lay_out(bundle: Bundle, folder: Path) -> None:
    contents = bundle.contents
    with Store.open(folder / _STORE) as store:
        registry = Registry(store)
        bundle.unpack(registry.files.folder(".").resolve())
        registry.add_tasks([record.task for record in contents.tasks])
        registry.set_forms(
            [
                (record.task.id, record.form, record.form_reason, record.folds)
                for record in contents.tasks
            ]
        )
        for candidate in contents.students:
            registry.add_candidate(candidate)
            registry.check(candidate)
        for certificate in contents.certificates:
            registry.certify(certificate)
        note = Installed(bundle.sha256, contents.created, contents.unheard, contents.state)
        with store.write() as transaction:
            put_note(transaction, _NOTE, note)

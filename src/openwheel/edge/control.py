"""Does what the upstream says, and keeps it: which bundle, which students, since when unheard."""

import logging
import math
import threading
from pathlib import Path
from typing import Final

import msgspec

from openwheel.edge.bundle import Bundle, read_bundle
from openwheel.edge.heard import Heard
from openwheel.edge.serving import EdgeServing
from openwheel.edge.shelf import Opened, Shelf
from openwheel.edge.spool import Spool
from openwheel.edge.standing import State
from openwheel.errors import BundleError
from openwheel.loop.resources import Resources
from openwheel.students.onnx_encoder import Encoders
from openwheel.trust import Policy

logger = logging.getLogger(__name__)

_STATE: Final = "state"
_IN_USE: Final = "in use"


class InUse(msgspec.Struct, frozen=True):
    """Which bundle is in use, and which one the command line named then."""

    sha256: str
    named: str


class Control:
    """Does what the upstream says, and keeps it. Its methods block, one at a time.

    Args:
        spool: Where what was heard is kept.
        shelf: The bundles.
        public: The file of the public key that bundles are signed by.
        policy: May forbid students.
        unheard: This edge's own limit of seconds without a word of the upstream.
        named: The bundle that the command line names.
    """

    def __init__(
        self,
        spool: Spool,
        shelf: Shelf,
        public: Path,
        *,
        policy: Policy,
        unheard: float,
        named: Bundle,
    ) -> None:
        self._spool = spool
        self._shelf = shelf
        self._public = public
        self._policy = policy
        self._limit = unheard
        self._lock = threading.Lock()
        self.state = spool.note(_STATE, State)
        sha256 = self._choose(named)
        shelf.keep_only(sha256)
        self.opened: Opened = shelf.open(sha256)
        # The last word of the upstream, also about a bundle that came since; without one, the
        # bundle's own.
        self.opened.obey(self.state or self.opened.installed.state)
        self._heard = Heard(spool.store, since=self.opened.installed.created)
        self.serving = EdgeServing(
            self.opened, self.state.edge if self.state else "", Resources(encoders=Encoders())
        )
        self.tick()

    def _choose(self, named: Bundle) -> str:
        """Return the bundle to use: the latest that came, unless the command line names another."""
        in_use = self._spool.note(_IN_USE, InUse)
        if in_use is not None and in_use.named == named.sha256 and self._shelf.has(in_use.sha256):
            return in_use.sha256
        self._shelf.install(named)
        self._spool.put_note(_IN_USE, InUse(named.sha256, named.sha256))
        return named.sha256

    def obey(self, state: State, newer: Path | None) -> None:
        """Do what the upstream says; it is on disk, and in force, when this returns.

        Raises:
            BundleError: The newer bundle does not hold; nothing changes.
            PolicyError: A student of it may not be promoted.
            StoreError: It could not be kept.
        """
        with self._lock:
            if newer is not None:
                self._take(newer, state)
                return
            self._spool.put_note(_STATE, state)
            self.state = state
            self.opened.obey(state)
            self.serving.named(state.edge)
            self.serving.refresh()

    def _take(self, newer: Path, state: State) -> None:
        bundle = read_bundle(newer, self._public, policy=self._policy)
        if bundle.contents.created < self.opened.installed.created:
            raise BundleError("The bundle that came is older than the one in use")
        self._shelf.install(bundle)
        opened, before = self._shelf.open(bundle.sha256), self.opened
        opened.obey(state)
        in_use = self._spool.note(_IN_USE, InUse)
        named = in_use.named if in_use is not None else bundle.sha256
        self._spool.put_note(_IN_USE, InUse(bundle.sha256, named))
        self.opened = opened
        self.serving.swap(opened)
        before.close()
        self._shelf.keep_only(bundle.sha256)
        logger.info("A newer bundle is in use, for %s", ", ".join(bundle.names))

    def installed(self) -> str:
        """Return the sha256 of the bundle in use."""
        return self.opened.installed.sha256

    def heard(self) -> None:
        """Note that the upstream was heard."""
        with self._lock:
            self._heard.hear()
        self.tick()

    def tick(self) -> None:
        """Stop students that have gone on for too long without a word; let them go on after one."""
        self._spool.settle()  # keys and their spending are written there too
        with self._lock:
            self._heard.tick()
            seconds = self._heard.seconds
            most = min(self._limit, self.opened.installed.unheard)
            unheard = seconds > most
            if unheard != self.serving.unheard:
                self.serving.unheard = unheard
                known = f"{seconds:.0f} s" if math.isfinite(seconds) else "nobody knows how long"
                logger.warning(
                    "Students %s: the upstream was unheard for %s, at most %.0f s are allowed",
                    "stop" if unheard else "go on",
                    known,
                    most,
                )

    def close(self) -> None:
        """Close the bundle in use."""
        self.opened.close()

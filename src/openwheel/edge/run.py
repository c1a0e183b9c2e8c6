"""Puts an edge together and runs it, in one process."""

import contextlib
import logging
import math
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from openwheel.access import Access
from openwheel.edge.agent import Edge, EdgeServing, UpstreamTeacher
from openwheel.edge.bundle import Bundle, read_bundle
from openwheel.edge.heard import Heard
from openwheel.edge.link import Link
from openwheel.edge.shelf import Opened, Shelf
from openwheel.edge.spool import Spool
from openwheel.edge.standing import State
from openwheel.errors import BundleError, SettingError
from openwheel.gateway import CaptureWriter, create_app, run_gateway
from openwheel.loop.resources import Resources
from openwheel.settings import Settings
from openwheel.students.onnx_encoder import Encoders
from openwheel.teachers import HttpTeacher
from openwheel.trust import Policy

logger = logging.getLogger(__name__)

_STATE: Final = "state"
_IN_USE: Final = "in use"
_LINGER_S: Final = 0.002
_FEWEST_READ_TIMEOUT_S: Final = 600.0


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


def run_edge(
    bundle: Path, settings: Settings, *, ready: Callable[[str], None] | None = None
) -> None:
    """Run an edge in this process until SIGINT or SIGTERM.

    Args:
        bundle: The bundle to begin with; a newer one that came from the upstream is kept.
        settings: Of these ``edge``, ``gateway``, ``access``, ``policy`` and what these need.
        ready: Called with the URL when requests are accepted.

    Raises:
        SettingError: A setting is missing, or not what it must be.
        BundleError: The bundle is not one that may be used.
        PolicyError: A student of it may not be promoted.
        StoreError: The spool cannot be used.
    """
    wanted = settings.edge
    if not wanted.upstream.startswith(("http://", "https://")):
        raise SettingError(
            "An edge needs --upstream, or upstream under [edge]: the base URL of its gateway "
            f"(http://... or https://...), was {wanted.upstream!r}"
        )
    if not wanted.public_key:
        raise SettingError(
            "An edge needs --public-key, or public_key under [edge]: the file of the key that its "
            "bundles are signed by"
        )
    policy, public = Policy.of(settings), Path(wanted.public_key)
    named = read_bundle(bundle, public, policy=policy)

    def upstream() -> HttpTeacher:
        return HttpTeacher(
            wanted.upstream,
            name="upstream",
            key_env=wanted.key_env,
            connect_timeout=wanted.link_timeout,
            read_timeout=_FEWEST_READ_TIMEOUT_S,
            is_gateway=True,
        )

    teacher = upstream()
    path = Path(wanted.spool)
    shelf = Shelf(path.with_name(f"{path.name}.bundles"), policy)
    with contextlib.ExitStack() as stack:
        spool = Spool(path, wanted.spool_bytes)
        stack.callback(spool.close)
        access = Access(
            spool.store,
            path.with_name(f"{path.name}.limits"),
            required=settings.access.require_keys,
        )
        stack.callback(access.close)
        control = Control(
            spool,
            shelf,
            public,
            policy=policy,
            unheard=wanted.unheard,
            named=named,
        )
        stack.callback(control.close)
        link = Link(
            upstream,
            spool,
            obey=control.obey,
            heard=control.heard,
            tick=control.tick,
            installed=control.installed,
            state=control.state,
            scratch=path.absolute().parent,
            poll=wanted.poll,
            timeout=wanted.link_timeout,
        )
        edge = Edge(spool, link, control.serving, poll=wanted.poll, queue=wanted.queue)
        # An answer waits for its commit: a small machine may lose its power at any time.
        captured = msgspec.structs.replace(settings.capture, mode="strict", sample={})
        capture = CaptureWriter(spool, settings=captured, linger=_LINGER_S)
        app = create_app(
            UpstreamTeacher(teacher, link),
            control.serving,
            capture,
            settings=msgspec.structs.replace(settings, capture=captured),
            access=access,
            students=control.serving.students,
            broken=control.serving.broken,
            edge=edge,
        )
        link.start()
        stack.callback(capture.close, 5.0)
        stack.callback(edge.close)
        stack.callback(link.stop)
        run_gateway(
            app,
            settings.gateway.host,
            settings.gateway.port,
            allow_public=access.in_force or settings.access.require_keys is False,
            settings=settings.gateway,
            ready=ready,
        )

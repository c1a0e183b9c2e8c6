"""Puts an edge together and runs it, in one process."""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from openwheel.access import Access
from openwheel.edge.agent import Edge
from openwheel.edge.bundle import read_bundle
from openwheel.edge.control import Control
from openwheel.edge.link import Link
from openwheel.edge.shelf import Shelf
from openwheel.edge.spool import Spool
from openwheel.edge.upstream_teacher import UpstreamTeacher
from openwheel.errors import SettingError
from openwheel.gateway import CaptureWriter, create_app, run_gateway
from openwheel.gateway.authorization import check_public
from openwheel.settings import Settings
from openwheel.teachers import HttpTeacher
from openwheel.trust import Policy

_LINGER_S: Final = 0.002
_READ_TIMEOUT_S: Final = 600.0


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
            read_timeout=_READ_TIMEOUT_S,
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
        check_public(settings, access)
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
            allow_public=True,  # it was checked
            settings=settings.gateway,
            ready=ready,
        )

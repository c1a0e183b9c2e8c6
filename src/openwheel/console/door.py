"""Decides who may see the console and who may act: keys, sessions, and tokens against forgery.

Where the gateway needs no keys, people at this machine may see and act. Else a person logs in with
a key that has a right to the console, and gets a session. A cookie holds the session's secret; here
only its hash is kept.
"""

import hashlib
import hmac
import ipaddress
import logging
import secrets
import time
from collections.abc import Callable
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from typing import Final, Literal
from urllib.parse import urlsplit

import msgspec

from openwheel.access import Key, KeyStore
from openwheel.access.keys import SECRET_LENGTH, digest
from openwheel.errors import RequestError

logger = logging.getLogger(__name__)

COOKIE: Final = "openwheel_console"
LASTS_S: Final = 12 * 3600.0
"""A session ends so long after its login."""
IDLE_S: Final = 2 * 3600.0
"""A session ends so long after its last request."""
MOST_SESSIONS: Final = 1_000

_LOCAL_NAMES: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_KEYS_LAST_S: Final = 1.0

Right = Literal["read", "operate"]


class Visitor(msgspec.Struct, frozen=True):
    """The person behind a request.

    Attributes:
        name: Of the key; ``"this machine"`` where none is needed.
        key: The key's id, 0 where none is needed.
        right: Whether the person may act.
        token: What every form has to send back, so that no other site can send it.
    """

    name: str
    key: int
    right: Right
    token: str

    @property
    def acts(self) -> bool:
        """Whether the person may act."""
        return self.right == "operate"


class RefusedError(RequestError):
    """A request that the console does not answer; ``status`` is HTTP's."""

    def __init__(self, message: str, *, status: int = 403) -> None:
        super().__init__(message)
        self.status = status


class LoginNeededError(RefusedError):
    """A request without a session where one is needed."""

    def __init__(self) -> None:
        super().__init__("Log in first", status=401)


class Asked(msgspec.Struct, frozen=True):
    """What the door looks at in a request.

    Attributes:
        client: The client's address, ``""`` if it is not known.
        host: The header ``host``.
        origin: The header ``origin``, ``""`` if there is none.
        site: The header ``sec-fetch-site``, likewise.
        cookie: The header ``cookie``, likewise.
        forwarded: Whether another proxy passed the request on.
        secure: Whether the client uses TLS.
    """

    client: str
    host: str
    origin: str = ""
    site: str = ""
    cookie: str = ""
    forwarded: bool = False
    secure: bool = False


class _Session(msgspec.Struct):
    key: int
    token: str
    began: float
    seen: float


class Door:
    """Lets people in.

    Args:
        keys: The gateway's keys.
        in_force: Whether the gateway needs keys.
        kept: A file for the sessions, which then outlive this process; nobody else may read it.
        clock: Seconds since 1970.
    """

    def __init__(
        self,
        keys: KeyStore,
        in_force: Callable[[], bool],
        *,
        kept: Path | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._keys = keys
        self._in_force = in_force
        self._kept = kept
        self._clock = clock
        self._sessions = _read(kept)
        self._known: tuple[float, dict[bytes, Key]] = (-_KEYS_LAST_S, {})

    def enter(self, asked: Asked) -> Visitor:
        """Return the person behind a request.

        Raises:
            LoginNeededError: A session is needed, and there is none that is still good.
            RefusedError: The person may not see the console at all.
        """
        session = self._session(asked.cookie)
        if self._in_force():
            key = self._key(session.key) if session is not None else None
            if session is None or key is None or key.console == "none":
                raise LoginNeededError
            session.seen = self._clock()
            return Visitor(key.name, key.id, key.console, session.token)
        _require_local(asked)
        if session is None or session.key != 0:
            return Visitor("this machine", 0, "operate", "")
        session.seen = self._clock()
        return Visitor("this machine", 0, "operate", session.token)

    def begin_local(self) -> tuple[Visitor, str]:
        """Begin a session where no key is needed; return the person and the session's secret."""
        secret, session = self._begin(0)
        return Visitor("this machine", 0, "operate", session.token), secret

    def login(self, secret_key: str, asked: Asked) -> str:
        """Begin a session by a key, and return the session's secret.

        A session of before ends, so that nobody can know the new one's secret beforehand.

        Raises:
            RefusedError: The key is not a live one with a right to the console.
        """
        key = None
        if len(secret_key) == SECRET_LENGTH:
            key = self._live(fresh=True).get(digest(secret_key))
        if key is None:
            raise RefusedError("This is no live key of this gateway.", status=401)
        if key.console == "none":
            raise RefusedError(
                f"The key {key.name!r} has no right to the console; "
                "`openwheel keys console NAME read` gives it one."
            )
        self.logout(asked)
        return self._begin(key.id)[0]

    def logout(self, asked: Asked) -> None:
        """End a request's session, if it has one."""
        if self._sessions.pop(_hash(_cookie(asked.cookie)), None) is not None:
            self._write()

    def require_act(self, visitor: Visitor, asked: Asked, token: str) -> None:
        """Check that a request that changes something was meant by a person who may act.

        Raises:
            RefusedError: The person may only read, or another site sent the request.
        """
        self.require_meant(visitor, asked, token)
        if not visitor.acts:
            raise RefusedError(f"The key {visitor.name!r} may read here, and not act.")

    def require_meant(self, visitor: Visitor, asked: Asked, token: str) -> None:
        """Check that a form was sent from a page of this console.

        Raises:
            RefusedError: Another site sent it, or the page is from before a new session.
        """
        require_same_site(asked)
        if not visitor.token or not hmac.compare_digest(visitor.token.encode(), token.encode()):
            raise RefusedError("This page is no longer current. Load it again, and repeat.")

    def require_same_site(self, asked: Asked) -> None:
        """See `require_same_site`."""
        require_same_site(asked)

    def all_keys(self) -> list[Key]:
        """Return every key that was ever made."""
        return list(self._keys.list())

    def cookie(self, secret: str, *, secure: bool, ends: bool = False) -> str:
        """Return the header that gives a session's secret to a browser, or takes it away."""
        lasts = 0 if ends else int(LASTS_S)
        return (
            f"{COOKIE}={secret}; Path=/console; HttpOnly; SameSite=Strict; Max-Age={lasts}"
            f"{'; Secure' if secure else ''}"
        )

    def _begin(self, key: int) -> tuple[str, _Session]:
        now = self._clock()
        for known, session in list(self._sessions.items()):
            if not _lasts(session, now):
                del self._sessions[known]
        while len(self._sessions) >= MOST_SESSIONS:
            del self._sessions[min(self._sessions, key=lambda known: self._sessions[known].seen)]
        secret = secrets.token_urlsafe(32)
        session = _Session(key, secrets.token_urlsafe(32), now, now)
        self._sessions[_hash(secret)] = session
        self._write()
        return secret, session

    def _write(self) -> None:
        """Keep the sessions; where that fails they end with this process."""
        if self._kept is None:
            return
        unwritten = self._kept.with_suffix(".new")
        try:
            unwritten.touch(0o600)
            unwritten.write_bytes(msgspec.json.encode(self._sessions))
            unwritten.replace(self._kept)
        except OSError as error:
            logger.warning("The console's sessions cannot be kept at %s: %s", self._kept, error)

    def _session(self, cookie: str) -> _Session | None:
        known = _hash(_cookie(cookie))
        session = self._sessions.get(known)
        if session is None:
            return None
        if not _lasts(session, self._clock()):
            del self._sessions[known]
            return None
        return session

    def _key(self, identity: int) -> Key | None:
        return next((key for key in self._live().values() if key.id == identity), None)

    def _live(self, *, fresh: bool = False) -> dict[bytes, Key]:
        """Return the live keys by their hash, a second old at most."""
        made, keys = self._known
        ticks = time.monotonic()
        if fresh or ticks - made > _KEYS_LAST_S:
            keys = self._keys.by_hash()
            self._known = ticks, keys
        now = self._clock()
        return {known: key for known, key in keys.items() if key.state(now) == "live"}


def require_same_site(asked: Asked) -> None:
    """Check that no other site's page sent a request.

    Raises:
        RefusedError: One did.
    """
    if asked.site not in {"", "same-origin", "none"}:
        raise RefusedError("Another site sent this request.")
    if asked.origin and urlsplit(asked.origin).netloc.lower() != asked.host.lower():
        raise RefusedError("Another site sent this request.")


def _require_local(asked: Asked) -> None:
    """Check that a request without a key comes from this machine, and was meant for it.

    A page of another site can make a browser send requests to this machine under a name of its
    own, so the name has to be one of this machine's.
    """
    if asked.forwarded or not _is_loopback(asked.client):
        raise RefusedError(
            "The console can be seen from other machines once the gateway needs keys: make one "
            "with `openwheel keys create NAME --console read`."
        )
    if (urlsplit(f"//{asked.host}").hostname or "") not in _LOCAL_NAMES:
        raise RefusedError(
            "The console answers as localhost or 127.0.0.1; under other names it needs keys."
        )


def _is_loopback(client: str) -> bool:
    try:
        address = ipaddress.ip_address(client.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def _cookie(header: str) -> str:
    try:
        morsel = SimpleCookie(header).get(COOKIE)
    except CookieError:
        return ""
    return morsel.value if morsel is not None else ""


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def _read(kept: Path | None) -> dict[str, _Session]:
    if kept is None:
        return {}
    try:
        return msgspec.json.decode(kept.read_bytes(), type=dict[str, _Session])
    except (OSError, msgspec.DecodeError):
        return {}  # everybody logs in again


def _lasts(session: _Session, now: float) -> bool:
    return now - session.began < LASTS_S and now - session.seen < IDLE_S

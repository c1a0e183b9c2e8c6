"""Reads a request's credential, checks it, and refuses in the shape of its API."""

import math

from starlette.types import Scope, Send

from openwheel.access import Access, Allowance, Key, RefusedError
from openwheel.errors import SettingError
from openwheel.gateway.asgi import JSON, Pairs, send_body
from openwheel.settings import Settings
from openwheel.sockets import is_loopback
from openwheel.wire import APIS, Api

_BEARER = b"bearer "
OWN_KEY = "ow-"


class Guard:
    """Checks requests with `Access`; a gateway without keys lets every request pass."""

    def __init__(self, access: Access | None) -> None:
        self._access = access

    def identify(self, scope: Scope) -> Key | None:
        """Return the key that a request was sent with; None if none is needed.

        Raises:
            RefusedError: It has none, or not a valid one.
        """
        if self._access is None:
            return None
        return self._access.identify(credential(scope)) if self._access.in_force else None

    def admit(self, key: Key | None) -> None:
        """Count a request against the limits and the budget of its key, before it is read.

        Raises:
            RefusedError: One of them is used up.
        """
        if key is not None and self._access is not None:
            self._access.admit(key)

    def check_model(self, key: Key | None, model: str) -> None:
        """Check that a key may ask for a model, ``""`` for none.

        Raises:
            RefusedError: It may not.
        """
        if key is not None and self._access is not None:
            self._access.check_model(key, model)

    def require_unlimited(self, key: Key | None) -> None:
        """Check that a key may see data of all clients: it is limited to no models and no tasks.

        Raises:
            RefusedError: It is limited.
        """
        self.check_model(key, "")
        self.check_task(key, "")

    def count(self, key: Key | None) -> None:
        """Count a request that costs nothing.

        Raises:
            RefusedError: A rate limit of its key is used up.
        """
        if key is not None and self._access is not None:
            self._access.count(key)

    def check_task(self, key: Key | None, task: str) -> None:
        """Check that a key may send requests of a task.

        Raises:
            RefusedError: It may not.
        """
        if key is not None and self._access is not None:
            self._access.check_task(key, task)

    def charge(self, key: Key | None, tokens: int, micro_dollars: int) -> None:
        """Charge a key for the tokens of a request."""
        if key is not None and self._access is not None:
            self._access.charge(key, tokens, micro_dollars)


def check_public(settings: Settings, access: Access) -> None:
    """Refuse a public address if requests need no key.

    Raises:
        SettingError: The address is public, requests need no key, and ``require_keys = false`` is
            not set.
    """
    host = settings.gateway.host
    if access.in_force or settings.access.require_keys is False or is_loopback(host):
        return
    raise SettingError(
        f"The host {host!r} can be reached from other machines, and requests need no key. Make one "
        "with `openwheel keys create NAME`, or, where the network itself keeps others out, set "
        "require_keys = false under [access] in openwheel.toml"
    )


def credential(scope: Scope) -> str | None:
    """Return the credential that a client sent, None if there is none.

    SDKs put it in different headers, some in two. One that looks like a gateway's key is preferred.
    """
    credentials: list[bytes] = []
    for name, value in scope["headers"]:
        if name == b"authorization" and value[:7].lower() == _BEARER:
            credentials.append(value[7:].strip())
        elif name in {b"x-api-key", b"api-key"}:
            credentials.append(value.strip())
    own_keys = [value for value in credentials if value.startswith(OWN_KEY.encode())]
    return (own_keys or credentials)[0].decode("latin-1") if credentials else None


async def send_refusal(send: Send, error: RefusedError, api: Api) -> None:
    """Send a refusal, in the shape of the API that was asked."""
    headers: Pairs = [JSON]
    if error.retry_after is not None:
        headers.append((b"retry-after", b"%d" % max(1, math.ceil(error.retry_after))))
        headers.append((b"retry-after-ms", b"%d" % math.ceil(error.retry_after * 1000)))
    elif error.status == 429:
        # The SDKs of OpenAI and Anthropic would try again: a spent budget does not come back.
        headers.append((b"x-should-retry", b"false"))
    headers += _allowance(b"requests", error.allowances.requests)
    headers += _allowance(b"tokens", error.allowances.tokens)
    body = api.error(error.message, type=error.type, code=error.code)
    await send_body(send, error.status, body, headers)


def api_of(path: str) -> Api:
    """Return the API whose shape errors at a path have."""
    return APIS["messages"] if path.startswith("/v1/messages") else APIS["chat"]


def _allowance(name: bytes, allowance: Allowance | None) -> Pairs:
    if allowance is None:
        return []
    return [
        (b"x-ratelimit-limit-" + name, b"%d" % allowance.limit),
        (b"x-ratelimit-remaining-" + name, b"%d" % allowance.remaining),
        (b"x-ratelimit-reset-" + name, f"{allowance.reset:.3f}s".encode()),
    ]

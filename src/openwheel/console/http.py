"""Reads requests and makes responses of the console, with the headers that every one has."""

from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from openwheel.console.door import Asked, RefusedError

MOST_BODY: Final = 256 << 10

SECRET_HEADER: Final = "x-openwheel-console"
CLIENT_HEADER: Final = "x-openwheel-client"
SCHEME_HEADER: Final = "x-openwheel-scheme"
"""What a gateway worker adds to a request that it passes on: a secret that only the processes of
one gateway know, the client's address, and whether it uses TLS."""

_POLICY: Final = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS: Final = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    # Browsers send an Origin with a form only if a referrer may be sent.
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "x-frame-options": "DENY",
}


def asked_of(request: Request, secret: str) -> Asked:
    """Return what the door looks at in a request.

    Args:
        request: The request.
        secret: That of the gateway whose workers pass requests on; ``""`` if clients connect to
            this process.

    Raises:
        RefusedError: It did not come through the gateway.
    """
    headers = request.headers
    client = request.client.host if request.client is not None else ""
    scheme = request.url.scheme
    if secret:
        if headers.get(SECRET_HEADER, "") != secret:
            raise RefusedError("The console is reached through its gateway.")
        client, scheme = headers.get(CLIENT_HEADER, ""), headers.get(SCHEME_HEADER, "http")
    forwarded = any(name in headers for name in ("forwarded", "x-forwarded-for", "via"))
    return Asked(
        client=client,
        host=headers.get("host", ""),
        origin=headers.get("origin", ""),
        site=headers.get("sec-fetch-site", ""),
        cookie=headers.get("cookie", ""),
        forwarded=forwarded,
        secure=scheme == "https" or headers.get("x-forwarded-proto", "") == "https",
    )


async def read_form(request: Request) -> dict[str, str]:
    """Return the fields of a form, the last of each name.

    Raises:
        RefusedError: The body is too large, or no form.
    """
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MOST_BODY:
            raise RefusedError(f"A form has at most {MOST_BODY:,} bytes.", status=413)
    try:
        fields = parse_qsl(
            body.decode(), keep_blank_values=True, strict_parsing=bool(body), max_num_fields=50
        )
    except ValueError:
        raise RefusedError("The body is no form.", status=400) from None
    return dict(fields)


def html(page: str, *, status: int = 200, cookies: Sequence[str] = ()) -> Response:
    """Return a page."""
    response = HTMLResponse(page, status_code=status, headers={"cache-control": "no-store"})
    return _complete(response, cookies)


def redirect(where: str, *, cookies: Sequence[str] = ()) -> Response:
    """Send a browser to another page of the console after a form was taken."""
    return _complete(RedirectResponse(where, status_code=303), cookies)


def content(
    body: bytes, kind: str, *, headers: Mapping[str, str] | None = None, status: int = 200
) -> Response:
    """Return content that is no page."""
    return _complete(
        Response(body, status_code=status, media_type=kind, headers=dict(headers or {})), ()
    )


def _complete(response: Response, cookies: Sequence[str]) -> Response:
    response.headers.update(_HEADERS)
    for cookie in cookies:
        response.headers.append("set-cookie", cookie)
    return response


def stream_headers() -> dict[str, str]:
    """Return the headers of a stream of events."""
    return {**_HEADERS, "cache-control": "no-store", "x-accel-buffering": "no"}

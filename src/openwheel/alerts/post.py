"""Posts an alert to one receiver."""

import binascii
import hashlib
import os
import time
import urllib.error
import urllib.request
from http.client import HTTPException
from typing import Any, Final
from urllib.parse import urlsplit

from openwheel.alerts.message import signed_headers, write_body
from openwheel.alerts.news import Alert
from openwheel.errors import OpenwheelError
from openwheel.settings import AlertSection

TIMEOUT_S: Final = 10.0


class AlertError(OpenwheelError):
    """An alert could not be posted; the message names the receiver's host and the reason."""


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: it could lead a signed alert to somebody else."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def receiver_of(section: AlertSection) -> str:
    """Return what identifies a receiver in the store; its address may hold a secret."""
    return hashlib.sha256(section.url.encode()).hexdigest()[:16]


def host_of(section: AlertSection) -> str:
    """Return a receiver's host, which may be shown."""
    return urlsplit(section.url).netloc.rpartition("@")[2]


def post(alert: Alert, section: AlertSection) -> None:
    """Post an alert.

    Raises:
        AlertError: It could not be sent, or the receiver did not take it.
    """
    body = write_body(alert, section.format, section.link)
    secret = os.environ.get(section.secret_env, "") if section.secret_env else ""
    if section.secret_env and not secret:
        raise AlertError(
            f"{host_of(section)}: the environment variable {section.secret_env} is not set"
        )
    identity = hashlib.sha256(f"{alert.kind} {alert.ident}".encode()).hexdigest()[:32]
    try:
        headers = signed_headers(body, f"msg_{identity}", time.time(), secret)
    except binascii.Error:
        raise AlertError(
            f"{host_of(section)}: the secret in {section.secret_env} is no base64 after whsec_"
        ) from None
    request = urllib.request.Request(
        section.url,
        body,
        {"content-type": "application/json", "user-agent": "openwheel", **headers},
        method="POST",
    )
    try:
        with urllib.request.build_opener(_NoRedirects).open(request, timeout=TIMEOUT_S) as answer:
            answer.read(1 << 16)
    except urllib.error.HTTPError as error:
        raise AlertError(f"{host_of(section)} answered {error.code} {error.reason}") from None
    except (OSError, HTTPException, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise AlertError(f"{host_of(section)} could not be reached: {reason}") from None


def send_test(section: AlertSection, by: str) -> str:
    """Post a test to a receiver; return what went wrong, ``""`` if nothing did."""
    now = time.time()
    text = f"This is a test that {by} sent from the console. Nothing happened."
    try:
        post(Alert("trouble", f"test {now}", now, "", text), section)
    except AlertError as error:
        return str(error)
    return ""

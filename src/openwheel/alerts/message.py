"""Writes alerts in the shapes of their receivers, and signs them.

Sources: Standard Webhooks 1.0.0 (signatures); Slack, "Sending messages using incoming webhooks" and
"Formatting text" (escapes); Microsoft, "Create incoming webhooks with Workflows for Teams".
"""

import base64
import datetime
import hashlib
import hmac
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

import msgspec

from openwheel.alerts.news import Alert

_TITLES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "alarm": "A student was taken off",
        "promoted": "A student answers now",
        "demoted": "A student answers no more",
        "teacher": "The teacher changed",
        "vetoed": "The policy forbids something",
        "trouble": "The loop is in trouble",
        "failed": "A turn failed",
        "stopped": "All students were stopped",
        "resumed": "Students may answer again",
        "store": "Exchanges are not stored",
        "budget": "A budget is near its end",
    }
)


def write_body(alert: Alert, shape: str, link: str) -> bytes:
    """Return the JSON to post.

    Args:
        alert: What to tell.
        shape: ``json``, ``slack`` or ``teams``.
        link: The gateway's address as readers reach it, ``""`` if it is not known.
    """
    return msgspec.json.encode(
        _SHAPES[shape](alert, f"{link.rstrip('/')}{alert.path}" if link else "")
    )


def title(alert: Alert) -> str:
    """Return what an alert is about, in a few words."""
    named = f": {alert.task}" if alert.task else ""
    return f"{_TITLES[alert.kind]}{named}"


def _json(alert: Alert, link: str) -> dict[str, Any]:
    when = datetime.datetime.fromtimestamp(alert.time, datetime.UTC)
    return {
        "type": f"openwheel.{alert.kind}",
        "timestamp": when.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "data": {
            "id": f"{alert.kind} {alert.ident}",
            "title": title(alert),
            "task": alert.task,
            "text": alert.text,
            "link": link,
        },
    }


def _slack(alert: Alert, link: str) -> dict[str, Any]:
    heading = f"*{_slack_text(title(alert))}*"
    more = f"\n<{link}|Console>" if link else ""
    return {"text": f"{heading}\n{_slack_text(alert.text)}{more}"}


def _slack_text(text: str) -> str:
    """Return text in which nothing is a mention, a link or a format of Slack's."""
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return "".join(f"\u200b{c}" if c in "*_~`" else c for c in escaped)


def _teams(alert: Alert, link: str) -> dict[str, Any]:
    def block(text: str, **more: Any) -> dict[str, Any]:
        # A run of text is shown as it is; a block of text would be read as Markdown.
        run = {"type": "TextRun", "text": text, **more}
        return {"type": "RichTextBlock", "inlines": [run]}

    card: dict[str, Any] = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "body": [block(title(alert), weight="Bolder"), block(alert.text)],
    }
    if link:
        card["actions"] = [{"type": "Action.OpenUrl", "title": "Console", "url": link}]
    return {
        "type": "message",
        "attachments": [
            {"contentType": "application/vnd.microsoft.card.adaptive", "content": card}
        ],
    }


_SHAPES: Final[Mapping[str, Callable[[Alert, str], dict[str, Any]]]] = MappingProxyType(
    {"json": _json, "slack": _slack, "teams": _teams}
)


def signed_headers(body: bytes, identity: str, now: float, secret: str) -> dict[str, str]:
    """Return the headers of Standard Webhooks, by which a receiver knows who sent a body.

    Args:
        body: What is posted.
        identity: The same for each try of one alert.
        now: Seconds since 1970.
        secret: ``whsec_`` and the key in base64, or any text, whose bytes are the key.

    Examples:
        >>> identity = "msg_p5jXN8AQM9LWM0D4loKWxJek"  # and the rest of the standard's own example
        >>> secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
        >>> headers = signed_headers(b'{"test": 2432232314}', identity, 1614265330, secret)
        >>> headers["webhook-signature"]
        'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE='
    """
    stamp = str(int(now))
    headers = {"webhook-id": identity, "webhook-timestamp": stamp}
    if secret:
        key = secret.encode()
        if secret.startswith("whsec_"):
            key = base64.b64decode(secret.removeprefix("whsec_"))
        content = b".".join((identity.encode(), stamp.encode(), body))
        digest = hmac.new(key, content, hashlib.sha256).digest()
        headers["webhook-signature"] = f"v1,{base64.b64encode(digest).decode()}"
    return headers

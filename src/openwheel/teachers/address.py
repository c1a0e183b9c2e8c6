"""Reads and checks a teacher's URL and key before any request is sent."""

import os
from urllib.parse import urlsplit

from openwheel.errors import SettingError
from openwheel.teachers.teacher import ApiFamily


def read_base_url(base_url: str, api: ApiFamily = "openai") -> tuple[str, str]:
    """Return the base URL that stands for ``/v1``, and the host for messages.

    OpenAI's clients are given a URL that includes ``/v1`` or what stands for it; Anthropic's are
    given one that does not, and add it. Both are read as their own clients would, and a URL that
    has or lacks ``/v1`` where the other kind would not is understood too.

    Raises:
        SettingError: The URL is not one, or holds credentials, a query or a fragment.
    """
    try:
        parts = urlsplit(base_url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise SettingError(f"The teacher's URL is not a URL: {error}") from None
    if parts.scheme not in {"http", "https"} or not host:
        raise SettingError(
            f"The teacher's URL must look like http://host:port/v1, but is {_shown(base_url)!r}"
        )
    if parts.username is not None or parts.password is not None:
        raise SettingError(
            "The teacher's URL holds credentials; put the key in an environment variable instead"
        )
    if parts.query or parts.fragment:
        raise SettingError(
            f"The teacher's URL must end with its path, but has a query or fragment: host {host}"
        )
    shown = f"[{host}]" if ":" in host else host
    netloc = f"{shown}:{port}" if port else shown
    path = parts.path.rstrip("/")
    if not path or (api == "anthropic" and not path.endswith("/v1")):
        path += "/v1"
    return f"{parts.scheme}://{netloc}{path}", netloc


def read_key(key_env: str) -> str:
    """Return the key in an environment variable.

    Raises:
        SettingError: The variable is not set, or its value cannot be in a header.
    """
    key = os.environ.get(key_env, "").strip()
    if not key:
        raise SettingError(
            f"The teacher's key must be in the environment variable {key_env}, which is not set"
        )
    if not key.isascii() or not key.isprintable():
        raise SettingError(f"The key in {key_env} must be printable ASCII, and is not")
    return key


def _shown(base_url: str) -> str:
    """Return the URL without anything before an ``@``, which may be a password."""
    return base_url.rpartition("@")[2]

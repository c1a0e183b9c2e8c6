"""Keeps large files in an object store: S3, GCS or Azure, or a folder that machines share.

What opens it is in the environment, as their own tools read it (``AWS_ACCESS_KEY_ID`` and others);
nothing of that is kept here.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from openwheel.errors import ObjectStoreError, StoreError

try:
    import obstore
    from obstore.exceptions import BaseError
    from obstore.store import from_url
except ImportError:
    raise StoreError(
        "Files in an object store need obstore: install `openwheel[objects]`"
    ) from None

_CHUNK: Final = 1 << 20
# As object_store itself reads them; options of a client that are given come before it.
_PLAIN_HTTP: Final = ("AWS_ALLOW_HTTP", "AZURE_ALLOW_HTTP", "GOOGLE_ALLOW_HTTP")


def put(url: str, file: Path) -> None:
    """Write a file as an object, whole or not at all.

    Raises:
        ObjectStoreError: The object store cannot be reached, or refuses.
    """
    with _errors(url):
        store, name = _opened(url)
        obstore.put(store, name, file)


def read(url: str) -> Iterator[bytes]:
    """Yield the bytes of an object, some at a time.

    Raises:
        ObjectStoreError: It is not there, or the object store cannot be reached, or refuses.
    """
    with _errors(url):
        store, name = _opened(url)
        for part in obstore.get(store, name).stream(min_chunk_size=_CHUNK):
            yield bytes(part)


def delete(url: str) -> None:
    """Delete an object; one that is not there is deleted.

    Raises:
        ObjectStoreError: The object store cannot be reached, or refuses.
    """
    with _errors(url):
        store, name = _opened(url)
        with suppress(FileNotFoundError):
            obstore.delete(store, name)


def _opened(url: str) -> tuple[Any, str]:
    place, _, name = url.rpartition("/")
    if place.startswith("file:"):
        # It is not made: that would hide that what machines share is not mounted here.
        return from_url(place), name
    client: Any = {
        "connect_timeout": timedelta(seconds=5),
        "timeout": timedelta(minutes=10),
        "allow_http": any(os.environ.get(name, "").lower() == "true" for name in _PLAIN_HTTP),
    }
    # Who calls tries again, and says so; the defaults would wait for three minutes without a word.
    retry: Any = {"max_retries": 2, "retry_timeout": timedelta(seconds=10)}
    return from_url(place, client_options=client, retry_config=retry), name


@contextmanager
def _errors(url: str) -> Iterator[None]:
    try:
        yield
    except (BaseError, OSError, ValueError) as error:
        # What follows is for the library's developers.
        detail = " ".join(str(error).partition("\n\nDebug source")[0].split())
        raise ObjectStoreError(f"{url} cannot be used: {detail}") from None

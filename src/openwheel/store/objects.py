"""Keeps large files in an object store: S3, GCS or Azure, or a folder that machines share.

What opens it is in the environment, as their own tools read it (``AWS_ACCESS_KEY_ID`` and others);
nothing of that is kept here.
"""

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
# Who calls tries again, and says so; the defaults would wait for three minutes without a word.
_REMOTE: Final[dict[str, Any]] = {
    "client_options": {"connect_timeout": timedelta(seconds=5), "timeout": timedelta(minutes=10)},
    "retry_config": {"max_retries": 2, "retry_timeout": timedelta(seconds=10)},
}


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
    # A folder is not made: it would hide that what machines share is not mounted here.
    return from_url(place, **({} if place.startswith("file:") else _REMOTE)), name


@contextmanager
def _errors(url: str) -> Iterator[None]:
    try:
        yield
    except (BaseError, OSError, ValueError) as error:
        # What follows is for the library's developers.
        detail = " ".join(str(error).partition("\n\nDebug source")[0].split())
        raise ObjectStoreError(f"{url} cannot be used: {detail}") from None

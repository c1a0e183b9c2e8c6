"""What changes by the day: downloads, likes, derivatives and prices, kept in the user's cache."""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import msgspec

from openwheel.errors import CatalogError


class Popularity(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much a checkpoint is used, as the hub counts it.

    Attributes:
        downloads: In the last 30 days.
        likes: Of all time.
        derivatives: Models on the hub that say they were made of it; None if not counted.
    """

    downloads: int
    likes: int
    derivatives: int | None = None


class Price(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The lowest price of a checkpoint in the price list, in US dollars.

    Attributes:
        name: As the list calls the model.
        input: For a million tokens read.
        output: For a million tokens written.
    """

    name: str
    input: float
    output: float


class Figures(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All of it. Keys are hub ids in small letters.

    Attributes:
        popularity: From the hub.
        popularity_from: Where from; empty if never fetched.
        popularity_at: When, ISO 8601 in UTC.
        missing: Ids that the hub does not know, or shows to nobody without a key.
        prices: From the price list.
        prices_from: Where from; empty if never fetched.
        prices_at: When, ISO 8601 in UTC.
    """

    popularity: Mapping[str, Popularity] = {}
    popularity_from: str = ""
    popularity_at: str = ""
    missing: tuple[str, ...] = ()
    prices: Mapping[str, Price] = {}
    prices_from: str = ""
    prices_at: str = ""

    def popularity_of(self, checkpoint_id: str) -> Popularity | None:
        """Return what the hub counted of a checkpoint, or None."""
        return self.popularity.get(checkpoint_id.lower())

    def price_of(self, checkpoint_id: str) -> Price | None:
        """Return a checkpoint's lowest price, or None."""
        return self.prices.get(checkpoint_id.lower())


def figures_path(environment: Mapping[str, str] = os.environ) -> Path:
    """Return where the figures are kept: ``openwheel/models.json`` in the user's cache folder.

    The folder is ``XDG_CACHE_HOME`` if that is an absolute path, as the XDG Base Directory
    Specification says, else ``~/.cache``.
    """
    folder = Path(environment.get("XDG_CACHE_HOME", ""))
    if not folder.is_absolute():
        folder = Path.home() / ".cache"
    return folder / "openwheel" / "models.json"


def read_figures(path: Path) -> Figures:
    """Return the figures last fetched; without a file, none.

    Raises:
        CatalogError: The file is there and cannot be read.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=Figures)
    except FileNotFoundError:
        return Figures()
    except OSError as error:
        raise CatalogError(f"The figures in {path} cannot be read: {error.strerror}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CatalogError(
            f"{path} must hold the figures of `openwheel models refresh`, which writes it anew: "
            f"{error}"
        ) from None


def write_figures(path: Path, figures: Figures) -> None:
    """Put the file in place whole, or leave the old one.

    Raises:
        CatalogError: It cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f"{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(msgspec.json.format(msgspec.json.encode(figures, order="sorted")))
            os.replace(name, path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise CatalogError(f"{path} cannot be written: {error.strerror}") from None

"""Fetching the figures: from a hub with Hugging Face's API, and a price list with OpenRouter's.

Sizes are not fetched: the hub's count of weights is wrong for packed, quantised files.
"""

import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from typing import TypeVar

import msgspec

from openwheel import __version__
from openwheel.catalog.figures import Figures, Popularity, Price
from openwheel.errors import CatalogError

_AT_ONCE = 8
_SECONDS = 20.0
_MOST_BYTES = 32 << 20
_MOST_PAGES = 50
_EXPAND = "&".join(f"expand%5B%5D={name}" for name in ("downloads", "likes", "childrenModelCount"))


class _HubModel(msgspec.Struct, frozen=True, rename="camel"):
    """The part of the hub's answer that is kept.

    ``childrenModelCount`` is a number for each kind of derivative: finetune, adapter, merge,
    quantized.
    """

    downloads: int = 0
    likes: int = 0
    children_model_count: dict[str, int] | int | None = None


class _Pricing(msgspec.Struct, frozen=True):
    prompt: str | float = -1.0
    completion: str | float = -1.0


class _Listed(msgspec.Struct, frozen=True):
    id: str
    hugging_face_id: str | None = None
    pricing: _Pricing = _Pricing()


class _Links(msgspec.Struct, frozen=True):
    next: str | None = None


class _Page(msgspec.Struct, frozen=True):
    data: tuple[_Listed, ...]
    links: _Links | None = None


_Answer = TypeVar("_Answer", _HubModel, _Page)


def fetch_popularity(
    hub: str,
    ids: Iterable[str],
    *,
    at: str,
    old: Figures,
    progress: Callable[[int], None] | None = None,
) -> Figures:
    """Return the figures with the hub's part fetched anew.

    Args:
        hub: Base URL, e.g. ``https://huggingface.co``.
        ids: The checkpoints to ask for.
        at: The time now, ISO 8601.
        old: The figures so far, whose other part is kept.
        progress: Told how many are done.

    Raises:
        CatalogError: The hub cannot be reached, or answers with what is not its API's form.
    """
    wanted = list(dict.fromkeys(ids))
    found: dict[str, Popularity] = {}
    missing = []
    base = _base(hub, "the hub")
    pool = ThreadPoolExecutor(_AT_ONCE)
    try:
        asked = [pool.submit(_popularity, base, name) for name in wanted]
        for done, (name, answer) in enumerate(zip(wanted, asked, strict=True), start=1):
            popularity = answer.result()
            if popularity is None:
                missing.append(name)
            else:
                found[name.lower()] = popularity
            if progress is not None:
                progress(done)
    finally:
        # One failure is everyone's: a dead hub is not to be asked two hundred times.
        pool.shutdown(cancel_futures=True)
    return msgspec.structs.replace(
        old,
        popularity=found,
        popularity_from=hub,
        popularity_at=at,
        missing=tuple(sorted(missing)),
    )


def fetch_prices(prices: str, ids: Iterable[str], *, at: str, old: Figures) -> Figures:
    """Return the figures with the price list fetched anew.

    Args:
        prices: Base URL of the API, e.g. ``https://openrouter.ai/api/v1``.
        ids: The checkpoints whose prices are kept.
        at: The time now, ISO 8601.
        old: The figures so far, whose other part is kept.

    Raises:
        CatalogError: The list cannot be reached, or is not of its API's form.
    """
    wanted = {name.lower() for name in ids}
    found: dict[str, Price] = {}
    for listed in _listed(_base(prices, "the price list")):
        key = (listed.hugging_face_id or "").lower()
        price = _price(listed)
        if key in wanted and price is not None:
            known = found.get(key)
            if known is None or (price.output, price.input) < (known.output, known.input):
                found[key] = price
    return msgspec.structs.replace(old, prices=found, prices_from=prices, prices_at=at)


def _popularity(base: str, name: str) -> Popularity | None:
    """Return what the hub counted, or None if it has no such model that anyone may see."""
    url = f"{base}/api/models/{urllib.parse.quote(name)}?{_EXPAND}"
    body = _get(url, absent=(401, 403, 404))
    if body is None:
        return None
    answer = _decode(body, _HubModel, url)
    children = answer.children_model_count
    derivatives = sum(children.values()) if isinstance(children, dict) else children
    return Popularity(downloads=answer.downloads, likes=answer.likes, derivatives=derivatives)


def _listed(base: str) -> Iterator[_Listed]:
    url = f"{base}/models"
    for _ in range(_MOST_PAGES):
        page = _decode(_get(url) or b"", _Page, url)
        yield from page.data
        following = page.links.next if page.links else None
        if not following:
            return
        url = _base(urllib.parse.urljoin(url, following), "the price list")
    raise CatalogError(f"{base} must list its models in at most {_MOST_PAGES} pages")


def _price(listed: _Listed) -> Price | None:
    """Return a price for a million tokens; None for variants, and where there is no price."""
    if ":" in listed.id:  # a variant of a listed model: free with limits, faster, and so on
        return None
    try:
        paid = [float(value) for value in (listed.pricing.prompt, listed.pricing.completion)]
    except ValueError:
        return None
    if not all(0 <= value < 1 for value in paid):  # -1 stands for a price that varies
        return None
    return Price(name=listed.id, input=round(paid[0] * 1e6, 6), output=round(paid[1] * 1e6, 6))


def _base(url: str, what: str) -> str:
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise CatalogError(f"The URL of {what} must begin with http:// or https://, was {url!r}")
    return url.rstrip("/")


def _get(url: str, *, absent: tuple[int, ...] = ()) -> bytes | None:
    """Return the body at a URL; None where the status says that it is absent."""
    request = urllib.request.Request(
        url, headers={"Accept": "application/json", "User-Agent": f"openwheel/{__version__}"}
    )
    try:
        with urllib.request.urlopen(request, timeout=_SECONDS) as answer:
            body: bytes = answer.read(_MOST_BYTES + 1)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code in absent:
            return None
        raise CatalogError(f"{_site(url)} answered {error.code} to {url}") from None
    except urllib.error.URLError as error:
        raise CatalogError(f"{_site(url)} cannot be reached: {error.reason}") from None
    except (OSError, HTTPException) as error:
        said = str(error) or type(error).__name__
        raise CatalogError(f"{_site(url)} broke off: {said}") from None
    if len(body) > _MOST_BYTES:
        raise CatalogError(f"{url} must answer with at most {_MOST_BYTES:,} bytes, sent more")
    return body


def _decode(body: bytes, kind: type[_Answer], url: str) -> _Answer:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CatalogError(f"{url} must answer with the JSON of its API: {error}") from None


def _site(url: str) -> str:
    return urllib.parse.urlsplit(url).netloc

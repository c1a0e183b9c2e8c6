"""Fetching figures, from a real server on loopback that answers as the hub and the list do."""

import asyncio
import json
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from cli import runner
from cli.runner import Done
from openwheel.catalog import Figures, figures_path, read_figures
from openwheel.catalog.figures import write_figures
from openwheel.catalog.refresh import fetch_popularity, fetch_prices
from openwheel.errors import CatalogError
from teacher import Asked, Teacher, respond

AT = "2026-11-22T10:00:00+00:00"
HUB = {
    "Qwen/Qwen3-0.6B": {
        "_id": "680da5f8",
        "id": "Qwen/Qwen3-0.6B",
        "downloads": 7_416_203,
        "likes": 912,
        "childrenModelCount": {"finetune": 410, "adapter": 395, "quantized": 300, "merge": 12},
        "safetensors": {"parameters": {"BF16": 751_632_384}, "total": 751_632_384},
    },
    "openai/gpt-oss-20b": {"id": "openai/gpt-oss-20b", "downloads": 5_000, "likes": 10},
}
LISTED = [
    {
        "id": "qwen/qwen3-8b",
        "hugging_face_id": "Qwen/Qwen3-8B",
        "pricing": {"prompt": "0.00000006", "completion": "0.00000024", "image": "0"},
    },
    {
        "id": "qwen/qwen3-8b:free",
        "hugging_face_id": "Qwen/Qwen3-8B",
        "pricing": {"prompt": "0", "completion": "0"},
    },
    {
        "id": "openai/gpt-oss-20b",
        "hugging_face_id": "openai/gpt-oss-20b",
        "pricing": {"prompt": "0.00000005", "completion": "0.0000002"},
    },
    {"id": "openrouter/auto", "pricing": {"prompt": "-1", "completion": "-1"}},
    {"id": "other/closed", "hugging_face_id": "", "pricing": {"prompt": "1e-6"}},
]


class Site(Teacher):
    """A server that answers each path as it is told to."""

    def __init__(self) -> None:
        super().__init__(self._look_up)
        self.pages: dict[str, Callable[[dict[str, list[str]]], tuple[int, bytes]]] = {}

    def put(self, path: str, value: object, status: int = 200) -> None:
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.pages[path] = lambda _: (status, body)

    async def _look_up(self, asked: Asked, writer: asyncio.StreamWriter) -> None:
        page = self.pages.get(asked.path, lambda _: (404, b'{"error":"none"}'))
        status, body = page(parse_qs(urlsplit(asked.target).query))
        writer.write(respond(body, status=status))


@pytest.fixture
def site():
    with Site() as site:
        for name, answer in HUB.items():
            site.put(f"/api/models/{name}", answer)
        site.put("/api/v1/models", {"data": LISTED})
        yield site


@pytest.fixture
def dead_url():
    """Return a URL where nothing listens: the port is held, and not listened to."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{held.getsockname()[1]}"


def test_downloads_likes_and_derivatives_come_from_the_hub(site):
    figures = fetch_popularity(site.origin, HUB, at=AT, old=Figures())
    found = figures.popularity_of("qwen/qwen3-0.6b")
    assert (found.downloads, found.likes, found.derivatives) == (7_416_203, 912, 1_117)
    assert figures.popularity_of("openai/gpt-oss-20b").derivatives is None
    assert figures.popularity_at == AT
    query = parse_qs(urlsplit(site.received[0].target).query)
    assert query == {"expand[]": ["downloads", "likes", "childrenModelCount"]}


def test_what_the_hub_does_not_have_is_told_and_does_not_stop_the_rest(site):
    site.put("/api/models/gone/away", {"error": "Repository not found"}, status=401)
    figures = fetch_popularity(site.origin, ["gone/away", "no/such", *HUB], at=AT, old=Figures())
    assert figures.missing == ("gone/away", "no/such")
    assert set(figures.popularity) == {name.lower() for name in HUB}


def test_prices_are_for_a_million_tokens_the_lowest_and_without_free_variants(site):
    ids = ["Qwen/Qwen3-8B", "openai/gpt-oss-20b", "tencent/Hy3"]
    figures = fetch_prices(f"{site.origin}/api/v1/", ids, at=AT, old=Figures())
    price = figures.price_of("Qwen/Qwen3-8B")
    assert (price.name, price.input, price.output) == ("qwen/qwen3-8b", 0.06, 0.24)
    assert set(figures.prices) == {"qwen/qwen3-8b", "openai/gpt-oss-20b"}
    cheaper = {**LISTED[0], "id": "x/y", "pricing": {"prompt": "1e-8", "completion": "2e-8"}}
    site.put("/api/v1/models", {"data": [*LISTED, cheaper]})
    figures = fetch_prices(f"{site.origin}/api/v1", ids, at=AT, old=figures)
    assert figures.price_of("Qwen/Qwen3-8B").name == "x/y"


def test_a_list_of_prices_in_pages_is_read_to_its_end(site):
    pages = {"0": LISTED[:1], "1": LISTED[1:]}

    def page(query):
        here = query.get("offset", ["0"])[0]
        following = "/api/v1/models?offset=1" if here == "0" else None
        return 200, json.dumps({"data": pages[here], "links": {"next": following}}).encode()

    site.pages["/api/v1/models"] = page
    figures = fetch_prices(f"{site.origin}/api/v1", ["openai/gpt-oss-20b"], at=AT, old=Figures())
    assert figures.price_of("openai/gpt-oss-20b").output == 0.2
    site.pages["/api/v1/models"] = lambda _: (
        200,
        json.dumps({"data": [], "links": {"next": "/api/v1/models"}}).encode(),
    )
    with pytest.raises(CatalogError, match="at most 50 pages"):
        fetch_prices(f"{site.origin}/api/v1", [], at=AT, old=Figures())


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (500, b"oops", "answered 500 to http"),
        (429, b"slow down", "answered 429 to http"),
        (200, b"<html>", "must answer with the JSON of its API"),
        (200, b'{"downloads": "many"}', "must answer with the JSON of its API: .*downloads"),
        (200, b"\xff\xfe", "must answer with the JSON of its API"),
    ],
)
def test_a_hub_that_answers_otherwise_is_named(site, status, body, said):
    site.put("/api/models/a/b", body, status=status)
    with pytest.raises(CatalogError, match=said):
        fetch_popularity(site.origin, ["a/b"], at=AT, old=Figures())


def test_a_dead_site_is_named(dead_url):
    with pytest.raises(CatalogError, match=r"127.0.0.1:\d+ cannot be reached: .*refused"):
        fetch_popularity(dead_url, HUB, at=AT, old=Figures())
    with pytest.raises(CatalogError, match="cannot be reached"):
        fetch_prices(dead_url, HUB, at=AT, old=Figures())


@pytest.mark.parametrize("url", ["file:///etc", "ftp://x", "huggingface.co", "http://"])
def test_only_web_addresses_are_asked(url):
    with pytest.raises(CatalogError, match=r"must begin with http:// or https://"):
        fetch_popularity(url, HUB, at=AT, old=Figures())


def test_one_fetch_leaves_the_other_part_alone(site):
    figures = fetch_popularity(site.origin, HUB, at=AT, old=Figures())
    figures = fetch_prices(f"{site.origin}/api/v1", HUB, at="2026-11-23", old=figures)
    assert figures.popularity_at == AT
    assert figures.popularity_of("openai/gpt-oss-20b").likes == 10


def test_figures_are_written_whole_and_read_back(tmp_path, site):
    path = tmp_path / "a" / "b" / "models.json"
    assert read_figures(path) == Figures()
    figures = fetch_popularity(site.origin, HUB, at=AT, old=Figures())
    write_figures(path, figures)
    assert read_figures(path) == figures
    assert [found.name for found in path.parent.iterdir()] == ["models.json"]
    path.write_text('{"popularity": 3}')
    with pytest.raises(CatalogError, match=r"models.json must hold the figures"):
        read_figures(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(CatalogError, match="cannot be written"):
        write_figures(path, figures)
    assert [found.name for found in path.parent.iterdir()] == ["models.json"]


def test_the_cache_folder_is_the_users(tmp_path):
    assert figures_path({"XDG_CACHE_HOME": str(tmp_path)}) == tmp_path / "openwheel/models.json"
    home = Path.home() / ".cache" / "openwheel" / "models.json"
    assert figures_path({}) == figures_path({"XDG_CACHE_HOME": "not/absolute"}) == home


def run(folder: Path, *arguments: str, code: int = 0) -> Done:
    env = {"XDG_CACHE_HOME": str(folder / "cache"), "COLUMNS": "200"}
    return runner.run("models", *arguments, cwd=folder, code=code, env=env)


def test_the_command_fetches_keeps_and_shows(tmp_path, site, dead_url):
    (tmp_path / "openwheel.toml").write_text(
        f"[catalog]\nhub_url = '{site.origin}'\nprices_url = '{site.origin}/api/v1'\n"
    )
    told = run(tmp_path, "refresh").stdout
    assert "2 checkpoints counted by http://127.0.0.1" in told
    assert "2 prices" in told
    assert "not found: tencent/Hy3" in told
    shown = run(tmp_path, "show", "openai/gpt-oss-20b").stdout
    assert "5,000 downloads in 30 days, 10 likes" in shown
    assert "0.05, 0.2" in shown
    listed = run(tmp_path, "--family", "gpt-oss").stdout
    assert "5,000" in listed

    # A dead hub: the old counts stay, the prices are new, and it is said.
    kept = tmp_path / "cache" / "openwheel" / "models.json"
    before = read_figures(kept)
    site.put("/api/v1/models", {"data": []})
    failed = run(tmp_path, "refresh", "--hub-url", dead_url, code=2)
    assert "Not all was fetched, and the old figures stay" in failed.stderr
    assert "cannot be reached" in failed.stderr
    after = read_figures(kept)
    assert after.popularity == before.popularity
    assert after.prices == {}

    # Both dead: nothing is written.
    text = kept.read_bytes()
    run(tmp_path, "refresh", "--hub-url", dead_url, "--prices-url", dead_url, code=2)
    assert kept.read_bytes() == text
    assert stat.S_ISREG(kept.stat().st_mode)


def test_a_broken_cache_is_told_and_nothing_needs_it(tmp_path):
    kept = tmp_path / "cache" / "openwheel" / "models.json"
    kept.parent.mkdir(parents=True)
    kept.write_text("{")
    done = run(tmp_path, "show", "Qwen/Qwen3-0.6B", "--json")
    assert "must hold the figures" in done.stderr
    assert json.loads(done.stdout)["checkpoint"]["popularity"] is None

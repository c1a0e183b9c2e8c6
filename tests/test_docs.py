"""The documentation holds: commands, options and benchmarks are there, links lead somewhere."""

import doctest
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main
from typer.core import TyperCommand as Command
from typer.core import TyperGroup as Group

from openwheel.cli import app

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def text_of_docs() -> str:
    return "\n".join(page.read_text(encoding="utf-8") for page in PAGES)


def commands(group: Group, path: str = "openwheel") -> Iterator[tuple[str, Command]]:
    """Yield every command with what one types to run it, those of sub-commands included."""
    for name, found in group.commands.items():
        if isinstance(found, Group):
            yield from commands(found, f"{path} {name}")
        else:
            yield f"{path} {name}", found


def test_every_command_and_option_is_documented():
    docs = text_of_docs()
    for typed, command in commands(typer.main.get_command(app)):
        assert typed in docs or f"`{typed.removeprefix('openwheel ')}`" in docs, typed
        for parameter in command.params:
            for option in parameter.opts:
                if option.startswith("--"):
                    assert option in docs, f"{typed} {option}"


def test_links_between_pages_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8")):
            if not target.startswith(("http://", "https://")):
                assert (page.parent / target).exists(), f"{page.name}: {target}"


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    plain = [re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings]
    return {heading.strip().replace(" ", "-") for heading in plain}


def test_links_to_a_heading_find_it():
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for target, anchor in re.findall(r"\]\(([^)#\s]*)#([^)\s]+)\)", text):
            if target.startswith(("http://", "https://")):
                continue
            aimed = page if not target else (page.parent / target).resolve()
            if aimed.suffix == ".md":
                assert anchor in anchors(aimed), f"{page.name}: {target}#{anchor}"


def test_nothing_is_promised_without_its_condition():
    for page in PAGES:
        assert "guarantee" not in page.read_text(encoding="utf-8").lower(), page.name


def test_every_page_is_linked_from_the_readme_or_another_page():
    docs = text_of_docs()
    for page in (ROOT / "docs").glob("*.md"):
        assert f"{page.name})" in docs, page.name


def test_every_benchmark_named_in_the_docs_exists():
    for name in set(re.findall(r"benchmarks/(\w+\.py)", text_of_docs())):
        assert (ROOT / "benchmarks" / name).exists(), name


def test_every_source_file_and_folder_named_in_the_docs_exists():
    """In the contributors' pages names are relative to the package, too."""
    contributors = [ROOT / "docs" / name for name in ("architecture.md", "extending.md")]
    for page in PAGES:
        roots = [ROOT, ROOT / "src" / "openwheel"] if page in contributors else [ROOT]
        named = re.findall(r"`((?:[\w.-]+/)+(?:[\w-]+\.py)?)`", page.read_text(encoding="utf-8"))
        for name in named:
            if page not in contributors and not name.startswith(("src/", "tests/", "benchmarks/")):
                continue
            assert any((root / name).exists() for root in roots), f"{page.name}: {name}"


def test_every_feature_has_a_page_and_a_test():
    page = (ROOT / "docs" / "features.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| .+ \| \[[\w-]+\]\(([\w-]+\.md)\) \| `(.+)` \|$", page, re.MULTILINE)
    tables = sum(line.startswith("|---") for line in page.splitlines())
    assert len(rows) == sum(line.startswith("|") for line in page.splitlines()) - 2 * tables
    assert len(rows) > 50
    for name, test in rows:
        assert (ROOT / "docs" / name).exists(), name
        file, _, function = test.partition("::")
        source = (ROOT / "tests" / file).read_text(encoding="utf-8")
        assert not function or f"def {function}(" in source, test


@pytest.mark.parametrize(
    "module",
    [
        ".".join(path.relative_to(ROOT / "src").with_suffix("").parts)
        for path in sorted((ROOT / "src").rglob("*.py"))
        if ">>> " in path.read_text(encoding="utf-8")
    ],
)
def test_examples_in_docstrings_print_what_they_say(module):
    assert doctest.testmod(importlib.import_module(module)).failed == 0

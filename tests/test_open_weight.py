"""The page on open-weight models names only checkpoints that the catalogue knows."""

import itertools
import re
from pathlib import Path

import pytest

from openwheel.catalog import load_catalog
from students.lm.families import trained_types

PAGE = Path(__file__).resolve().parents[1] / "docs" / "open-weight.md"


def table(head: str) -> list[str]:
    """Return the rows of the page's table whose head begins so."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    start = next(at for at, line in enumerate(lines) if line.startswith(head)) + 2
    return list(itertools.takewhile(lambda line: line.startswith("|"), lines[start:]))


def test_each_family_that_is_trained_stands_in_a_row_with_what_serves_it():
    pytest.importorskip("gguf", reason="the extra `lm` is not installed")
    from openwheel.inference.gguf.families import FAMILIES

    here, elsewhere = set(), set()
    for row in table("| `model_type` |"):
        types, trained, served, _ = (cell.strip() for cell in row.strip("|").split("|"))
        if "transformers" in trained:
            (here if "llama.cpp" in served else elsewhere).update(re.findall(r"`(\w+)`", types))
    assert set(FAMILIES) == here - {"qwen3_5"}
    assert set(trained_types()) == (here | elsewhere) - {"qwen3_5"}
    assert not here & elsewhere


def test_every_checkpoint_of_the_table_is_in_the_catalogue_and_may_be_what_it_is_called():
    catalog = load_catalog()
    rows = table("| family |")
    named = {name for row in rows for name in re.findall(r"`([\w.-]+/[\w.-]+)`", row)}
    assert len(named) > 30
    for name in named:
        assert catalog.find(name).id == name
    for row in rows:
        family, _, learn, _, _ = (cell.strip() for cell in row.strip("|").split("|"))
        if learn in {"yes", "yes (Apache-2.0)"}:
            for name in re.findall(r"`([\w.-]+/[\w.-]+)`", row):
                assert catalog.may_train_others(catalog.find(name)) == "yes", (family, name)

"""The page on open-weight models names only checkpoints that the catalogue knows."""

import re
from pathlib import Path

from openwheel.catalog import load_catalog

PAGE = Path(__file__).resolve().parents[1] / "docs" / "open-weight.md"


def test_every_checkpoint_of_the_table_is_in_the_catalogue_and_may_be_what_it_is_called():
    catalog = load_catalog()
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")][2:]
    named = {name for row in rows for name in re.findall(r"`([\w.-]+/[\w.-]+)`", row)}
    assert len(named) > 30
    for name in named:
        assert catalog.find(name).id == name
    for row in rows:
        family, _, learn, _, _ = (cell.strip() for cell in row.strip("|").split("|"))
        if learn in {"yes", "yes (Apache-2.0)"}:
            for name in re.findall(r"`([\w.-]+/[\w.-]+)`", row):
                assert catalog.may_train_others(catalog.find(name)) == "yes", (family, name)

import re
from importlib import import_module
from pathlib import Path

from openwheel.students import rungs

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "students.md").read_text(encoding="utf-8")


def test_constants_are_as_documented():
    rows = re.findall(r"\| `(\w+)\.([A-Z_]+)` \| ([\d.,]+) \|", PAGE)
    assert len(rows) >= 15
    for module, name, value in rows:
        found = getattr(import_module(f"openwheel.students.{module}"), name)
        assert found == float(value.replace(",", "")), name


def test_every_limit_and_rung_is_documented():
    for module in ("material", "cores", "tuned", "evidence", "ngrams", "variables"):
        for name in vars(import_module(f"openwheel.students.{module}")):
            if name.startswith(("MOST_", "LONGEST", "FEWEST_")):
                assert f".{name}`" in PAGE
    for rung in rungs():
        assert f"| `{rung}` |" in PAGE

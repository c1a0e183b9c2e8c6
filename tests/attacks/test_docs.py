"""The page on security names tests that there are, and every attack that is tested."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")


def test_the_tests_it_names_are_there_and_none_is_left_out():
    named = set(re.findall(r"`(tests/[\w/]+\.py)`", PAGE))
    assert not [name for name in named if not (ROOT / name).is_file()]
    here = {f"tests/attacks/{path.name}" for path in Path(__file__).parent.glob("test_*.py")}
    assert here - named == {"tests/attacks/test_docs.py"}

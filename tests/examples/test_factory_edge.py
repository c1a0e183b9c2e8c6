"""The example of a terminal that goes on through an outage runs as its page says."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "factory_edge.py"


@pytest.mark.evidence
def test_the_terminal_goes_on_and_all_of_it_arrives_once(tmp_path):
    told = subprocess.run(
        [sys.executable, str(EXAMPLE), "--out", str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert re.search(r"link down: 300 requests: queued \d+, student \d+", told)
    kept = re.findall(r"kept on the terminal: (\d+) exchanges, (\d+) requests", told)
    assert int(kept[0][0]) > 0
    assert kept[1] == ("0", "0")
    stored, ids = re.search(r"(\d+) exchanges of line-7, (\d+) ids", told).groups()
    assert stored == ids
    assert int(stored) >= 600

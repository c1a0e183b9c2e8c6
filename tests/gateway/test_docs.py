"""What the gateway shows is in its documentation."""

from pathlib import Path

import pytest

from openwheel.gateway import CaptureStats
from openwheel.gateway.meter import Meter

PAGE = Path(__file__).parents[2].joinpath("docs", "gateway.md").read_text()


@pytest.mark.parametrize("field", [*Meter().counts(), *CaptureStats.__struct_fields__])
def test_every_count_is_documented(field):
    assert f"`{field}`" in PAGE


@pytest.mark.parametrize(
    "word",
    [
        "x-openwheel-source",
        "x-openwheel-task",
        "x-openwheel-confidence",
        "x-openwheel-fallback",
        "best-effort",
        "/healthz",
        "/v1/models",
        "teacher_unreachable",
        "teacher_timeout",
        "teacher_unavailable",
    ],
)
def test_headers_endpoints_and_codes_are_documented(word):
    assert word in PAGE

"""What a client sees of the teacher is what it would see with no gateway between."""

from typing import Any

import pytest


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "client"),
    [
        ("openai_sdk.py", "official"),
        ("anthropic_sdk.py", "official"),
        ("langchain_clients.py", "langchain"),
        ("llamaindex_clients.py", "llamaindex"),
        ("litellm_client.py", "litellm"),
        ("node_clients.mjs", "node"),
    ],
)
def test_answers_errors_and_headers_are_the_same(run_client, run_directly, script, client):
    through = run_client(script, client)["teacher"]
    direct = run_directly(script, client)["teacher"]
    assert _of_the_teacher(through) == _of_the_teacher(direct)


def _of_the_teacher(seen: Any) -> Any:
    """Leave out what the gateway adds: its headers, and what a student was asked beside."""
    if isinstance(seen, list):
        return [_of_the_teacher(value) for value in seen]
    if not isinstance(seen, dict):
        return seen
    return {
        name: _of_the_teacher(value)
        for name, value in seen.items()
        if name not in {"x-openwheel-source", "source", "student"}
    }

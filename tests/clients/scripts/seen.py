"""What every script shares: it runs the cases and prints what they saw.

Knows no client library, so that each script runs in its own environment.
"""

import asyncio
import inspect
import json
import sys
from collections.abc import Callable, Sequence
from typing import Any

Case = Callable[[str], Any]

HEADERS = ("x-openwheel-source", "x-request-id", "request-id", "retry-after")


def main(cases: Sequence[Case], of_student: Sequence[Case]) -> None:
    """Run the cases with two texts, and print what they saw as one JSON object.

    The command line has a text that the teacher answers, which all cases are run with, and one
    that a student answers, for the cases where one may.
    """
    of_teacher, of_a_student = sys.argv[1:]
    # One event loop for all: LangChain keeps its connections from one call to the next.
    with asyncio.Runner() as runner:

        def run(case: Case, text: str) -> Any:
            found = case(text)
            return runner.run(found) if inspect.iscoroutine(found) else found

        seen = {
            "teacher": {case.__name__: run(case, of_teacher) for case in cases},
            "student": {case.__name__: run(case, of_a_student) for case in of_student},
        }
    json.dump(seen, sys.stdout)


def headers(found: Any) -> dict[str, str]:
    """Return the headers that a user would look at, rate limits among them."""
    return {
        name: value
        for name, value in found.items()
        if name in HEADERS or name.startswith("x-ratelimit")
    }


def raised(call: Callable[[], Any], *expected: type[Exception]) -> dict[str, Any]:
    """Return what the error says that a call raises; ``{}`` if it came to a normal end."""
    try:
        call()
    except expected as error:
        response = getattr(error, "response", None)
        return {
            "classes": [kind.__name__ for kind in type(error).__mro__],
            "status": getattr(error, "status_code", None),
            "body": getattr(error, "body", None),
            "request_id": getattr(error, "request_id", None),
            "headers": headers(response.headers) if response is not None else {},
        }
    return {}

"""What TypeSafe's SDK sees, asking about texts a question of which there may be a student."""

import asyncio
import json
import sys
from typing import Any

from typesafe_sdk import (
    AsyncTypeSafeClient,
    Choice,
    Noul,
    RetryPolicy,
    Score,
    TypeSafeAPIError,
    TypeSafeClient,
)

url, queue, names = sys.argv[1], sys.argv[2], sys.argv[3].split(",")
texts = sys.argv[4:]
OPTIONS: dict[str, Any] = {
    "base_url": url,
    "api_key": "none",
    "model": "gpt-6-luna",
    "retry": RetryPolicy(max_retries=0),
}
QUEUE = Choice(instructions=queue, criteria=dict.fromkeys(names))
PAID = Noul(instructions="Is it about a payment?")
URGENT = Score(instructions="How urgent is it?", criteria=["can wait", "soon", "now"])


def seen(response: Any) -> dict[str, Any]:
    """Return what a user would look at."""
    raw = response.raw_http_response
    return {
        "answers": {name: one.model_dump() for name, one in response.answers.items()},
        "model": response.model,
        "tokens": response.usage.input_tokens,
        "source": raw.headers.get("x-openwheel-source"),
        "fallback": raw.headers.get("x-openwheel-fallback"),
        "request_id": raw.headers.get("x-typesafe-request-id"),
    }


def raised(call: Any) -> dict[str, Any]:
    """Return what the error says that a call raises."""
    try:
        call()
    except TypeSafeAPIError as error:
        return {"class": type(error).__name__, "status": error.status, "text": str(error)}
    return {}


async def at_once() -> list[dict[str, Any]]:
    """Ask about all texts at once."""
    async with AsyncTypeSafeClient(**OPTIONS) as client:
        asked = [client.system_one(state=text, questions={"queue": QUEUE}) for text in texts]
        return [seen(response) for response in await asyncio.gather(*asked)]


with TypeSafeClient(**OPTIONS) as client:

    def ask(text: Any, **questions: Any) -> dict[str, Any]:
        """Ask, and return what is seen."""
        return seen(client.system_one(state=text, questions=questions))

    found = {
        "choice": [ask(text, queue=QUEUE) for text in texts],
        "mixed": [ask(text, paid=PAID, queue=QUEUE) for text in texts],
        "forwarded": ask({"subject": "x", "body": texts[0]}, paid=PAID, urgency=URGENT),
        "compressed": ask(texts[0] + " and so on" * 500, paid=PAID),
        "refused": raised(lambda: ask("refuse this", paid=PAID)),
        "at once": asyncio.run(at_once()),
    }
json.dump(found, sys.stdout)

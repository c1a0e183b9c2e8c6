"""What the anthropic SDK sees."""

import asyncio
from typing import Any

import anthropic
import httpx2
from anthropic import Anthropic, AsyncAnthropic
from seen import headers, main, raised

TOOL = {"name": "find_parcel", "input_schema": {"type": "object", "properties": {"id": {}}}}
client = Anthropic(max_retries=0)
# A stream that is cut raises the transport's own error, as it does without a gateway.
ERRORS = (anthropic.APIError, httpx2.TransportError)


def _asked(text: str, model: str = "big") -> dict[str, Any]:
    messages = [{"role": "user", "content": text}]
    return {"model": model, "max_tokens": 64, "system": "Route.", "messages": messages}


def message(text: str) -> dict[str, Any]:
    raw = client.messages.with_raw_response.create(**_asked(text))
    found = raw.parse()
    return {
        "text": found.content[0].text,
        "stop": found.stop_reason,
        "model": found.model,
        "tokens": [found.usage.input_tokens, found.usage.output_tokens],
        "headers": headers(raw.headers),
    }


def stream(text: str) -> dict[str, Any]:
    with client.messages.create(**_asked(text), stream=True) as events:
        kinds = [event.type for event in events]
    with client.messages.stream(**_asked(text)) as helper:
        words = list(helper.text_stream)
        final = helper.get_final_message()
        seen = headers(helper.response.headers)
    return {
        "kinds": [kind for kind in kinds if kind != "ping"],
        "text": "".join(words),
        "final": final.content[0].text,
        "stop": final.stop_reason,
        "tokens": [final.usage.input_tokens, final.usage.output_tokens],
        "headers": seen,
    }


def tools(text: str) -> dict[str, Any]:
    whole = client.messages.create(**_asked(text), tools=[TOOL])
    with client.messages.stream(**_asked(text), tools=[TOOL]) as helper:
        final = helper.get_final_message()
    return {
        how: {
            "stop": found.stop_reason,
            "name": found.content[1].name,
            "input": found.content[1].input,
        }
        for how, found in (("whole", whole), ("streamed", final))
    }


def count_tokens(text: str) -> int:
    asked = _asked(text)
    del asked["max_tokens"]
    return client.messages.count_tokens(**asked).input_tokens


def models(_: str) -> list[str]:
    return [model.id for model in client.models.list()]


def keys(text: str) -> dict[str, Any]:
    by_key = Anthropic(api_key=client.auth_token, max_retries=0)
    stranger = Anthropic(auth_token="sk-unknown", max_retries=0)
    return {
        "api_key": by_key.messages.create(**_asked(text, "by-key")).content[0].text,
        "unknown": raised(lambda: stranger.messages.create(**_asked(text)), *ERRORS),
    }


def errors(text: str) -> dict[str, Any]:
    def ask(model: str, *, streamed: bool = False) -> dict[str, Any]:
        def call() -> None:
            answer = client.messages.create(**_asked(text, model), stream=streamed)
            if streamed:
                list(answer)

        return raised(call, *ERRORS)

    statuses = {str(status): ask(f"error-{status}") for status in (400, 404, 429, 500, 529)}
    return statuses | {
        "cut": ask("cut"),
        "cut stream": ask("cut", streamed=True),
        "overloaded stream": ask("overloaded", streamed=True),
    }


def retries(text: str) -> str:
    patient = Anthropic(max_retries=2)
    return patient.messages.create(**_asked(text, "retry-429")).content[0].text


async def concurrent(text: str) -> list[str]:
    async with AsyncAnthropic(max_retries=0) as found:

        async def ask() -> str:
            return (await found.messages.create(**_asked(text))).content[0].text

        async def streamed() -> str:
            async with found.messages.stream(**_asked(text)) as helper:
                return await helper.get_final_text()

        answers = await asyncio.gather(*[call() for _ in range(10) for call in (ask, streamed)])
    return sorted(set(answers))


if __name__ == "__main__":
    main(
        [message, stream, tools, count_tokens, models, keys, errors, retries, concurrent],
        of_student=[message, stream, concurrent],
    )

"""What the openai SDK sees."""

import asyncio
from typing import Any

import openai
from openai import AsyncOpenAI, OpenAI, pydantic_function_tool
from pydantic import BaseModel, Field
from seen import headers, main, raised


class Queue(BaseModel):
    queue: str


class FindParcel(BaseModel):
    id: int = Field(description="The parcel's number")


TOOL = pydantic_function_tool(FindParcel, name="find_parcel")
client = OpenAI(max_retries=0)


def _messages(text: str) -> list[dict[str, str]]:
    return [{"role": "system", "content": "Route."}, {"role": "user", "content": text}]


def chat(text: str) -> dict[str, Any]:
    raw = client.chat.completions.with_raw_response.create(model="big", messages=_messages(text))
    found = raw.parse()
    return {
        "text": found.choices[0].message.content,
        "finish": found.choices[0].finish_reason,
        "model": found.model,
        "tokens": found.usage.total_tokens,
        "headers": headers(raw.headers),
    }


def chat_stream(text: str) -> dict[str, Any]:
    seen = {}
    for name, options in (
        ("asked", {"stream_options": {"include_usage": True}}),
        ("declined", {"stream_options": {"include_usage": False}}),
        ("unasked", {}),
    ):
        raw = client.chat.completions.with_raw_response.create(
            model="big", messages=_messages(text), stream=True, **options
        )
        with raw.parse() as stream:
            chunks = list(stream)
        choices = [chunk.choices[0] for chunk in chunks if chunk.choices]
        seen[name] = {
            "text": "".join(choice.delta.content or "" for choice in choices),
            "role": choices[0].delta.role,
            "finish": choices[-1].finish_reason,
            "ids": len({chunk.id for chunk in chunks}),
            "usages": [chunk.usage.total_tokens for chunk in chunks if chunk.usage],
            "usage_last": not chunks[-1].choices,
            "headers": headers(raw.headers),
        }
    return seen


def chat_streaming_response(text: str) -> dict[str, Any]:
    with client.chat.completions.with_streaming_response.create(
        model="big", messages=_messages(text)
    ) as response:
        return {"text": response.parse().choices[0].message.content} | headers(response.headers)


def chat_parsed(text: str) -> dict[str, Any]:
    whole = client.chat.completions.parse(
        model="big", messages=_messages(text), response_format=Queue
    )
    with client.chat.completions.stream(
        model="big", messages=_messages(text), response_format=Queue
    ) as stream:
        kinds = [event.type for event in stream]
        streamed = stream.get_final_completion()
    return {
        "whole": whole.choices[0].message.parsed.queue,
        "streamed": streamed.choices[0].message.parsed.queue,
        "kinds": sorted(set(kinds)),
    }


def chat_tools(text: str) -> dict[str, Any]:
    asked = {"model": "big", "messages": _messages(text), "tools": [TOOL]}
    whole = client.chat.completions.create(**asked).choices[0]
    with client.chat.completions.stream(**asked) as stream:
        arguments = [
            event.arguments_delta
            for event in stream
            if event.type == "tool_calls.function.arguments.delta"
        ]
        streamed = stream.get_final_completion().choices[0]
    return {
        "finish": [whole.finish_reason, streamed.finish_reason],
        "names": [choice.message.tool_calls[0].function.name for choice in (whole, streamed)],
        "arguments": whole.message.tool_calls[0].function.arguments,
        "deltas": [part for part in arguments if part],
        "parsed": streamed.message.tool_calls[0].function.parsed_arguments.id,
    }


def responses(text: str) -> dict[str, Any]:
    asked = {"model": "big", "store": False}
    raw = client.responses.with_raw_response.create(**asked, input=text)
    found = raw.parse()
    as_messages = client.responses.create(**asked, input=_messages(text))
    parsed = client.responses.parse(**asked, input=text, text_format=Queue)
    # A response is kept unless the request says otherwise, and only a teacher can keep it.
    kept = client.responses.create(model="big", input=text)
    return {
        "text": found.output_text,
        "status": found.status,
        "model": found.model,
        "tokens": found.usage.total_tokens,
        "headers": headers(raw.headers),
        "as_messages": as_messages.output_text,
        "kept": kept.output_text,
        "parsed": parsed.output_parsed.queue,
    }


def responses_stream(text: str) -> dict[str, Any]:
    asked = {"model": "big", "input": text, "store": False}
    with client.responses.create(**asked, stream=True) as stream:
        events = list(stream)
    with client.responses.stream(**asked, text_format=Queue) as helper:
        for _ in helper:
            pass
        parsed = helper.get_final_response().output_parsed
    return {
        "kinds": [event.type for event in events],
        "numbers": [event.sequence_number for event in events],
        "text": "".join(e.delta for e in events if e.type == "response.output_text.delta"),
        "final": events[-1].response.output_text,
        "status": events[-1].response.status,
        "parsed": parsed.queue,
    }


def responses_tools(text: str) -> dict[str, Any]:
    tool = {"type": "function", "name": "find_parcel", "parameters": {"type": "object"}}
    asked = {"model": "big", "input": text, "tools": [tool | {"strict": False}]}
    [whole] = client.responses.create(**asked).output
    with client.responses.create(**asked, stream=True) as stream:
        events = list(stream)
    [streamed] = events[-1].response.output
    parts = [e.delta for e in events if e.type == "response.function_call_arguments.delta"]
    return {
        "names": [whole.name, streamed.name],
        "arguments": [whole.arguments, streamed.arguments, "".join(parts)],
    }


def completions(text: str) -> dict[str, Any]:
    raw = client.completions.with_raw_response.create(model="big", prompt=text)
    found = raw.parse()
    with client.completions.create(model="big", prompt=text, stream=True) as stream:
        chunks = list(stream)
    options = {"include_usage": True}
    with client.completions.create(
        model="big", prompt=text, stream=True, stream_options=options
    ) as stream:
        usages = [chunk.usage.total_tokens for chunk in stream if chunk.usage]
    return {
        "text": found.choices[0].text,
        "finish": found.choices[0].finish_reason,
        "tokens": found.usage.total_tokens,
        "headers": headers(raw.headers),
        "streamed": "".join(chunk.choices[0].text for chunk in chunks),
        "streamed_finish": chunks[-1].choices[0].finish_reason,
        "unasked": [chunk.usage for chunk in chunks if chunk.usage],
        "usages": usages,
    }


def embeddings(text: str) -> dict[str, Any]:
    def embed(**more: Any) -> list[list[float]]:
        found = client.embeddings.create(model="big-embedding", input=[text, text], **more)
        return [item.embedding for item in found.data]

    return {"default": embed(), "float": embed(encoding_format="float")}


def models(_: str) -> dict[str, Any]:
    return {
        "listed": [model.id for model in client.models.list()],
        "one": client.models.retrieve("big").id,
        "none": raised(lambda: client.models.retrieve("none"), openai.APIError)["classes"][0],
    }


def errors(text: str) -> dict[str, Any]:
    def ask(model: str, with_client: OpenAI = client, *, stream: bool = False) -> dict[str, Any]:
        def call() -> None:
            answer = with_client.chat.completions.create(
                model=model, messages=_messages(text), stream=stream
            )
            if stream:
                list(answer)

        return raised(call, openai.APIError)

    stranger = OpenAI(api_key="sk-unknown", max_retries=0)
    statuses = {str(status): ask(f"error-{status}") for status in (400, 404, 429, 500)}
    return statuses | {
        "401": ask("big", stranger),
        "429 stream": ask("error-429", stream=True),
        "cut": ask("cut"),
        "cut stream": ask("cut", stream=True),
        "overloaded stream": ask("overloaded", stream=True),
    }


def retries(text: str) -> dict[str, Any]:
    patient = OpenAI(max_retries=2)

    def ask(model: str) -> str:
        found = patient.chat.completions.create(model=model, messages=_messages(text))
        return found.choices[0].message.content

    def give_up() -> None:
        ask("error-429")

    return {
        "429": ask("retry-429"),
        "500": ask("retry-500"),
        "given up": raised(give_up, openai.APIError)["classes"][0],
    }


async def concurrent(text: str) -> dict[str, Any]:
    async with AsyncOpenAI(max_retries=0) as found:

        async def ask(asked: str) -> str:
            answer = await found.chat.completions.create(model="big", messages=_messages(asked))
            return answer.choices[0].message.content

        async def stream(asked: str) -> str:
            chunks = await found.chat.completions.create(
                model="big", messages=_messages(asked), stream=True
            )
            return "".join([chunk.choices[0].delta.content or "" async for chunk in chunks])

        def both(asked: str) -> list[Any]:
            return [ask(asked), stream(asked)]

        answers = await asyncio.gather(
            *[
                call
                for _ in range(20)
                for asked in (text, "a refund please")
                for call in both(asked)
            ]
        )
        try:
            await stream_of(found, text)
        except openai.APIError as error:
            cut = type(error).__name__
        else:
            cut = ""
    return {
        "teacher": sorted(set(answers[0::4] + answers[1::4])),
        "student": sorted(set(answers[2::4] + answers[3::4])),
        "cut": cut,
    }


async def stream_of(found: AsyncOpenAI, text: str) -> None:
    async for _ in await found.chat.completions.create(
        model="cut", messages=_messages(text), stream=True
    ):
        pass


if __name__ == "__main__":
    main(
        [
            chat,
            chat_stream,
            chat_streaming_response,
            chat_parsed,
            chat_tools,
            responses,
            responses_stream,
            responses_tools,
            completions,
            embeddings,
            models,
            errors,
            retries,
            concurrent,
        ],
        of_student=[
            chat,
            chat_stream,
            chat_streaming_response,
            chat_parsed,
            responses,
            responses_stream,
            completions,
        ],
    )

"""What LangChain's ChatOpenAI, OpenAIEmbeddings and ChatAnthropic see."""

import asyncio
import os
from typing import Any

from langchain_anthropic import ChatAnthropic
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAI, OpenAIEmbeddings
from pydantic import BaseModel
from seen import main, raised


class Queue(BaseModel):
    """Where a message goes."""

    queue: str


@tool
def find_parcel(id: int) -> str:
    """Find a parcel."""
    return str(id)


def _chat(**more: Any) -> ChatOpenAI:
    return ChatOpenAI(model="big", max_retries=0, **more)


def _claude() -> ChatAnthropic:
    # ChatAnthropic reads a key from the environment, never a token.
    return ChatAnthropic(
        model="big", max_tokens=64, max_retries=0, api_key=os.environ["ANTHROPIC_AUTH_TOKEN"]
    )


def chat(text: str) -> dict[str, Any]:
    found = _chat(include_response_headers=True).invoke(text)
    chunks = list(_chat(stream_usage=True).stream(text))
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole += chunk
    return {
        "text": found.content,
        "tokens": found.usage_metadata["total_tokens"],
        "source": found.response_metadata["headers"].get("x-openwheel-source"),
        "streamed": whole.content,
        "streamed_finish": whole.response_metadata["finish_reason"],
        "streamed_tokens": whole.usage_metadata["total_tokens"],
    }


def structured(text: str) -> dict[str, Any]:
    return {"json_schema": _chat().with_structured_output(Queue).invoke(text).queue}


def tools(text: str) -> dict[str, Any]:
    bound = _chat().bind_tools([find_parcel])
    chunks = list(bound.stream(text))
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole += chunk
    return {
        name: [[call["name"], call["args"]] for call in found.tool_calls]
        for name, found in (("whole", bound.invoke(text)), ("streamed", whole))
    }


async def asynchronous(text: str) -> list[str]:
    model = _chat()

    async def streamed() -> str:
        return "".join([chunk.content async for chunk in model.astream(text)])

    found = await asyncio.gather(model.ainvoke(text), streamed())
    return [found[0].content, found[1]]


def responses(text: str) -> dict[str, Any]:
    model = _chat(use_responses_api=True, store=False)
    return {
        "text": model.invoke(text).text,
        "streamed": "".join(chunk.text for chunk in model.stream(text)),
    }


def completions(text: str) -> dict[str, Any]:
    model = OpenAI(model="big", max_retries=0)
    return {"text": model.invoke(text), "streamed": "".join(model.stream(text))}


def embeddings(text: str) -> list[list[float]]:
    # The length check fetches a tokenizer from the internet.
    model = OpenAIEmbeddings(model="big-embedding", check_embedding_ctx_length=False)
    return model.embed_documents([text, text])


def errors(text: str) -> dict[str, str]:
    import openai

    def ask(model: str) -> str:
        def call() -> None:
            list(ChatOpenAI(model=model, max_retries=0).stream(text))

        return raised(call, openai.APIError)["classes"][0]

    return {model: ask(model) for model in ("error-429", "cut")}


def claude(text: str) -> dict[str, Any]:
    found = _claude().invoke(text)
    return {
        "text": found.content,
        "tokens": found.usage_metadata["total_tokens"],
        "streamed": "".join(chunk.text for chunk in _claude().stream(text)),
    }


def claude_tools(text: str) -> list[Any]:
    found = _claude().bind_tools([find_parcel]).invoke(text)
    return [[call["name"], call["args"]] for call in found.tool_calls]


if __name__ == "__main__":
    main(
        [
            chat,
            structured,
            tools,
            asynchronous,
            responses,
            completions,
            embeddings,
            errors,
            claude,
            claude_tools,
        ],
        of_student=[chat, structured, asynchronous, responses, completions, claude],
    )

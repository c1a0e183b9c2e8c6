"""What LlamaIndex's OpenAILike and OpenAIEmbedding see."""

import asyncio
import os
from typing import Any

import httpx
import openai
from llama_index.core.llms import ChatMessage
from llama_index.core.tools import FunctionTool
from llama_index.embeddings.openai import OpenAIEmbedding
from llama_index.llms.openai_like import OpenAILike
from seen import main, raised

BASE = os.environ["OPENAI_BASE_URL"]


def _llm(model: str = "big", *, is_chat_model: bool) -> OpenAILike:
    # It looks at OPENAI_API_BASE only, not at the SDK's OPENAI_BASE_URL.
    return OpenAILike(
        model=model,
        api_base=BASE,
        is_chat_model=is_chat_model,
        is_function_calling_model=is_chat_model,
        max_retries=0,
    )


def _messages(text: str) -> list[ChatMessage]:
    return [ChatMessage(role="system", content="Route."), ChatMessage(role="user", content=text)]


def chat(text: str) -> dict[str, Any]:
    llm = _llm(is_chat_model=True)
    return {
        "text": llm.chat(_messages(text)).message.content,
        "streamed": "".join(part.delta for part in llm.stream_chat(_messages(text))),
        "complete": llm.complete(text).text,
        "stream_complete": "".join(part.delta for part in llm.stream_complete(text)),
    }


def tools(text: str) -> dict[str, Any]:
    def find_parcel(id: int) -> str:
        """Find a parcel."""
        return str(id)

    llm = _llm(is_chat_model=True)
    found = llm.chat_with_tools([FunctionTool.from_defaults(find_parcel)], user_msg=text)
    [call] = llm.get_tool_calls_from_response(found)
    return {"name": call.tool_name, "arguments": call.tool_kwargs}


async def asynchronous(text: str) -> list[str]:
    llm = _llm(is_chat_model=True)

    async def streamed() -> str:
        parts = await llm.astream_chat(_messages(text))
        return "".join([part.delta async for part in parts])

    found = await asyncio.gather(llm.achat(_messages(text)), streamed())
    return [found[0].message.content, found[1]]


def completions(text: str) -> dict[str, Any]:
    llm = _llm(is_chat_model=False)
    return {
        "text": llm.complete(text).text,
        "streamed": "".join(part.delta for part in llm.stream_complete(text)),
        "chat": llm.chat(_messages(text)).message.content,
    }


def embeddings(text: str) -> list[list[float]]:
    model = OpenAIEmbedding(model_name="big-embedding", api_base=BASE, max_retries=0)
    return model.get_text_embedding_batch([text, text])


def errors(text: str) -> dict[str, str]:
    # With openai 2 a stream that is cut raises the transport's own error.
    def ask(model: str) -> str:
        def call() -> None:
            list(_llm(model, is_chat_model=True).stream_chat(_messages(text)))

        return raised(call, openai.APIError, httpx.TransportError)["classes"][0]

    return {model: ask(model) for model in ("error-400", "cut")}


if __name__ == "__main__":
    main(
        [chat, tools, asynchronous, completions, embeddings, errors],
        of_student=[chat, asynchronous, completions],
    )

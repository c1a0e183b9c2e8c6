"""What LiteLLM sees, used as a library with the gateway as its endpoint."""

import os
from typing import Any

import litellm
import openai
from seen import main, raised

# It prints advice on standard output otherwise.
litellm.suppress_debug_info = True
BASE = {"api_base": os.environ["OPENAI_BASE_URL"], "api_key": os.environ["OPENAI_API_KEY"]}
TOOL = {"type": "function", "function": {"name": "find_parcel", "parameters": {"type": "object"}}}


def _ask(text: str, model: str = "big", **more: Any) -> Any:
    messages = [{"role": "system", "content": "Route."}, {"role": "user", "content": text}]
    return litellm.completion(f"openai/{model}", messages, max_retries=0, **BASE, **more)


def chat(text: str) -> dict[str, Any]:
    whole = _ask(text)
    chunks = list(_ask(text, stream=True, stream_options={"include_usage": True}))
    choices = [chunk.choices[0] for chunk in chunks if chunk.choices]
    return {
        "text": whole.choices[0].message.content,
        "tokens": whole.usage.total_tokens,
        "source": whole._hidden_params["additional_headers"].get("llm_provider-x-openwheel-source"),
        "streamed": "".join(choice.delta.content or "" for choice in choices),
        "finish": [choice.finish_reason for choice in choices if choice.finish_reason],
        "usages": [chunk.usage.total_tokens for chunk in chunks if getattr(chunk, "usage", None)],
    }


def tools(text: str) -> dict[str, Any]:
    whole = _ask(text, tools=[TOOL]).choices[0].message.tool_calls[0].function
    streamed = litellm.stream_chunk_builder(list(_ask(text, tools=[TOOL], stream=True)))
    call = streamed.choices[0].message.tool_calls[0].function
    return {"whole": [whole.name, whole.arguments], "streamed": [call.name, call.arguments]}


async def asynchronous(text: str) -> str:
    messages = [{"role": "user", "content": text}]
    found = await litellm.acompletion("openai/big", messages, max_retries=0, **BASE)
    return found.choices[0].message.content


def responses(text: str) -> dict[str, Any]:
    asked = {"model": "openai/big", "input": text, "store": False, **BASE}
    whole = litellm.responses(**asked)
    events = list(litellm.responses(**asked, stream=True))
    return {
        "text": whole.output_text,
        "last": str(events[-1].type.value),
        "streamed": "".join(
            event.delta for event in events if event.type == "response.output_text.delta"
        ),
    }


def completions(text: str) -> dict[str, Any]:
    chunks = litellm.text_completion(
        model="text-completion-openai/big", prompt=text, stream=True, **BASE
    )
    whole = litellm.text_completion(model="text-completion-openai/big", prompt=text, **BASE)
    return {
        "text": whole.choices[0].text,
        "streamed": "".join(chunk.choices[0].text or "" for chunk in chunks),
    }


def messages(text: str) -> str:
    found = litellm.completion(
        "anthropic/big",
        [{"role": "user", "content": text}],
        api_base=os.environ["ANTHROPIC_BASE_URL"],
        api_key=BASE["api_key"],
        max_retries=0,
    )
    return found.choices[0].message.content


def embeddings(text: str) -> list[list[float]]:
    found = litellm.embedding("openai/big-embedding", input=[text, text], **BASE)
    return [item["embedding"] for item in found.data]


def errors(text: str) -> dict[str, Any]:
    def ask(model: str, *, stream: bool = False) -> dict[str, Any]:
        def call() -> None:
            answer = _ask(text, model, stream=stream)
            if stream:
                list(answer)

        found = raised(call, openai.APIError)
        return {"class": found["classes"][0], "status": found["status"]}

    return {
        "429": ask("error-429"),
        "400": ask("error-400"),
        "cut stream": ask("cut", stream=True),
    }


if __name__ == "__main__":
    main(
        [chat, tools, asynchronous, responses, completions, messages, embeddings, errors],
        of_student=[chat, asynchronous, responses, completions, messages],
    )

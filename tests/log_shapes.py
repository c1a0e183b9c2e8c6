"""One exchange as each tool logs it, for tests: made up after the tools' documents."""

import json
from typing import Any, NamedTuple

SYSTEM = "Name the queue of a ticket: pumps, valves or motors."
USER = "Pump 3 leaks at the seal"
ANSWER = "pumps"
MODEL = "big-1"
TIME = 1_790_000_000.0
ISO = "2026-09-21T14:13:20Z"
MESSAGES = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": USER}]
SAID = {"role": "assistant", "content": ANSWER}
CHAT = {"model": MODEL, "messages": MESSAGES, "temperature": 0}
COMPLETION = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": int(TIME),
    "model": MODEL,
    "choices": [{"index": 0, "message": SAID, "finish_reason": "stop", "logprobs": None}],
    "usage": {"prompt_tokens": 20, "completion_tokens": 1, "total_tokens": 21},
}
ANTHROPIC = {
    "model": MODEL,
    "max_tokens": 20,
    "temperature": 0,
    "system": SYSTEM,
    "messages": [{"role": "user", "content": USER}],
}
MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": MODEL,
    "content": [{"type": "text", "text": ANSWER}],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 20, "output_tokens": 1},
}
RESPONSES = {"model": MODEL, "instructions": SYSTEM, "input": USER, "store": False}
RESPONSE = {
    "id": "resp_1",
    "object": "response",
    "created_at": int(TIME),
    "status": "completed",
    "model": MODEL,
    "output": [
        {"type": "reasoning", "summary": []},
        {
            "type": "message",
            "role": "assistant",
            "content": [{"type": "output_text", "text": ANSWER, "annotations": []}],
        },
    ],
    "usage": {"input_tokens": 20, "output_tokens": 1},
}
PROMPT = {"model": MODEL, "prompt": f"{SYSTEM}\nTicket: {USER}\nQueue:", "max_tokens": 3}
TEXT_COMPLETION = {
    "id": "cmpl-1",
    "object": "text_completion",
    "model": MODEL,
    "choices": [{"index": 0, "text": ANSWER, "finish_reason": "stop"}],
}
GEMINI = {
    "model": MODEL,
    "systemInstruction": {"parts": [{"text": SYSTEM}]},
    "contents": [{"role": "user", "parts": [{"text": USER}]}],
    "generationConfig": {"temperature": 0},
}
CANDIDATES = {
    "candidates": [
        {"content": {"role": "model", "parts": [{"text": ANSWER}]}, "finishReason": "STOP"}
    ],
    "usageMetadata": {"promptTokenCount": 20, "candidatesTokenCount": 1},
    "modelVersion": MODEL,
}
CONVERSE = {
    "system": [{"text": SYSTEM}],
    "messages": [{"role": "user", "content": [{"text": USER}]}],
    "inferenceConfig": {"temperature": 0},
}
LC_MESSAGES = [
    {
        "lc": 1,
        "type": "constructor",
        "id": ["langchain", "schema", "messages", f"{kind}Message"],
        "kwargs": {"content": content, "type": kind.lower()},
    }
    for kind, content in (("System", SYSTEM), ("Human", USER))
]
LC_ANSWER = {
    "lc": 1,
    "type": "constructor",
    "id": ["langchain", "schema", "messages", "AIMessage"],
    "kwargs": {"content": ANSWER, "response_metadata": {"finish_reason": "stop"}},
}


class Shape(NamedTuple):
    """A record of a tool.

    Attributes:
        name: The format's name, as it is printed.
        record: The record.
        wire: The request on the wire that it is of; None where the tool does not log enough of
            it for it to be the same.
        timed: Whether it has the time.
    """

    name: str
    record: dict[str, Any]
    wire: dict[str, Any] | None = CHAT
    timed: bool = True


def chunks(*deltas: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a chat completion's stream."""
    found = [{"choices": [{"index": 0, "delta": d, "finish_reason": None}]} for d in deltas]
    return [*found, {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}]


def sse(items: list[dict[str, Any]], *, names: bool = False) -> str:
    """Return a stream as it was sent."""
    return "".join(
        (f"event: {item['type']}\n" if names else "") + f"data: {json.dumps(item)}\n\n"
        for item in items
    ) + ("" if names else "data: [DONE]\n\n")


MESSAGE_EVENTS = [
    {"type": "message_start", "message": {**MESSAGE, "content": [], "stop_reason": None}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "pu"}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "mps"}},
    {"type": "content_block_stop", "index": 0},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 1}},
    {"type": "message_stop"},
]
PIECES = chunks({"role": "assistant", "content": ""}, {"content": "pu"}, {"content": "mps"})
MODEL_ONLY = {"model": MODEL, "messages": MESSAGES}
BARE = {"messages": MESSAGES}


def otlp(attributes: dict[str, Any]) -> dict[str, Any]:
    """Return a span in OTLP's JSON."""
    listed = [{"key": key, "value": {"stringValue": value}} for key, value in attributes.items()]
    span = {"name": "chat", "startTimeUnixNano": f"{int(TIME)}000000000", "attributes": listed}
    return {"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}


GEN_AI = {
    "gen_ai.operation.name": "chat",
    "gen_ai.request.model": MODEL,
    "gen_ai.system_instructions": json.dumps([{"type": "text", "content": SYSTEM}]),
    "gen_ai.input.messages": json.dumps(
        [{"role": "user", "parts": [{"type": "text", "content": USER}]}]
    ),
    "gen_ai.output.messages": json.dumps(
        [
            {
                "role": "assistant",
                "parts": [{"type": "text", "content": ANSWER}],
                "finish_reason": "stop",
            }
        ]
    ),
}
LLMETRY = {
    "gen_ai.system": "openai",
    "gen_ai.request.model": MODEL,
    "gen_ai.request.temperature": 0,
    "llm.request.type": "chat",
    "gen_ai.prompt.0.role": "system",
    "gen_ai.prompt.0.content": SYSTEM,
    "gen_ai.prompt.1.role": "user",
    "gen_ai.prompt.1.content": USER,
    "gen_ai.completion.0.role": "assistant",
    "gen_ai.completion.0.content": ANSWER,
    "gen_ai.completion.0.finish_reason": "stop",
    "gen_ai.usage.prompt_tokens": 20,
    "gen_ai.usage.completion_tokens": 1,
}
INFERENCE = {
    "openinference.span.kind": "LLM",
    "llm.model_name": MODEL,
    "llm.invocation_parameters": '{"temperature": 0}',
    "llm.input_messages.0.message.role": "system",
    "llm.input_messages.0.message.content": SYSTEM,
    "llm.input_messages.1.message.role": "user",
    "llm.input_messages.1.message.contents.0.message_content.type": "text",
    "llm.input_messages.1.message.contents.0.message_content.text": USER,
    "llm.output_messages.0.message.role": "assistant",
    "llm.output_messages.0.message.content": ANSWER,
}
NESTED_INFERENCE = {
    "openinference": {"span": {"kind": "LLM"}},
    "llm": {
        "model_name": MODEL,
        "input_messages": [{"message": m} for m in MESSAGES],
        "output_messages": [{"message.role": "assistant", "message.content": ANSWER}],
    },
}
VERCEL = {
    "ai.operationId": "ai.generateText.doGenerate",
    "ai.model.id": MODEL,
    "ai.prompt.messages": json.dumps(
        [MESSAGES[0], {"role": "user", "content": [{"type": "text", "text": USER}]}]
    ),
    "ai.response.text": ANSWER,
    "ai.response.finishReason": "stop",
    "gen_ai.request.model": MODEL,
    "gen_ai.request.temperature": 0,
}

SHAPES = [
    Shape("chat completions", {"time": TIME, "request": CHAT, "response": COMPLETION}),
    Shape("chat completions", {"ts": ISO, "request": str(CHAT), "response": str(COMPLETION)}),
    Shape("chat completions", {"time": ISO, "request": CHAT, "response": PIECES}),
    Shape("chat completions", {"time": ISO, "request": CHAT, "response": sse(PIECES)}),
    Shape(
        "Anthropic messages", {"time": ISO, "request": ANTHROPIC, "response": MESSAGE}, ANTHROPIC
    ),
    Shape(
        "Anthropic messages",
        {"time": ISO, "request": ANTHROPIC, "response": sse(MESSAGE_EVENTS, names=True)},
        ANTHROPIC,
    ),
    Shape(
        "Anthropic messages",
        {"time": ISO, "endpoint": "/v1/messages", "request": ANTHROPIC, "response": ANSWER},
        ANTHROPIC,
    ),
    Shape("Responses", {"request": RESPONSES, "response": RESPONSE}, RESPONSES),
    Shape("completions", {"time": TIME, "request": PROMPT, "response": TEXT_COMPLETION}, PROMPT),
    Shape("Gemini", {"time": TIME, "request": GEMINI, "response": CANDIDATES}),
    Shape(
        "Gemini",
        {
            "time": TIME,
            "request": GEMINI,
            "response": [
                {"candidates": [{"content": {"parts": [{"text": "pu"}]}}]},
                {"candidates": [{"content": {"parts": [{"text": "mps"}]}, "finishReason": "STOP"}]},
            ],
        },
    ),
    Shape("Vertex AI", {"logging_time": ISO, "full_request": GEMINI, "full_response": CANDIDATES}),
    Shape(
        "Ollama",
        {
            "request": {**MODEL_ONLY, "stream": False, "options": {"temperature": 0}},
            "response": {
                "model": MODEL,
                "created_at": ISO,
                "message": SAID,
                "done": True,
                "done_reason": "stop",
                "prompt_eval_count": 20,
                "eval_count": 1,
            },
        },
    ),
    Shape(
        "Ollama",
        {
            "time": ISO,
            "request": {"model": MODEL, "system": SYSTEM, "prompt": USER},
            "response": {"model": MODEL, "response": ANSWER, "done": True, "context": [1, 2]},
        },
        MODEL_ONLY,
    ),
    Shape(
        "OpenAI stored completions",
        {**COMPLETION, "input_messages": MESSAGES, "temperature": 0, "metadata": {}},
    ),
    Shape(
        "batches",
        {
            "custom_id": "1",
            "url": "/v1/chat/completions",
            "body": CHAT,
            "response": {"status_code": 200, "body": COMPLETION},
            "error": None,
        },
    ),
    Shape(
        "batches",
        {
            "custom_id": "1",
            "params": ANTHROPIC,
            "result": {"type": "succeeded", "message": MESSAGE},
        },
        ANTHROPIC,
        timed=False,
    ),
    Shape(
        "OpenAI preferences",
        {
            "input": {"messages": MESSAGES, "tools": []},
            "preferred_output": [SAID],
            "non_preferred_output": [{"role": "assistant", "content": "?"}],
        },
        BARE,
        timed=False,
    ),
    Shape(
        "preferences",
        {"prompt": MESSAGES, "chosen": [SAID], "rejected": [{**SAID, "content": "?"}]},
        BARE,
        timed=False,
    ),
    Shape(
        "preferences",
        {"chosen": [*MESSAGES, SAID], "rejected": [*MESSAGES, {**SAID, "content": "?"}]},
        BARE,
        timed=False,
    ),
    Shape("KTO", {"prompt": MESSAGES, "completion": [SAID], "label": True}, BARE, timed=False),
    Shape(
        "conversations",
        {
            "conversations": [
                {"from": "human", "value": USER},
                {"from": "gpt", "value": ANSWER},
            ],
            "system": SYSTEM,
        },
        BARE,
        timed=False,
    ),
    Shape("chats", {"messages": [*MESSAGES, SAID]}, BARE, timed=False),
    Shape("chats", {"time": TIME, **CHAT, "response": COMPLETION}),
    Shape(
        "chats",
        {
            "time": TIME,
            "model": MODEL,
            "model_parameters": {"temperature": 0},
            "messages": MESSAGES,
            "output": ANSWER,
        },
    ),
    Shape(
        "chat templates",
        {
            "text": f"<|im_start|>system\n{SYSTEM}<|im_end|>\n<|im_start|>user\n{USER}<|im_end|>\n"
            f"<|im_start|>assistant\n{ANSWER}<|im_end|>\n"
        },
        BARE,
        timed=False,
    ),
    Shape(
        "chat templates",
        {
            "text": "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\n"
            f"{SYSTEM}<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n{USER}<|eot_id|>"
            f"<|start_header_id|>assistant<|end_header_id|>\n\n{ANSWER}<|eot_id|>"
        },
        BARE,
        timed=False,
    ),
    Shape(
        "chat templates",
        {"text": f"<s>[INST] <<SYS>>\n{SYSTEM}\n<</SYS>>\n\n{USER} [/INST] {ANSWER} </s>"},
        BARE,
        timed=False,
    ),
    Shape("pairs", {"prompt": MESSAGES, "completion": [SAID]}, BARE, timed=False),
    Shape("pairs", {"instruction": SYSTEM, "input": USER, "output": ANSWER}, BARE, timed=False),
    Shape("pairs", {"system": SYSTEM, "Question": USER, "Answer": ANSWER}, BARE, timed=False),
    Shape(
        "LiteLLM",
        {
            "id": "1",
            "call_type": "acompletion",
            "status": "success",
            "model": MODEL,
            "model_group": "big",
            "startTime": TIME,
            "endTime": TIME + 1,
            "messages": MESSAGES,
            "model_parameters": {"temperature": 0},
            "response": COMPLETION,
            "error_str": None,
            "metadata": {},
        },
    ),
    Shape(
        "LiteLLM",
        {
            "request_id": "1",
            "call_type": "acompletion",
            "spend": 0.1,
            "startTime": ISO,
            "model": "openai/big-1",
            "messages": "{}",
            "response": json.dumps(COMPLETION),
            "proxy_server_request": json.dumps(CHAT),
            "metadata": '{"status": "success"}',
        },
    ),
    Shape(
        "Langfuse",
        {
            "id": "o1",
            "type": "GENERATION",
            "startTime": ISO,
            "model": MODEL,
            "modelParameters": {"temperature": "0", "top_p": 1, "max_tokens": "Infinity"},
            "input": {"messages": MESSAGES},
            "output": SAID,
            "level": "DEFAULT",
        },
    ),
    Shape(
        "Helicone",
        {
            "request_id": "1",
            "request_created_at": ISO,
            "request_body": CHAT,
            "request_path": "https://api.example.com/v1/chat/completions",
            "response_body": COMPLETION,
            "response_status": 200,
            "delay_ms": 800,
        },
    ),
    Shape(
        "LangSmith",
        {
            "id": "1",
            "run_type": "llm",
            "start_time": ISO,
            "inputs": {"messages": [LC_MESSAGES]},
            "outputs": {"generations": [[{"text": ANSWER, "message": LC_ANSWER}]]},
            "extra": {
                "invocation_params": {"model": MODEL, "temperature": 0, "stop": None},
                "metadata": {"ls_model_name": MODEL},
            },
            "error": None,
        },
    ),
    Shape(
        "LangSmith",
        {
            "run_type": "llm",
            "start_time": ISO,
            "inputs": {**CHAT},
            "outputs": COMPLETION,
            "status": "success",
        },
    ),
    Shape(
        "Braintrust",
        {
            "span_id": "1",
            "created": ISO,
            "input": MESSAGES,
            "output": COMPLETION["choices"],
            "metadata": {"model": MODEL, "temperature": 0},
            "metrics": {"prompt_tokens": 20, "completion_tokens": 1},
            "span_attributes": {"type": "llm", "name": "Chat Completion"},
        },
    ),
    Shape(
        "TensorZero",
        {
            "id": "1",
            "function_name": "queue",
            "variant_name": MODEL,
            "timestamp": ISO,
            "input": {
                "system": SYSTEM,
                "messages": [{"role": "user", "content": [{"type": "text", "text": USER}]}],
            },
            "output": [{"type": "text", "text": ANSWER}],
            "inference_params": {"chat_completion": {"temperature": 0}},
        },
        None,
    ),
    Shape(
        "Portkey",
        {
            "id": "1",
            "created_at": ISO,
            "request": CHAT,
            "response": COMPLETION,
            "ai_model": MODEL,
            "response_status_code": 200,
        },
    ),
    Shape(
        "OpenPipe",
        {"requestedAt": ISO, "reqPayload": CHAT, "respPayload": COMPLETION, "statusCode": 200},
    ),
    Shape(
        "Azure API Management",
        {
            "TimeGenerated": ISO,
            "BackendRequestBody": json.dumps(CHAT),
            "BackendResponseBody": json.dumps(COMPLETION),
            "BackendResponseCode": 200,
        },
    ),
    Shape(
        "Amazon Bedrock",
        {
            "schemaType": "ModelInvocationLog",
            "timestamp": ISO,
            "operation": "Converse",
            "modelId": MODEL,
            "input": {"inputContentType": "application/json", "inputBodyJson": CONVERSE},
            "output": {
                "outputBodyJson": {
                    "output": {"message": {"role": "assistant", "content": [{"text": ANSWER}]}},
                    "stopReason": "end_turn",
                    "usage": {"inputTokens": 20, "outputTokens": 1},
                }
            },
        },
    ),
    Shape(
        "Amazon Bedrock",
        {
            "schemaType": "ModelInvocationLog",
            "timestamp": ISO,
            "operation": "ConverseStream",
            "modelId": MODEL,
            "input": {"inputBodyJson": CONVERSE},
            "output": {
                "outputBodyJson": [
                    {"messageStart": {"role": "assistant"}},
                    {"contentBlockDelta": {"delta": {"text": "pu"}, "contentBlockIndex": 0}},
                    {"contentBlockDelta": {"delta": {"text": "mps"}, "contentBlockIndex": 0}},
                    {"messageStop": {"stopReason": "end_turn"}},
                ]
            },
        },
    ),
    Shape(
        "Amazon Bedrock",
        {
            "schemaType": "ModelInvocationLog",
            "timestamp": ISO,
            "operation": "InvokeModel",
            "modelId": MODEL,
            "input": {
                "inputBodyJson": {
                    "anthropic_version": "bedrock-2023-05-31",
                    "max_tokens": 20,
                    "system": SYSTEM,
                    "messages": [{"role": "user", "content": USER}],
                }
            },
            "output": {"outputBodyJson": MESSAGE},
        },
        None,
    ),
    Shape(
        "Weave",
        {
            "op_name": "weave:///x/op/openai.chat.completions.create:1",
            "started_at": ISO,
            "inputs": {"self": "<openai>", **CHAT},
            "output": COMPLETION,
            "exception": None,
        },
    ),
    Shape(
        "Datadog",
        {
            "name": "llm",
            "start_ns": 1,
            "timestamp": ISO,
            "status": "ok",
            "meta": {
                "kind": "llm",
                "input": {"messages": MESSAGES},
                "output": {"messages": [{"role": "", "content": ANSWER}]},
                "metadata": {"temperature": 0},
                "model_name": MODEL,
            },
        },
    ),
    Shape("OpenTelemetry", otlp(GEN_AI), MODEL_ONLY),
    Shape("OpenTelemetry", {"start_time": ISO, "attributes": GEN_AI}, MODEL_ONLY),
    Shape(
        "OpenTelemetry",
        {
            "start_time": ISO,
            "attributes": {"gen_ai.request.model": MODEL, "gen_ai.operation.name": "chat"},
            "events": [
                {"name": "gen_ai.system.message", "attributes": {"content": SYSTEM}},
                {"name": "gen_ai.user.message", "attributes": {"content": USER}},
                {
                    "name": "gen_ai.choice",
                    "attributes": {"message": json.dumps(SAID), "finish_reason": "stop"},
                },
            ],
        },
        MODEL_ONLY,
    ),
    Shape("OpenLLMetry", {"start_time": ISO, "attributes": LLMETRY}),
    Shape("OpenLLMetry", {"Timestamp": ISO, "SpanAttributes": LLMETRY}),
    Shape("OpenInference", {"span_kind": "LLM", "start_time": ISO, "attributes": INFERENCE}),
    Shape("OpenInference", {"start_time": ISO, "attributes": NESTED_INFERENCE}, MODEL_ONLY),
    Shape(
        "OpenInference",
        {
            "start_time": ISO,
            "attributes.openinference.span.kind": "LLM",
            "attributes.llm.model_name": MODEL,
            "attributes.llm.input_messages": [
                {"message.role": m["role"], "message.content": m["content"]} for m in MESSAGES
            ],
            "attributes.llm.output_messages": [
                {"message.role": "assistant", "message.content": ANSWER}
            ],
        },
        MODEL_ONLY,
    ),
    Shape("Vercel AI SDK", {"startTime": ISO, "attributes": VERCEL}),
]

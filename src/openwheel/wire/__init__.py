"""The public wire formats as typed structs, and the canonical form of a request and an answer.

Knows nothing of storage or models.
"""

from openwheel.wire.answer import Answer, ToolCall, Usage
from openwheel.wire.chat import (
    assemble_stream,
    completion_body,
    completion_stream,
    read_completion,
)
from openwheel.wire.prompt import ChatRequest, Prompt, PromptMessage, read_request

__all__ = [
    "Answer",
    "ChatRequest",
    "Prompt",
    "PromptMessage",
    "ToolCall",
    "Usage",
    "assemble_stream",
    "completion_body",
    "completion_stream",
    "read_completion",
    "read_request",
]

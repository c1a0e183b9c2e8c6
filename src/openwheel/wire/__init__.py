"""The public wire formats as typed structs, and the canonical form of a request and an answer.

Knows nothing of storage or models.
"""

from openwheel.wire.answer import (
    Answer,
    Probabilities,
    Reply,
    ToolCall,
    Usage,
    ended,
    split_reasoning,
)
from openwheel.wire.api import Api, ApiName, Questions
from openwheel.wire.apis import APIS, DECISION_APIS, TEXT_APIS
from openwheel.wire.chat import (
    read_fingerprint,
    read_reply,
    read_reply_stream,
)
from openwheel.wire.error import error_body
from openwheel.wire.ids import bare_id, ordered_id, random_id, read_reply_id, usable_id
from openwheel.wire.prompt import ChatRequest, Prompt, read_request
from openwheel.wire.question import Question, question_in
from openwheel.wire.request import Request, without_stream
from openwheel.wire.sse import sse_data
from openwheel.wire.tools import PromptMessage, called_last, read_tools, shared_tools
from openwheel.wire.usage import read_any_usage

__all__ = [
    "APIS",
    "DECISION_APIS",
    "TEXT_APIS",
    "Answer",
    "Api",
    "ApiName",
    "ChatRequest",
    "Probabilities",
    "Prompt",
    "PromptMessage",
    "Question",
    "Questions",
    "Reply",
    "Request",
    "ToolCall",
    "Usage",
    "bare_id",
    "called_last",
    "ended",
    "error_body",
    "ordered_id",
    "question_in",
    "random_id",
    "read_any_usage",
    "read_fingerprint",
    "read_reply",
    "read_reply_id",
    "read_reply_stream",
    "read_request",
    "read_tools",
    "shared_tools",
    "split_reasoning",
    "sse_data",
    "usable_id",
    "without_stream",
]

"""The APIs that students may answer, by name."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from openwheel.wire.api import Api
from openwheel.wire.chat_api import ChatApi
from openwheel.wire.completions import CompletionsApi
from openwheel.wire.messages_api import MessagesApi
from openwheel.wire.responses_api import ResponsesApi

_APIS: tuple[Api, ...] = (ChatApi(), ResponsesApi(), CompletionsApi(), MessagesApi())
APIS: Final[Mapping[str, Api]] = MappingProxyType({api.name: api for api in _APIS})

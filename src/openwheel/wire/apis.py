"""The APIs that students may answer, by name."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from openwheel.wire.api import Api
from openwheel.wire.chat import CHAT
from openwheel.wire.completions import COMPLETIONS
from openwheel.wire.messages import MESSAGES
from openwheel.wire.responses import RESPONSES

APIS: Final[Mapping[str, Api]] = MappingProxyType(
    {api.name: api for api in (CHAT, RESPONSES, COMPLETIONS, MESSAGES)}
)

"""The APIs that students may answer."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from openwheel.wire.api import Api
from openwheel.wire.chat import CHAT
from openwheel.wire.completions import COMPLETIONS
from openwheel.wire.decisions import DECISIONS
from openwheel.wire.messages import MESSAGES
from openwheel.wire.responses import RESPONSES
from openwheel.wire.systemone import SYSTEM_ONE

TEXT_APIS: Final[Mapping[str, Api]] = MappingProxyType(
    {api.name: api for api in (CHAT, RESPONSES, COMPLETIONS, MESSAGES)}
)
"""Those whose answers are texts, streamed or not, by name."""

DECISION_APIS: Final[Mapping[str, Api]] = MappingProxyType(
    {api.name: api for api in (DECISIONS, SYSTEM_ONE)}
)
"""Those whose answers are decisions on typed questions, by name."""

APIS: Final[Mapping[str, Api]] = MappingProxyType({**TEXT_APIS, **DECISION_APIS})
"""All, by name."""

"""The APIs that students may answer, by name."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from openwheel.wire.api import Api
from openwheel.wire.chat_api import ChatApi

APIS: Final[Mapping[str, Api]] = MappingProxyType({api.name: api for api in (ChatApi(),)})

"""Lists the formats of logs, a file each; `FORMATS` has the order in which they are tried.

A new format is a file here, its line in `FORMATS`, and a test. It knows nothing of files and of
where exchanges go.
"""

from typing import Final

from openwheel.importing.formats.bedrock import BEDROCK
from openwheel.importing.formats.bodies import BODIES
from openwheel.importing.formats.braintrust import BRAINTRUST
from openwheel.importing.formats.conversations import CHATS, CONVERSATIONS, MARKED
from openwheel.importing.formats.datadog import DATADOG
from openwheel.importing.formats.format import Entry, Format, Keys
from openwheel.importing.formats.langfuse import LANGFUSE
from openwheel.importing.formats.langsmith import LANGSMITH
from openwheel.importing.formats.litellm import LITELLM
from openwheel.importing.formats.openai import BATCH, STORED
from openwheel.importing.formats.pairs import EXCHANGES, PAIRS
from openwheel.importing.formats.preferences import PREFERENCES
from openwheel.importing.formats.spans import SPANS
from openwheel.importing.formats.tensorzero import TENSORZERO
from openwheel.importing.formats.weave import WEAVE

FORMATS: Final = (
    LITELLM,
    STORED,
    BATCH,
    *BODIES,
    LANGFUSE,
    TENSORZERO,
    BRAINTRUST,
    WEAVE,
    LANGSMITH,
    DATADOG,
    BEDROCK,
    SPANS,
    *PREFERENCES,
    CONVERSATIONS,
    CHATS,
    EXCHANGES,
    MARKED,
    PAIRS,
)

__all__ = ["FORMATS", "Entry", "Format", "Keys"]

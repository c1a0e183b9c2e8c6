"""The table of the APIs' paths, for the gateway's endpoints and for choosing a teacher.

Forwarded requests carry the operator's key, so a path outside the table is not forwarded. Sources:
the API references of OpenAI and Anthropic, and of vLLM for `rerank` and the like.
"""

import re
import unicodedata
from collections.abc import Mapping
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Final, Literal
from urllib.parse import unquote, unquote_to_bytes

import msgspec

Kind = Literal["text", "any", "named", "list", "model", "kept"]
"""The kind of a path: "text", which students may answer; "any", which any teacher can answer;
"named", which any that takes the model can; "list", the models; "model", one of them; "kept", about
objects that one teacher stores."""

_READ: Final = frozenset({"GET", "HEAD"})
_POST: Final = frozenset({"POST"})
_ALL: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"})

TABLE: Final[Mapping[str, tuple[Kind, frozenset[str]]]] = MappingProxyType(
    {
        "chat/completions": ("text", _POST),
        "completions": ("text", _POST),
        "decisions": ("text", _POST),
        "systemone": ("text", _POST),
        "messages": ("text", _POST),
        "responses": ("text", _POST),
        "messages/count_tokens": ("any", _POST),
        "responses/input_tokens": ("any", _POST),
        "audio/speech": ("named", _POST),
        "audio/transcriptions": ("named", _POST),
        "audio/translations": ("named", _POST),
        "classify": ("named", _POST),
        "embeddings": ("named", _POST),
        "images/edits": ("named", _POST),
        "images/generations": ("named", _POST),
        "images/variations": ("named", _POST),
        "moderations": ("named", _POST),
        "pooling": ("named", _POST),
        "rerank": ("named", _POST),
        "score": ("named", _POST),
        "models": ("list", _READ),
        "models/*": ("model", _READ | {"DELETE"}),
        "assistants/*": ("kept", _ALL),
        "batches/*": ("kept", _ALL),
        "chat/completions/*": ("kept", _ALL),
        "containers/*": ("kept", _ALL),
        "conversations/*": ("kept", _ALL),
        "evals/*": ("kept", _ALL),
        "files/*": ("kept", _ALL),
        "fine_tuning/*": ("kept", _ALL),
        "messages/batches/*": ("kept", _ALL),
        "realtime/*": ("kept", _ALL),
        "responses/*": ("kept", _ALL),
        "threads/*": ("kept", _ALL),
        "uploads/*": ("kept", _ALL),
        "vector_stores/*": ("kept", _ALL),
        "videos/*": ("kept", _ALL),
    }
)
"""By what follows ``/v1/``; ``*`` stands for all that is below a path, and for the path itself
where that has no row of its own."""

# A teacher behind two proxies may have a path decoded three times.
_DECODINGS: Final = 4
_DEEPEST: Final = 3


class Place(msgspec.Struct, frozen=True):
    """The place of a request's path in the table.

    Attributes:
        resource: What follows ``/v1/``, percent-encoded as the client wrote it.
        kind: Its kind; ``""`` if the table does not have it.
        methods: The methods it takes; empty if the table does not have it.
        deployment: The model in one of Azure's paths.
        foreign: Whether it is an Azure client, whose query means nothing to other servers.
    """

    resource: str
    kind: Kind | Literal[""] = ""
    methods: frozenset[str] = frozenset()
    deployment: str = ""
    foreign: bool = False

    @property
    def path(self) -> str:
        """The path as it is sent to a teacher."""
        return f"/v1/{self.resource}"

    @property
    def model(self) -> str:
        """The model that the path itself names."""
        return unquote(self.resource.partition("/")[2]) if self.kind == "model" else ""


def find_place(raw_path: bytes) -> Place | None:
    """Return the place of a path, for any base URL of a client; None if there is none.

    Clients' base URLs have ``/v1`` or not, have it twice, or have a slash too many. Azure's clients
    ask ``/openai/deployments/NAME/...`` or ``/openai/v1/...``.

    Examples:
        >>> find_place(b"//v1/chat/completions").path, find_place(b"/embeddings").path
        ('/v1/chat/completions', '/v1/embeddings')
        >>> place = find_place(b"/openai/deployments/gpt-5/chat/completions")
        >>> place.path, place.deployment
        ('/v1/chat/completions', 'gpt-5')
        >>> find_place(b"/v1%2f..%2fadmin") is None
        True
    """
    if may_climb(raw_path):
        return None
    segments = [segment for segment in raw_path.decode("latin-1").split("/") if segment]
    foreign = segments[:1] == ["openai"]
    del segments[: int(foreign)]
    deployment = ""
    if foreign and segments[:1] == ["deployments"] and len(segments) > 1:
        deployment = unquote(segments[1])
        del segments[:2]
    bare = bool(segments) and segments[0] != "v1" and not foreign
    for _ in range(2):
        if segments[:1] == ["v1"]:
            del segments[0]
    if not segments:
        return None
    resource = "/".join(segments)
    kind, methods = row_of(resource)
    if deployment and kind not in {"text", "named"}:
        return None
    if bare and not kind:
        return None
    return Place(resource, kind, methods, deployment, foreign)


def listed(place: Place, patterns: tuple[str, ...]) -> bool:
    """Return whether an operator lists a path that the table does not have."""
    path = unquote(place.path)
    return any(fnmatchcase(path, pattern) for pattern in patterns)


def row_of(resource: str) -> tuple[Kind | Literal[""], frozenset[str]]:
    """Return the row of the table for a path under ``/v1/``; empty if there is none."""
    row = TABLE.get(resource)
    if row is not None:
        return row
    segments = resource.split("/", _DEEPEST)[:_DEEPEST]
    while segments:
        row = TABLE.get("/".join([*segments, "*"]))
        if row is not None:
            return row
        segments.pop()
    return "", frozenset()


def may_climb(raw_path: bytes) -> bool:
    """Return whether some server could resolve a path to one outside its first folder.

    The operator's key goes with it. Servers decode a path once or more, take a backslash for a
    slash, cut the part after a semicolon, and normalise characters, before they resolve dots.

    Examples:
        >>> [may_climb(path) for path in (b"/v1%2f..%2fadmin", b"/v1/x/%252e%252e/y")]
        [True, True]
        >>> [may_climb(path) for path in (b"/v1/models/org%2Fmodel-1.5", b"/v1/files/a..b")]
        [False, False]
    """
    path = raw_path
    for _ in range(_DECODINGS):
        decoded = unquote_to_bytes(path)
        if decoded == path:
            break
        path = decoded
    else:
        return True
    try:
        text = unicodedata.normalize("NFKC", path.decode())
    except UnicodeDecodeError:  # as overlong encodings of a dot or a slash are
        return True
    segments = (part.partition(";")[0].strip() for part in re.split(r"[/\\]", text))
    dots = any(part and not part.strip(".") for part in segments)
    return dots or not text.isprintable()

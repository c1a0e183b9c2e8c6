"""Chooses the members of a pool for a request, by its path and its model."""

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Literal
from urllib.parse import unquote

import msgspec

from openwheel.teachers.paths import row_of
from openwheel.teachers.teacher import TeacherResponse, whole_response
from openwheel.teachers.watch import Member
from openwheel.wire import error_body

_LONGEST_SHOWN = 200
_MOST_SHOWN = 20


class _Named(msgspec.Struct):
    model: str = ""


class _Bounded(msgspec.Struct):
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    max_output_tokens: int | None = None


_named = msgspec.json.Decoder(_Named)
_bounded = msgspec.json.Decoder(_Bounded)
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class Target(msgspec.Struct, frozen=True):
    """The target of a path.

    Attributes:
        goes_to: "all" teachers, to join their lists of models; "any" that can answer; "named",
            any that takes the model if the request names one, else the first; "first", the one
            that stores the objects of such paths.
        messages: Whether it is of Anthropic's Messages API.
        model: The model that the path itself names.
    """

    goes_to: Literal["all", "any", "named", "first"]
    messages: bool = False
    model: str = ""


def read_target(method: str, path: str) -> Target:
    """Return the target of a request, from its method and path."""
    resource = path.partition("?")[0].removeprefix("/v1").strip("/")
    kind, _ = row_of(resource)
    root, _, rest = resource.partition("/")
    if kind == "list" and method == "GET":
        return Target("all")
    if kind in {"list", "model"}:
        return Target("first", model=unquote(rest))
    messages = root == "messages"
    if method != "POST":
        return Target("first", messages)
    if kind in {"text", "any"}:
        return Target("any", messages)
    return Target("first" if kind == "kept" else "named", messages)


def candidates(members: Sequence[Member], model: str, *, messages: bool) -> list[Member]:
    """Return the members that may answer a request, in listed order; empty if none takes it.

    A request that names no model goes to members that list none, since those take any. If every
    member lists models, it goes to any of them, and the teacher reports the missing model.
    """
    groups = _by_preference(members, messages=messages)
    if not model:
        return [member for member in groups[0] if not member.models] or groups[0]
    # Servers of open-weight models mostly speak both APIs, so Messages may go to either kind.
    # Requests of OpenAI's API go to Anthropic's, which has a part of it, only if there is no other.
    for group in groups if messages else groups[:1]:
        if takers := [member for member in group if takes(member, model)]:
            return takers
    return []


def first(members: Sequence[Member], target: Target) -> Member:
    """Return the member for requests about stored objects."""
    groups = _by_preference(members, messages=target.messages)
    if target.model:
        for group in groups:
            for member in group:
                if takes(member, target.model):
                    return member
    return groups[0][0]


def _by_preference(members: Sequence[Member], *, messages: bool) -> list[list[Member]]:
    order = ("anthropic", "openai") if messages else ("openai", "anthropic")
    groups = [[member for member in members if member.api == api] for api in order]
    return [group for group in groups if group]


def named_model(body: bytes) -> str:
    """Return the model that a JSON body names, ``""`` if it names none."""
    try:
        return _named.decode(body).model
    except _UNREADABLE:
        return ""


def most_tokens(body: bytes) -> int | None:
    """Return the limit of answer tokens in a JSON body, None if it has none."""
    try:
        bounded = _bounded.decode(body)
    except _UNREADABLE:
        return None
    named = (bounded.max_tokens, bounded.max_completion_tokens, bounded.max_output_tokens)
    return min((max(limit, 0) for limit in named if limit is not None), default=None)


def takes(member: Member, model: str) -> bool:
    """Return whether a member takes a model; one that lists none takes any."""
    if not member.models or model in member.models:
        return True
    return any(fnmatchcase(model, pattern) for pattern in member.models)


def refusal(members: Iterable[Member], model: str) -> str:
    """Return why none of these members may be asked for a model, ``""`` if one may."""
    reasons = [why_not(member, model) for member in members]
    return "; ".join(dict.fromkeys(reasons)) if all(reasons) else ""


def why_not(member: Member, model: str) -> str:
    """Return why a member may not be asked for a model, ``""`` if it may."""
    return member.refuses(model) if member.refuses is not None else ""


def refused(reason: str, *, messages: bool) -> TeacherResponse:
    """Return the 403 for a model that no member may be asked for, in the shape of its API."""
    if messages:
        # Source: Anthropic's API reference, "Errors".
        error = {"type": "permission_error", "message": reason}
        return whole_response(403, msgspec.json.encode({"type": "error", "error": error}))
    return whole_response(
        403, error_body(reason, type="invalid_request_error", code="policy_refused")
    )


def no_such_model(members: Sequence[Member], model: str, *, messages: bool) -> TeacherResponse:
    """Return the 404 for a model that no member takes, in the shape of the API it came by."""
    models = sorted({name for member in members for name in member.models})
    shown = ", ".join(models[:_MOST_SHOWN]) + (", ..." if len(models) > _MOST_SHOWN else "")
    message = f"No teacher takes the model {model[:_LONGEST_SHOWN]!r}; they take {shown}"
    if messages:
        # Source: Anthropic's API reference, "Errors".
        error = {"type": "not_found_error", "message": message}
        return whole_response(404, msgspec.json.encode({"type": "error", "error": error}))
    return whole_response(
        404, error_body(message, type="invalid_request_error", code="model_not_found")
    )

"""Reads and joins lists of models, as ``GET /v1/models`` returns them."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from openwheel.errors import TeacherError

_any = msgspec.json.Decoder()


def read_model_list(body: bytes) -> list[dict[str, Any]]:
    """Return the models of a list, each with its ``id``.

    Besides the documented object with ``data``, a bare array is read, as Together sends it, and
    ``data`` that is null, as Ollama sends it while it has no models.

    Raises:
        TeacherError: The body is not a list of models.
    """
    try:
        models = _any.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        models = None
    if isinstance(models, Mapping) and "data" in models:
        models = models["data"] or []
    if not isinstance(models, list) or not all(
        isinstance(model, dict) and isinstance(model.get("id"), str) for model in models
    ):
        raise TeacherError("The answer is not a list of models")
    return models


def join_model_lists(lists: Iterable[tuple[str, Iterable[Mapping[str, Any]]]]) -> bytes:
    """Write one list of the models of several teachers, each id once, the first one's entry.

    Every field that a teacher gave is kept, and those that OpenAI's clients require are added, so
    that clients of either API can read a list that joins both.
    """
    joined: dict[str, dict[str, Any]] = {}
    for name, models in lists:
        for model in models:
            required = {"object": "model", "created": 0, "owned_by": name}
            joined.setdefault(model["id"], {**required, **model})
    ids = list(joined)
    pages = {
        "has_more": False,
        "first_id": ids[0] if ids else None,
        "last_id": ids[-1] if ids else None,
    }
    return msgspec.json.encode({"object": "list", "data": list(joined.values()), **pages})

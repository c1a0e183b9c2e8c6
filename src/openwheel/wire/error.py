"""Errors in the shape of the OpenAI API.

Source: the OpenAI API reference, "Error codes".
"""

import msgspec


def error_body(message: str, *, type: str, code: str | None = None) -> bytes:
    """Write an error in the shape of the OpenAI API."""
    error = {"message": message, "type": type, "param": None, "code": code}
    return msgspec.json.encode({"error": error})

"""Defines the error for a request that its key does not allow."""

from openwheel.access.rate_limits import Allowances
from openwheel.errors import RequestError


class RefusedError(RequestError):
    """A request that its key does not allow, or that has no valid key.

    Attributes:
        status: The HTTP status: 401, 403 or 429.
        code: ``invalid_api_key``, ``model_not_allowed``, ``task_not_allowed``,
            ``rate_limit_exceeded`` or ``insufficient_quota``.
        type: The type of the error in OpenAI's API; for a rate limit, which one it was.
        message: For the client; never holds a credential.
        retry_after: Seconds after which to try again; None if that would not help.
        allowances: The rest of the key's rate limits, for response headers.
    """

    def __init__(
        self,
        *,
        status: int,
        code: str,
        type: str,
        message: str,
        retry_after: float | None = None,
        allowances: Allowances | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.type = type
        self.message = message
        self.retry_after = retry_after
        self.allowances = allowances if allowances is not None else Allowances()

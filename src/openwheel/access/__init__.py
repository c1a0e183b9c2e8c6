"""Controls access to the gateway: keys, scopes, rate limits and budgets.

Knows nothing of HTTP: it takes a credential and returns a key or raises a `RefusedError`, whose
fields are those of a response.
"""

from openwheel.access.access import Access
from openwheel.access.budget import Ledger, Spending, dollars
from openwheel.access.keys import (
    CONSOLE_RIGHTS,
    TRUSTS,
    ConsoleRight,
    Key,
    KeyStore,
    Trust,
)
from openwheel.access.rate_limits import Allowance, Allowances, Limits
from openwheel.access.refused import RefusedError

__all__ = [
    "CONSOLE_RIGHTS",
    "TRUSTS",
    "Access",
    "Allowance",
    "Allowances",
    "ConsoleRight",
    "Key",
    "KeyStore",
    "Ledger",
    "Limits",
    "RefusedError",
    "Spending",
    "Trust",
    "dollars",
]

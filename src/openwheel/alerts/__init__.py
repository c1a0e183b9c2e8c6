"""Alerts: what happened is posted to webhooks, once for each receiver, signed and tried again.

`news` finds what happened, `message` writes it in the shape of each receiver, `post` sends it, and
`watch` does all of it in a thread. `openwheel.store.alerts` remembers what was sent.
"""

from openwheel.alerts.post import send_test
from openwheel.alerts.watch import Alerts

__all__ = ["Alerts", "send_test"]

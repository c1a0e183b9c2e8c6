"""Sends alerts in a thread of its own, for as long as its process lives."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

from openwheel.alerts.news import Alert, read_news
from openwheel.alerts.post import AlertError, post, receiver_of
from openwheel.errors import StoreError
from openwheel.settings import AlertSection
from openwheel.store import Store, alerts
from openwheel.store.alerts import Delivery

logger = logging.getLogger(__name__)

LOOK_EVERY_S: Final = 5.0
FIRST_WAIT_S: Final = 5.0
"""Seconds after the first try that failed; they double with each."""
MOST_TRIES: Final = 10
"""The last is after three quarters of an hour."""


class Alerts:
    """Tells receivers what happened, each thing once.

    What happened before a receiver was first known is not told. Several processes on one store may
    do this at once.

    Args:
        store: Where it is kept what was told.
        receivers: The settings of each.
        trouble: Returns what is wrong with storing exchanges, ``""`` if nothing is.
    """

    def __init__(
        self,
        store: Store,
        receivers: Sequence[AlertSection],
        trouble: Callable[[], str] = lambda: "",
    ) -> None:
        self._store = store
        self._receivers = {receiver_of(section): section for section in receivers}
        self._trouble = trouble
        self._over = threading.Event()

    def start(self) -> None:
        """Begin, in a thread; nothing is done without receivers."""
        if self._receivers:
            threading.Thread(target=self._run, name="openwheel-alerts", daemon=True).start()

    def stop(self) -> None:
        """Send nothing more."""
        self._over.set()

    def _run(self) -> None:
        failed = ""
        while not self._over.is_set():
            try:
                self.look()
                failed = ""
            except StoreError as error:
                if str(error) != failed:
                    logger.error("Alerts wait for the store: %s", error)
                failed = str(error)
            self._over.wait(LOOK_EVERY_S)

    def look(self) -> None:
        """Note what is new, and send what waits.

        Raises:
            StoreError: The store cannot be read or written.
        """
        news = read_news(self._store, self._trouble)
        for receiver, section in self._receivers.items():
            self._note(receiver, section, news)
        with self._store.read() as transaction:
            waiting = alerts.due(transaction, now=time.time(), wait=FIRST_WAIT_S)
        for delivery in waiting:
            if delivery.receiver in self._receivers and not self._over.is_set():
                self._send(delivery, self._receivers[delivery.receiver], news)

    def _note(self, receiver: str, section: AlertSection, news: Sequence[Alert]) -> None:
        with self._store.read() as transaction:
            known = alerts.known(transaction, receiver)
        new = [alert for alert in news if (alert.kind, alert.ident) not in known]
        if not new and known:
            return
        is_new_receiver = not known
        with self._store.write() as transaction:
            if is_new_receiver:  # so that it is known also where nothing has happened yet
                alerts.add(transaction, _delivery(receiver, _BEGINNING, "old"))
            for alert in new:
                wanted = alert.kind in section.kinds and not is_new_receiver
                alerts.add(transaction, _delivery(receiver, alert, "waiting" if wanted else "old"))

    def _send(self, delivery: Delivery, section: AlertSection, news: Sequence[Alert]) -> None:
        with self._store.write() as transaction:
            if not alerts.claim(transaction, delivery):
                return
        same = (alert for alert in news if (alert.kind, alert.ident) == delivery[1:3])
        # What is no longer among the news, as a budget of last month, is told as it was noted.
        alert = next(same, None) or Alert(
            delivery.kind,  # type: ignore[arg-type]
            delivery.ident,
            delivery.happened,
            "",
            delivery.text,
        )
        try:
            post(alert, section)
        except AlertError as error:
            last = delivery.tries + 1 >= MOST_TRIES
            logger.warning(
                "An alert was not taken%s: %s", ", and is given up" if last else "", error
            )
            with self._store.write() as transaction:
                alerts.settle(transaction, delivery, "failed" if last else "waiting", str(error))
            return
        with self._store.write() as transaction:
            alerts.settle(transaction, delivery, "sent", "")


_BEGINNING: Final = Alert("resumed", "beginning", 0.0, "", "The receiver was first known.")


def _delivery(receiver: str, alert: Alert, state: alerts.State) -> Delivery:
    return Delivery(
        receiver, alert.kind, alert.ident, alert.text, alert.time, time.time(), state, 0, ""
    )

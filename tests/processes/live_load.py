"""Clients that ask gateways all the time, and remember what became of every request."""

import http.client
import json
import random
import select
import threading
import time
from collections.abc import Sequence
from typing import NamedTuple

import openai

from processes.live_tasks import TASKS, write

REST_S = 0.04


class Asked(NamedTuple):
    """What became of one request.

    Attributes:
        text: Which no other request has, but this one's further tries.
        tries: How often it had been sent before.
        to: The gateway's port.
        sent, over: On the monotonic clock.
        port: The client's.
        status: 0 if the connection broke.
        answer: Of status 200.
        source: Who answered, as the gateway says.
    """

    text: str
    tries: int
    to: int
    sent: float
    over: float
    port: int
    status: int
    answer: str
    source: str


class LiveLoad:
    """Threads that ask: some speak HTTP on connections they keep, one has the official client.

    Args:
        ports: Of the gateways; each request goes to any of them.
        clients: How many threads.
        tries: How often a request is sent to which there was no answer. As SDKs do, each further
            try says that it is one.
    """

    def __init__(
        self, ports: Sequence[int], seed: int, *, clients: int = 4, tries: int = 1
    ) -> None:
        self.asked: list[Asked] = []
        self._ports, self._tries = ports, tries
        self._over = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(number, random.Random(f"{seed} {number}")))
            for number in range(clients)
        ]

    def __enter__(self) -> "LiveLoad":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _run(self, number: int, rng: random.Random) -> None:
        asks = [_Sdk(port) if number == 0 else _Http(port) for port in self._ports]
        count = 0
        while not self._over.wait(rng.uniform(0, 2 * REST_S)):
            system = rng.choice(list(TASKS))
            count += 1
            text = write(rng, system, 10_000_000 * (number + 1) + count)
            messages = [{"role": "system", "content": system}, {"role": "user", "content": text}]
            for tries in range(self._tries):
                ask, to = rng.choice(list(zip(asks, self._ports, strict=True)))
                sent = time.monotonic()
                port, status, answer, source = ask(messages, tries)
                over = time.monotonic()
                self.asked.append(Asked(text, tries, to, sent, over, port, status, answer, source))
                if status:
                    break
        for ask in asks:
            ask.close()


class _Http:
    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def __call__(self, messages: list[dict[str, str]], tries: int) -> tuple[int, int, str, str]:
        port = 0
        try:
            self._close_if_ended()
            if self._connection.sock is None:
                self._connection.connect()
            port = self._connection.sock.getsockname()[1]
            body = json.dumps({"model": "big", "messages": messages})
            self._connection.request("POST", "/v1/chat/completions", body, _again(tries))
            response = self._connection.getresponse()
            found = response.read()
        except (OSError, http.client.HTTPException):
            self._connection.close()
            return port, 0, "", ""
        source = response.headers.get("x-openwheel-source", "")
        if response.status != 200:
            return port, response.status, "", source
        return port, 200, json.loads(found)["choices"][0]["message"]["content"], source

    def _close_if_ended(self) -> None:
        """Close a connection that the gateway ended meanwhile, as clients do before they use one.

        Old workers end those on which nothing is under way.
        """
        sock = self._connection.sock
        if sock is not None and select.select([sock], [], [], 0)[0]:
            self._connection.close()

    def close(self) -> None:
        self._connection.close()


class _Sdk:
    """The official client; it tells no port."""

    def __init__(self, port: int) -> None:
        url = f"http://127.0.0.1:{port}/v1"
        self._client = openai.OpenAI(base_url=url, api_key="none", max_retries=0, timeout=60)

    def __call__(self, messages: list[dict[str, str]], tries: int) -> tuple[int, int, str, str]:
        try:
            raw = self._client.chat.completions.with_raw_response.create(
                model="big", messages=messages, extra_headers=_again(tries)
            )
        except openai.APIStatusError as error:
            return 0, error.status_code, "", error.response.headers.get("x-openwheel-source", "")
        except openai.APIConnectionError:
            return 0, 0, "", ""
        source = raw.headers.get("x-openwheel-source", "")
        return 0, 200, raw.parse().choices[0].message.content or "", source

    def close(self) -> None:
        self._client.close()


def _again(tries: int) -> dict[str, str]:
    return {"x-stainless-retry-count": str(tries)} if tries else {}

"""Holds streams open: a client process of its own, since each stream takes a descriptor.

Run by the benchmark as ``python -m gateway_bench.hold PORT STREAMS``; the body comes on standard
input. Prints one JSON object when all streams have their first chunk, another when all have ended.
"""

import asyncio
import json
import sys
import time

import uvloop

from gateway_bench.bodies import Template, request, streamed
from gateway_bench.connection import Connection, Reply, connect
from gateway_bench.processes import raise_descriptor_limit

_AT_ONCE = 100
_GIVE_UP_S = 300.0


async def _hold(port: int, streams: int, template: Template) -> None:
    gate = asyncio.Semaphore(_AT_ONCE)
    ends: list[asyncio.Future[bool]] = []
    connections: list[Connection] = []
    problems: list[str] = []

    async def whole(reply: "asyncio.Future[Reply]", connection: Connection) -> bool:
        try:
            found = await asyncio.wait_for(reply, _GIVE_UP_S)
        except (OSError, TimeoutError) as error:
            problems.append(str(error) or "timed out")
            return False
        finally:
            connection.close()
        return b"data: [DONE]" in found.body

    async def one(number: int) -> None:
        async with gate:
            try:
                connection = await connect(port)
                reply = connection.ask(request(streamed(template.body(number))))
                await asyncio.wait_for(asyncio.shield(connection.first_byte), _GIVE_UP_S)
            except (OSError, TimeoutError) as error:
                problems.append(str(error) or "timed out")
                return
        connections.append(connection)
        ends.append(asyncio.ensure_future(whole(reply, connection)))

    began = time.perf_counter()
    await asyncio.gather(*(one(number) for number in range(streams)))
    seconds = time.perf_counter() - began
    print(json.dumps({"held": len(connections), "seconds": seconds, "problems": problems[:3]}))
    sys.stdout.flush()
    ended = await asyncio.gather(*ends)
    print(json.dumps({"ended": sum(ended), "problems": problems[:3]}), flush=True)


def main() -> None:
    raise_descriptor_limit()
    before, after = (json.loads(sys.stdin.readline()).encode() for _ in range(2))
    uvloop.run(_hold(int(sys.argv[1]), int(sys.argv[2]), Template(before, after)))


if __name__ == "__main__":
    main()

"""CPU time per request of the gateway, by path: a first look, not the comparison of issue 3.

Gateway, teacher and client are processes of their own on loopback, capture goes to SQLite, and
the CPU time is the operating system's for the gateway's process, all threads, capture included.
Run: python benchmarks/gateway_smoke.py [--requests 5000]
"""

import argparse
import asyncio
import multiprocessing
import os
import platform
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path

from openwheel.endpoints import HttpTeacher
from openwheel.gateway import CaptureWriter, create_app, run_gateway
from openwheel.loop.serving import Decision
from openwheel.traffic import Store
from openwheel.wire import Request, completion_body, completion_stream

SYSTEM = "You route tickets of a maintenance desk to one of these queues: " + ", ".join(
    f"queue-{number}" for number in range(25)
)
ANSWER = completion_body("queue-7", model="teacher")
TOKENS = [
    b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"teacher","choices":'
    b'[{"index":0,"delta":{"content":"word "},"logprobs":null,"finish_reason":null}]}\n\n'
] * 100
STREAM_END = b"".join(completion_stream("", model="teacher", include_usage=False))


class Students:
    """Answers prompts that end in "s" at no cost, so that the gateway's own is measured."""

    def refresh(self) -> bool:
        """Do nothing."""
        return False

    def decide(self, request: Request, task: str = "") -> Decision:
        """Answer or defer by the last character."""
        answer = "queue-7" if request.prompt.messages[-1].text.endswith("s") else None
        return Decision(
            answer=answer, task=task or "route", student="s1", confidence=0.9, audit_probability=0.0
        )


async def _serve_teacher(pipe: Connection) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
        stream_head = (
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
            b"transfer-encoding: chunked\r\n\r\n"
        )
        while not reader.at_eof():
            try:
                request = await reader.readuntil(b"\r\n\r\n")
            except asyncio.IncompleteReadError:
                break
            length = int(request.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
            body = await reader.readexactly(length)
            if b'"stream"' not in body:
                writer.write(head % len(ANSWER) + ANSWER)
                continue
            writer.write(stream_head)
            for token in [*TOKENS, STREAM_END]:
                writer.write(b"%x\r\n%s\r\n" % (len(token), token))
                await asyncio.sleep(0.001)  # so that chunks travel one by one
            writer.write(b"0\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    pipe.send(server.sockets[0].getsockname()[1])
    await asyncio.Event().wait()


def teacher_process(pipe: Connection) -> None:
    asyncio.run(_serve_teacher(pipe))


def gateway_process(pipe: Connection, teacher_port: int, path: str) -> None:
    with Store.open(path) as store:
        capture = CaptureWriter(store)
        teacher = HttpTeacher(f"http://127.0.0.1:{teacher_port}/v1")
        run_gateway(
            create_app(teacher, Students(), capture),
            port=0,
            ready=lambda _, port: pipe.send(port),
        )
        capture.close()


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def send_all(port: int, ending: str, requests: int, connections: int, stream: bool) -> None:
    async def client(share: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for number in range(share):
            text = f"pump {number} leaks oil since yesterday, machine {ending}"
            extra = '"stream":true,' if stream else ""
            body = (
                f'{{"model":"m",{extra}"messages":[{{"role":"system","content":"{SYSTEM}"}},'
                f'{{"role":"user","content":"{text}"}}]}}'
            ).encode()
            writer.write(
                b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer x\r\n"
                b"content-type: application/json\r\naccept: application/json\r\n"
                b"user-agent: OpenAI/Python 3.54.0\r\nx-stainless-lang: python\r\n"
                b"content-length: %d\r\n\r\n" % len(body) + body
            )
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            assert head.startswith(b"http/1.1 200"), head
            if b"content-length:" in head:
                length = head.partition(b"content-length:")[2].split(b"\r\n")[0]
                await reader.readexactly(int(length))
            else:
                await reader.readuntil(b"\r\n0\r\n\r\n")
        writer.close()
        await writer.wait_closed()

    await asyncio.gather(*(client(requests // connections) for _ in range(connections)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=5000)
    parser.add_argument("--connections", type=int, default=16)
    options = parser.parse_args()
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        here, there = spawn.Pipe()
        teacher = spawn.Process(target=teacher_process, args=(there,), daemon=True)
        teacher.start()
        database = str(Path(folder) / "openwheel.db")
        gateway = spawn.Process(target=gateway_process, args=(there, here.recv(), database))
        gateway.start()
        port = here.recv()
        print(
            f"{time.strftime('%Y-%m-%d')}  Python {platform.python_version()}  {platform.machine()}"
        )
        for name, ending, stream, share in [
            ("student answers", "s", False, 1.0),
            ("student answers, streamed", "s", True, 1.0),
            ("teacher answers", "t", False, 1.0),
            ("teacher answers, 101 chunks", "t", True, 0.05),
        ]:
            requests = int(options.requests * share)
            for warm in (True, False):
                count = requests // 10 if warm else requests
                before, began = cpu_seconds(gateway.pid or 0), time.perf_counter()
                asyncio.run(send_all(port, ending, count, options.connections, stream))
                time.sleep(0.2)  # so that the last batch is written
                seconds = cpu_seconds(gateway.pid or 0) - before
                wall = time.perf_counter() - began - 0.2
            done = requests // options.connections * options.connections
            print(
                f"{name:28s} {1000 * seconds / done:7.3f} ms CPU a request"
                f"   {done / wall:7.0f} requests/s, client on the same machine"
            )
        gateway.terminate()
        gateway.join()
        teacher.terminate()


if __name__ == "__main__":
    main()

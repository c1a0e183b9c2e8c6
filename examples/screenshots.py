"""Takes the pictures of the console that the docs show: ``make screenshots``.

A gateway runs on a store of its own, with a teacher that sorts tickets by their words; a student is
certified and promoted, and Chromium looks at the console.
"""

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.request import Request, urlopen

from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).resolve().parents[1]
WORDS = {
    "billing": "invoice payment refund charge receipt tax amount card",
    "delivery": "parcel courier late address tracking shipment depot van",
    "account": "password login email profile username locked reset phone",
    "product": "broken screen battery button noise scratch warranty part",
}
COMMON = "the my please since again about with help today still it is not"
SYSTEM = "Sort the ticket into a queue: billing, delivery, account or product."
SETTINGS = """
[gateway]
port = 0
[[teachers]]
url = "{url}"
name = "big-model"
price_input = 3.0
price_output = 15.0
[loop]
turn_every = 2
"""
OFFLINE = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]


def ticket(rng: random.Random) -> str:
    """Return a ticket that the words of its queue give away."""
    queue = rng.choice(list(WORDS))
    words = [rng.choice((WORDS[queue] if rng.random() < 0.6 else COMMON).split()) for _ in range(6)]
    return " ".join([*words, rng.choice(WORDS[queue].split()), str(rng.randrange(10**6))])


class Teacher(BaseHTTPRequestHandler):
    """Sorts tickets by their words, and now and then otherwise."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1
    rng = random.Random(3)

    def do_POST(self) -> None:
        """Answer a chat completion."""
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        words = body["messages"][-1]["content"].split()
        own = {queue: sum(w in words for w in WORDS[queue].split()) for queue in WORDS}
        answer = max(own, key=lambda queue: own[queue])
        if self.rng.random() < 0.01:
            answer = self.rng.choice(list(WORDS))
        time.sleep(0.02)
        said = {
            "id": f"chatcmpl-{self.rng.random()}",
            "object": "chat.completion",
            "model": "big-model-2026-11",
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": answer},
                    "finish_reason": "stop",
                }
            ],
            "usage": {"prompt_tokens": 64, "completion_tokens": 2, "total_tokens": 66},
        }
        out = json.dumps(said).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(out)))
        self.end_headers()
        self.wfile.write(out)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def send(url: str, number: int, seed: int) -> None:
    """Send tickets to the gateway."""
    rng = random.Random(seed)
    for _ in range(number):
        messages = [
            {"role": "system", "content": SYSTEM},
            {"role": "user", "content": ticket(rng)},
        ]
        body = json.dumps({"model": "big-model", "messages": messages}).encode()
        asked = Request(f"{url}/v1/chat/completions", body, {"content-type": "application/json"})
        with urlopen(asked, timeout=60) as response:
            response.read()


def take(url: str, to: Path) -> None:
    """Send traffic until a student answers and was audited, and take the pictures."""
    with sync_playwright() as playwright:
        chromium = shutil.which("chromium") or shutil.which("chromium-browser")
        if chromium is None:
            raise SystemExit("Chromium is missing: install the package chromium")
        browser = playwright.chromium.launch(executable_path=chromium, args=OFFLINE)
        page = browser.new_page(viewport={"width": 1120, "height": 700})
        page.goto(f"{url}/console")
        seed = 0
        while page.locator(".standing-live").count() == 0:
            send(url, 200, seed)
            time.sleep(1.5)
            seed += 1
            if seed > 60:
                raise SystemExit("No student was certified")
        send(url, 3_000, 10_000)
        time.sleep(5)
        page.goto(f"{url}/console")
        _shoot(page, to / "console.png")
        page.locator("th a").first.click()
        _shoot(page, to / "console-task.png")
        page.goto(f"{url}/console/review")
        _shoot(page, to / "console-review.png")
        browser.close()


def _shoot(page: Page, path: Path) -> None:
    page.wait_for_timeout(300)
    page.screenshot(path=path)
    print(path)


def main() -> None:
    """Take the pictures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--to", type=Path, default=ROOT / "docs" / "pictures")
    to: Path = parser.parse_args().to
    to.mkdir(parents=True, exist_ok=True)
    teacher = ThreadingHTTPServer(("127.0.0.1", 0), Teacher)
    threading.Thread(target=teacher.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        address = f"http://127.0.0.1:{teacher.server_address[1]}/v1"
        (folder / "openwheel.toml").write_text(SETTINGS.format(url=address))
        command = [sys.executable, "-m", "openwheel", "up", "--log-level", "error"]
        with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as gateway:
            assert gateway.stdout is not None
            url = gateway.stdout.readline().split()[-1].removesuffix("/v1")
            try:
                take(url, to)
            finally:
                gateway.terminate()


if __name__ == "__main__":
    main()

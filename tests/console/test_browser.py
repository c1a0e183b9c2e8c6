"""The console in a real browser: Debian's Chromium through Playwright, and axe-core."""

import contextlib
import json
import os
import random
import re
import shutil
import threading
from collections.abc import Iterator
from urllib.request import Request, urlopen

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright

from console.test_process import running
from made_up import QUEUES, ticket
from openwheel.store import Store
from openwheel.store.feedback import FeedbackStore
from openwheel.wire import APIS, Answer
from teacher import Asked, Teacher, respond

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
OFFLINE = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        if os.environ.get("CI"):
            pytest.fail("chromium is missing: in CI the tests in a browser must run")
        pytest.skip("chromium is missing: the console is not looked at in a browser")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=list(OFFLINE))
        yield opened
        opened.close()


class Tab:
    """A page of the browser that may show no error and ask nobody else."""

    def __init__(self, page: Page, url: str) -> None:
        self.page, self.url, self.wrong = page, url, []
        page.on("console", lambda said: self.wrong.append(said.text) if said.type == "error" else 0)
        page.on("pageerror", lambda error: self.wrong.append(str(error)))
        page.on(
            "request",
            lambda asked: None if asked.url.startswith(url) else self.wrong.append(asked.url),
        )

    def go(self, path: str) -> Page:
        self.page.goto(f"{self.url}{path}")
        return self.page


@pytest.fixture
def tab(browser, console):
    """Open the console of the store in a tab."""
    with contextlib.ExitStack() as stack:

        def opened(*, keys=False, **options) -> Tab:
            url = f"http://{console(keys=keys).host}"
            context = stack.enter_context(
                contextlib.closing(browser.new_context(**{"timezone_id": "Asia/Tokyo", **options}))
            )
            return Tab(context.new_page(), url)

        yield opened


def pages(task: str, seq: int) -> list[str]:
    return [
        *(
            "/console",
            "/console?days=1",
            "/console/exchanges",
            "/console/review",
            "/console/alerts",
        ),
        *(f"/console/tasks/{task}", f"/console/exchanges/{seq}", "/console/nothing"),
    ]


@pytest.mark.parametrize(
    "look", [{}, {"color_scheme": "dark"}, {"viewport": {"width": 360, "height": 740}}]
)
def test_everybody_can_use_every_page(tab, traffic, task, look):
    seq = traffic("ssss" + "." * 60 + "xx" + "dDdD")
    opened = tab(**look)
    for path in pages(task, seq):
        page = opened.go(path)
        found = Axe().run(page)
        assert found.violations_count == 0, f"{path}: {found.generate_report()}"
        wide = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        assert wide <= 0, f"{path} is {wide} pixels too wide"
    assert [wrong for wrong in opened.wrong if "404" not in wrong] == []


def test_the_login_page_is_for_everybody_too(tab):
    opened = tab(keys=True)
    page = opened.go("/console")
    expect(page.get_by_label("Key")).to_be_focused()
    assert Axe().run(page).violations_count == 0


def test_twenty_exchanges_are_judged_by_keys_alone(tab, traffic, store):
    traffic("x." * 22)
    opened = tab()
    page = opened.go("/console/review")
    expected = []
    for i in range(20):
        left = re.search(r"Review: (\d+)", page.inner_text("h1"))[1]
        key, verdict = ("1", "teacher") if i % 4 else ("2", "student")
        expected.append(verdict)
        with page.expect_navigation():
            page.keyboard.press(key)
        assert page.inner_text("h1") == f"Review: {int(left) - 1} to judge"
    with page.expect_navigation():
        page.keyboard.press("5")  # skipped
    page.keyboard.press("6")
    expect(page.get_by_label("The right answer")).to_be_focused()
    page.keyboard.type("delivery 1")  # a digit in a field is text
    expect(page.get_by_label("The right answer")).to_have_value("delivery 1")
    said = [one.verdict for one in FeedbackStore(store).latest(limit=50)]
    assert sorted(said) == sorted(expected)
    assert opened.wrong == []


def test_it_can_be_read_and_used_without_scripts(tab, traffic, task, registry):
    seq = traffic("." * 30 + "x")
    opened = tab(java_script_enabled=False)
    page = opened.go("/console")
    expect(page.get_by_role("heading", name="Is the promise kept?")).to_be_visible()
    page.get_by_role("button", name="Stop: all to the teacher").click()
    assert registry.stopped()
    page.get_by_role("button", name="Let students answer again").click()
    assert not registry.stopped()
    opened.go(f"/console/exchanges/{seq}").get_by_role("button", name="Teacher right").click()
    expect(page.get_by_text("Your judgement is kept.")).to_be_visible()
    page = opened.go(f"/console/tasks/{task}")
    expect(page.get_by_role("table").first).to_be_visible()
    expect(page.locator("time").first).to_contain_text("UTC")


def test_scripts_put_times_into_the_readers_zone_and_move_the_slider(tab, traffic, task):
    traffic("." * 60 + "x" + "dD" * 4)
    opened = tab()
    page = opened.go(f"/console/tasks/{task}")
    time = page.locator("time").first
    expect(time).not_to_contain_text("UTC")
    assert time.get_attribute("title").endswith("UTC")
    slider = page.get_by_role("slider")
    slider.focus()
    page.keyboard.press("Home")
    expect(page.locator("#limit-output")).to_contain_text("0.25%: coverage")
    assert opened.wrong == []


def test_markup_in_the_traffic_stays_text(tab, traffic, store, task):
    evil = '<img src=x onerror="document.title=`owned`"><script>document.title="owned"</script>'
    seq = traffic("xD", text=evil, answer=evil)
    FeedbackStore(store).put(seq, 0, comment=evil)
    opened = tab()
    for path in pages(task, seq):
        page = opened.go(path)
        page.wait_for_timeout(50)
        assert "owned" not in page.title()
    assert [wrong for wrong in opened.wrong if "404" not in wrong] == []


TOML = """
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


class Desk(Teacher):
    """A teacher that sorts tickets by their words; ``wrong`` has it answer something else."""

    wrong = False


def sorts(desk: Desk):
    rng = random.Random(4)

    async def answer(asked: Asked, writer) -> None:
        request = APIS["chat"].read_request(asked.body)
        words = request.prompt.messages[-1].text.split()
        own = {queue: sum(w in words for w in QUEUES[queue].split()) for queue in QUEUES}
        said = "escalation" if desk.wrong and rng.random() < 0.7 else max(own, key=own.get)
        writer.write(respond(APIS["chat"].body(Answer(said), request)))

    return answer


def send(url: str, number: int, seed: int) -> list[str]:
    """Send tickets, and return who answered each."""
    rng, answered = random.Random(seed), []
    for _ in range(number):
        text = ticket(rng, rng.choice(list(QUEUES)))
        body = json.dumps(
            {
                "model": "m",
                "messages": [
                    {"role": "system", "content": "Sort the ticket into a queue."},
                    {"role": "user", "content": text},
                ],
            }
        )
        asked = Request(
            f"{url}/v1/chat/completions", body.encode(), {"content-type": "application/json"}
        )
        with urlopen(asked, timeout=60) as response:
            answered.append(response.headers["x-openwheel-source"])
            response.read()
    return answered


def test_a_newcomers_walk_from_an_empty_store_to_an_alarm(browser, tmp_path):
    with Desk() as desk:
        desk.answer = sorts(desk)
        (tmp_path / "openwheel.toml").write_text(TOML.format(url=f"{desk.url}/v1"))
        with running(tmp_path, "up") as (_, visitor):
            url = f"http://{visitor.host}"
            context = browser.new_context()
            opened = Tab(context.new_page(), url)
            opened.page.set_default_timeout(120_000)
            expect.set_options(timeout=120_000)
            page = opened.go("/console")
            expect(page.get_by_text("No task was found yet.")).to_be_visible()
            sent = 0
            while page.locator(".standing-live, .standing-canary").count() == 0:
                send(url, 200, seed=sent)
                page.wait_for_timeout(1_500)  # so that turns keep up
                sent += 1
                assert sent < 60, page.inner_text("main")
            expect(page.get_by_text("promoted").first).to_be_visible()
            # Stopped while requests come, and let go again.
            answered: list[str] = []
            load = threading.Thread(target=lambda: answered.extend(send(url, 300, seed=1000)))
            load.start()
            page.get_by_role("button", name="Stop: all to the teacher").click()
            expect(page.get_by_text("teachers answer everything")).to_be_visible()
            load.join()
            page.wait_for_timeout(2_500)
            assert set(send(url, 50, seed=2000)) == {"teacher"}
            page.get_by_role("button", name="Let students answer again").click()
            page.wait_for_timeout(2_500)
            assert "student" in send(url, 100, seed=2001)
            # The teacher changes its mind: audits notice, and the student goes.
            desk.wrong = True
            sent = 0
            while page.locator(".standing-off, .standing-shadow").count() == 0:
                send(url, 100, seed=3000 + sent)
                page.wait_for_timeout(500)
                sent += 1
                assert sent < 60, page.inner_text("main")
            page.reload()
            expect(page.locator(".happening-alarm, .happening-teacher").first).to_be_visible()
            expect(page.get_by_role("heading", name="Needs you")).to_be_visible()
            assert opened.wrong == []
            context.close()
    with Store.open(tmp_path / "openwheel.db") as store:
        assert store.count() > 1_000

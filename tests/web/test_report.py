import stat
from html.parser import HTMLParser

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openwheel.errors import SettingError
from openwheel.loop.offline.findings import Confusion, Example, Finding, Findings, Frontier
from openwheel.web.report import render_report, write_report

VOID = {"meta", "br", "hr", "img", "col", "input", "link"}
HOSTILE = "</td></table></svg><script>alert(1)</script><img src=http://evil.example/x onerror=a>"


class Balanced(HTMLParser):
    """Fails on a tag that closes another than the one that is open."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str | None]] = []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag, f"</{tag}> closes another tag"


def parsed(page: str) -> Balanced:
    parser = Balanced()
    parser.feed(page)
    parser.close()
    assert parser.open == []
    return parser


def bare(**changes) -> Finding:
    values = {
        "task": "t",
        "name": "a task",
        "form": "text",
        "n": 10,
        "epsilon": 0.05,
        "delta": 0.05,
        "reason": "Left to the teacher.",
    }
    return Finding(**{**values, **changes})


def of(*tasks: Finding, **changes) -> Findings:
    values = {
        "created": "2026-01-01T00:00:00+00:00",
        "version": "1",
        "source": "a log",
        "exchanges": 10,
        "unassigned": 0,
    }
    return Findings(**{**values, **changes}, tasks=tasks)


def test_a_page_is_well_formed_and_shows_the_numbers(findings):
    page = render_report(findings)
    parser = parsed(page)
    assert "svg" in parser.tags
    for number in ("83.1%", "4.95%", "2,077", "2,500", "12,345"):
        assert number in page


def test_the_frontier_marks_the_chosen_point():
    points = (Frontier(0.9, 0.7, 0.01, 0.123, False), Frontier(0.7, 0.8, 0.031, None, True))
    page = render_report(of(bare(frontier=points)))
    rows = [row for row in page.split("<tr>") if "0.7" in row or "12.3%" in row]
    assert ["chosen" in row for row in rows] == [False, True]
    assert "3.10%" in rows[1]


def test_a_page_asks_for_nothing_and_runs_nothing(findings):
    page = render_report(findings)
    parser = parsed(page)
    assert "script" not in parser.tags
    assert "link" not in parser.tags
    for name, value in parser.attributes:
        assert not name.startswith("on"), name
        if name in {"src", "href", "xlink:href", "action"}:
            assert value
            assert value.startswith("#"), value
    assert "@import" not in page
    assert "url(" not in page


def test_what_comes_from_a_log_is_never_markup():
    example = Example(HOSTILE, HOSTILE, HOSTILE, 0.5)
    finding = bare(
        task=HOSTILE,
        name=HOSTILE,
        template=HOSTILE,
        reason=HOSTILE,
        deferred=(example,),
        disagreed=(example,),
        confusion=Confusion((HOSTILE, "b"), ((1, 2), (3, 4))),
        warnings=(HOSTILE,),
    )
    page = render_report(of(finding, source=HOSTILE, warnings=(HOSTILE,)))
    parser = parsed(page)
    assert "script" not in parser.tags
    assert "img" not in parser.tags
    assert "&lt;script&gt;" in page


def test_a_refusal_says_why_and_how_many_more():
    page = render_report(of(bare(form="label", reason="Refused: too few.", more_needed=1234)))
    assert "Refused: too few." in page
    assert "1,234" in page


def test_nothing_to_draw_is_said_and_not_drawn():
    page = render_report(of(bare()))
    assert "<svg" not in page
    parsed(page)


def test_no_task_at_all():
    parsed(render_report(of()))


def test_it_never_promises_without_the_condition(findings):
    page = render_report(findings).lower()
    assert "guarantee" not in page
    assert "formal" not in page
    assert "traffic like that of the calibration window" in page


def test_a_hundred_tasks():
    page = render_report(of(*[bare(name=f"task number {i}") for i in range(100)]))
    assert parsed(page)
    assert page.count("<details") >= 100


@settings(max_examples=60, deadline=None)
@given(text=st.text(st.characters(), max_size=60))
def test_no_text_breaks_the_markup(text):
    example = Example(text, text, text, 0.5)
    finding = bare(
        name=text,
        template=text,
        reason=text,
        deferred=(example,),
        confusion=Confusion((text, "b"), ((1, 2), (3, 4))),
    )
    page = render_report(of(finding, source=text))
    page.encode()
    parsed(page)


def test_it_is_written_whole_and_replaces_an_older_one(findings, tmp_path):
    path = tmp_path / "report.html"
    path.write_text("old")
    write_report(findings, path)
    assert path.read_text(encoding="utf-8") == render_report(findings)
    assert [entry.name for entry in tmp_path.iterdir()] == ["report.html"]
    assert stat.S_ISREG(path.stat().st_mode)


def test_a_file_that_cannot_be_written_is_named(findings, tmp_path):
    with pytest.raises(SettingError, match="report"):
        write_report(findings, tmp_path / "no" / "such" / "report.html")
    (tmp_path / "folder").mkdir()
    with pytest.raises(SettingError, match="folder"):
        write_report(findings, tmp_path / "folder")
    assert [entry.name for entry in tmp_path.iterdir()] == ["folder"]


def test_findings_are_not_changed(findings):
    before = msgspec.json.encode(findings)
    render_report(findings)
    assert msgspec.json.encode(findings) == before

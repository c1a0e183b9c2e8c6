from xml.etree import ElementTree

from openwheel.loop.offline.findings import Bin, Confusion
from openwheel.web import plots


def circles(svg):
    return [e for e in ElementTree.fromstring(str(svg)).iter() if e.tag.endswith("circle")]


def test_the_trade_off_marks_the_chosen_threshold_and_the_limit(findings):
    svg = plots.trade_off(findings.tasks[0])
    assert svg is not None
    root = ElementTree.fromstring(str(svg))
    assert root.attrib["role"] == "img"
    assert root.attrib["aria-label"]
    said = " ".join(root.itertext())
    assert "limit" in said
    assert "83.1%" in said
    assert "4.95%" in said


def test_reliability_has_a_dot_for_each_bin_with_its_area():
    svg = plots.reliability((Bin(0.6, 0.5, 10), Bin(0.9, 0.95, 1_000)))
    small, large = sorted(float(circle.attrib["r"]) for circle in circles(svg))[-2:]
    assert small < large


def test_a_learning_curve_needs_two_points():
    assert plots.learning_curve(()) is None
    assert plots.learning_curve(((100.0, 0.8), (200.0, 0.9))) is not None


def test_the_heat_table_has_every_count_and_a_muted_diagonal():
    cells = plots.heat_table(Confusion(("a", "b"), ((7, 2), (0, 9))))
    assert len(cells) == 2
    assert all(len(row) == 2 for row in cells)
    assert plots.heat_table(None) == ()


def test_missing_data_draws_nothing(findings):
    assert plots.reliability(()) is None
    uncertified = findings.tasks[-1]
    if not uncertified.trade_off and not uncertified.expected:
        assert plots.trade_off(uncertified) is None

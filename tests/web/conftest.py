"""Findings like those of a turn on a few thousand support tickets."""

import math

import pytest

from openwheel.loop.offline.findings import Bin, Confusion, Example, Finding, Findings


def _certified() -> Finding:
    coverages = [i / 50 for i in range(1, 51)]
    queues = (
        "billing/refund", "billing/invoice_copy", "maintenance/hydraulics/press_line_4_leakage",
        "maintenance/electrical", "safety", "it/password", "(other)",
    )  # fmt: skip
    return Finding(
        task="3f9a1c2b7d",
        name="Route this maintenance ticket to one of the queues",
        template="You route tickets for the plant.\nToday is {1}.\n\nTicket: {2}\n\nQueue:",
        form="label",
        n=12345,
        certified=True,
        rung="linear",
        student="5be1f0a2c4d6",
        certificate="9c0f" * 16,
        threshold=0.91347,
        variables=(2,),
        n_calibration=2500,
        answered=2077,
        disagreements=81,
        coverage=0.8308,
        bound=0.0495,
        epsilon=0.05,
        delta=0.05,
        delta_spent=0.0303964,
        attempt=1,
        reason="The student passed the gate at a coverage of 83.1%.",
        trade_off=tuple(
            (c, 0.005 + 0.09 * c**4 + 0.004 * math.sin(40 * c) / (10 * c)) for c in coverages
        ),
        expected=tuple((c, 0.006 + 0.085 * c**4) for c in coverages),
        learning_curve=((750, 0.771), (1500, 0.832), (3000, 0.874), (7345, 0.901)),
        reliability=(
            Bin(0.31, 0.35, 61),
            Bin(0.55, 0.52, 120),
            Bin(0.74, 0.78, 242),
            Bin(0.91, 0.9, 480),
            Bin(0.985, 0.981, 1597),
        ),
        confusion=Confusion(
            queues,
            (
                (312, 14, 0, 1, 0, 0, 2),
                (9, 241, 0, 0, 0, 0, 1),
                (0, 0, 1204, 31, 2, 0, 4),
                (1, 0, 18, 188, 0, 3, 0),
                (0, 0, 1, 0, 97, 0, 0),
                (0, 0, 0, 2, 0, 64, 0),
                (3, 0, 5, 0, 1, 1, 302),
            ),
        ),
        deferred=(
            Example("pump 7 makes a noise agian", queues[3], queues[2], 0.612),
            Example(
                "Hello,\nsince Monday the display of press line 4 shows E-17 and the oil is warm, "
                "could be the valve or the sensor. We changed the fuse, it came back after an "
                "hour.\nPlease call me on the yard phone, I am there until six.\nThanks, J.",
                queues[2], queues[3], 0.741,
            ),
            Example("مضخة الزيت لا تعمل", queues[2], queues[2], 0.2),
        ),
        disagreed=(
            Example("Rechnung fehlt, bitte Geld zurück", queues[0], queues[1], 0.953),
            Example("panel sparks when the door is open", queues[4], queues[3], 0.9312),
        ),
    )  # fmt: skip


def _refused() -> Finding:
    return Finding(
        task="77aa01",
        name="Is this message urgent?",
        template="Is it urgent? {1}",
        form="label",
        n=840,
        rung="linear",
        threshold=0.97,
        n_calibration=210,
        answered=95,
        disagreements=3,
        coverage=0.452,
        bound=0.0942,
        epsilon=0.02,
        delta=0.05,
        delta_spent=0.0075991,
        attempt=2,
        reason="Too few calibration exchanges: 3 of 95 answers disagreed, and the bound is 9.42%.",
        more_needed=1800,
        trade_off=tuple((c / 20, 0.01 + 0.4 * (c / 20) ** 3) for c in range(1, 21)),
        learning_curve=((630, 0.81),),
        reliability=(Bin(0.6, 0.55, 80), Bin(0.95, 0.97, 130)),
        confusion=Confusion(("yes", "no"), ((80, 0), (0, 120))),
        warnings=("The last 300 exchanges differ from the first: the wording changed.",),
    )


def _text() -> Finding:
    return Finding(
        task="c0ffee",
        name="Draft a reply",
        form="text",
        n=1402,
        epsilon=0.05,
        delta=0.05,
        reason="Its answers are free text, which is left to the teacher.",
    )


@pytest.fixture
def certified() -> Finding:
    return _certified()


@pytest.fixture
def refused() -> Finding:
    return _refused()


@pytest.fixture
def findings() -> Findings:
    return Findings(
        created="2026-02-03T10:11:12Z",
        version="0.1.0",
        source="tickets.jsonl.gz",
        exchanges=14817,
        unassigned=230,
        tasks=(_certified(), _text(), _refused()),
        warnings=("The log is not in order of arrival: its answers come in blocks.",),
    )

import pytest

from openwheel.wire import Answer, ended


@pytest.mark.parametrize(
    ("reason", "kept", "complete"),
    [
        *((reason, "stop", True) for reason in (None, "", "stop", "STOP", "eos", "eos_token")),
        *((reason, "stop", True) for reason in ("stop_sequence", "end_turn", "COMPLETE")),
        *((reason, "stop", True) for reason in ("completed", "FINISH_REASON_STOP", "endoftext")),
        *((reason, "stop", True) for reason in ("FinishReason.STOP", {"type": "stop"}, {})),
        *((reason, "tool_calls", True) for reason in ("tool_calls", "tool-calls", "TOOL_CALL")),
        ("tool_use", "tool_calls", True),
        ("function_call", "function_call", True),
        *((reason, "length", False) for reason in ("length", "MAX_TOKENS", "model_length")),
        *((reason, "content_filter", False) for reason in ("content-filter", "SAFETY")),
        *((reason, reason, False) for reason in ("refusal", "rejected", "pause_turn", "error")),
        *((reason, reason, False) for reason in ("abort", "not_finished", "Something.New", "-")),
        (7, "7", False),
        (False, "False", False),
    ],
)
def test_why_an_answer_ended(reason, kept, complete):
    assert ended(reason) == kept
    assert Answer("x", finish_reason=kept).complete is complete


@pytest.mark.parametrize("reason", ["eos_token", "STOP", "end_turn"])
def test_an_answer_that_was_kept_with_another_spelling_is_learned_from(reason):
    assert Answer("x", finish_reason=reason).complete

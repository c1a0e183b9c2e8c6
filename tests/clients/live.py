"""A gateway that is being served, with a scripted teacher and a student of one answer.

The one place of these tests that knows how a gateway is put together.
"""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from clients.answers import answer
from clients.answers.openai import WORDS
from openwheel.gateway import CaptureWriter, create_app, gateway_thread
from openwheel.loop.feedback.desk import FeedbackDesk
from openwheel.loop.serving import Decision
from openwheel.store.store import Store
from openwheel.teachers import HttpTeacher
from openwheel.wire import Request, question_in
from teacher import Teacher

WHERE = "where is my parcel?"
TEACHER = "".join(WORDS)
REFUND = "a refund please"
STUDENT = "billing"


@dataclass(frozen=True)
class TextServing:
    """Has a student that answers certain texts, unless tools are offered."""

    answers: Callable[[str], bool]

    def refresh(self) -> bool:
        return False

    def decide(self, request: Request, task: str = "", key: str = "") -> Decision:
        prompt = request.prompt
        sure = prompt.plain and not prompt.tools and self.answers(prompt.messages[-1].text)
        answer = f'{{"queue":"{STUDENT}"}}' if prompt.response_format else STUDENT
        if (question := question_in(prompt.response_format)) is not None:
            answer = question.answers[0] if question.clear else ""
        return Decision(
            answer=answer if sure else None,
            task="route",
            student="student-1",
            confidence=0.987654 if sure else 0.25,
            audit_probability=0.0,
        )


@dataclass(frozen=True)
class Live:
    """A gateway being served."""

    url: str
    teacher: Teacher


@contextlib.contextmanager
def live_gateway(
    folder: Path, answers: Callable[[str], bool] = lambda text: "refund" in text
) -> Iterator[Live]:
    """Serve a gateway for as long as the context lasts; ``answers`` says what a student may."""
    with Teacher(answer) as teacher, Store.open(folder / "openwheel.db") as store:
        capture = CaptureWriter(store)
        try:
            with gateway_thread(
                create_app(
                    HttpTeacher(teacher.url),
                    TextServing(answers),
                    capture,
                    feedback=FeedbackDesk(store),
                )
            ) as url:
                yield Live(url, teacher)
        finally:
            capture.close(5.0)

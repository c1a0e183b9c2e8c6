"""Asks a judge, blind and in both orders, whether two answers are interchangeable.

Knows nothing of HTTP: it is given a way to ask.
"""

from openwheel.loop.judging.consistency import Consistency, Share, asked_twice, believed, measure
from openwheel.loop.judging.question import PROMPT_SHA256, PROMPT_VERSION, Question, ask_about
from openwheel.loop.judging.teacher_judge import AskTeacher, Connect, TeacherJudge
from openwheel.store.judgements import JudgeCache

__all__ = [
    "PROMPT_SHA256",
    "PROMPT_VERSION",
    "AskTeacher",
    "Connect",
    "Consistency",
    "JudgeCache",
    "Question",
    "Share",
    "TeacherJudge",
    "ask_about",
    "asked_twice",
    "believed",
    "measure",
]

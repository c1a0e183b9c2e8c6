import logging
import shutil

import msgspec
import pytest

from made_up import QUEUES, tickets
from openwheel.loop.audit.shares import first_plan
from openwheel.loop.offline.learn import learn
from openwheel.loop.registry import Registry
from openwheel.loop.serving import SHADOW_AUDIT, RegistryServing
from openwheel.loop.settings import LoopSettings
from openwheel.store import Store
from openwheel.wire import Prompt, PromptMessage, Request

from .conftest import Filler

SETTINGS = LoopSettings()
NEW = first_plan(SETTINGS, "", by_hand=True).audit


def prompt(text: str, *, plain: bool = True) -> Request:
    return Request(prompt=Prompt(messages=(PromptMessage("user", text),), plain=plain))


@pytest.fixture(scope="module")
def learned_once(tmp_path_factory):
    """Return a folder with a store that has a promoted student."""
    folder = tmp_path_factory.mktemp("learned")
    with Store.open(folder / "openwheel.db") as store:
        Filler(store, folder)(tickets(1_500))
        learn(store, SETTINGS, source="made up")
    return folder


@pytest.fixture
def store(request, tmp_path):
    """Open an empty store, or for those who ask for ``serving`` a copy of that one."""
    if "serving" in request.fixturenames:
        shutil.copytree(request.getfixturevalue("learned_once"), tmp_path, dirs_exist_ok=True)
    with Store.open(tmp_path / "openwheel.db") as opened:
        yield opened


@pytest.fixture
def serving(registry) -> RegistryServing:
    return RegistryServing(registry)


EASY = prompt("invoice payment refund tax amount 4711")


def test_a_certified_student_answers_what_it_is_sure_of(serving):
    decision = serving.decide(EASY)
    assert decision.answer == "billing"
    assert decision.reason == ""
    assert decision.student
    assert decision.confidence is not None
    assert decision.audit_probability == NEW
    assert decision.canary == 1
    assert serving.students() == {decision.task: decision.student}


def test_why_it_defers(serving):
    unsure = prompt("the my please since again about 12")
    assert serving.decide(unsure).reason in {"confidence", "unlike training"}
    assert serving.decide(prompt("Ω≈ç√∫ 漢字 かな")).reason == "unlike training"
    assert serving.decide(prompt("invoice payment", plain=False)).reason == "not plain"
    assert serving.decide(EASY, "a task nobody knows").reason == "no task"
    messages = (PromptMessage("system", "Be kind."), *EASY.prompt.messages)
    two = Request(prompt=Prompt(messages=messages))
    assert serving.decide(two).answer is None


def test_only_what_it_was_asked_and_deferred_has_a_guess(serving):
    words = [queue.split() for queue in QUEUES.values()]
    texts = [f"{a} {b} please" for one in words for other in words for a in one for b in other]
    unsure = [one for one in map(serving.decide, map(prompt, texts)) if one.reason == "confidence"]
    assert unsure
    assert {one.answer for one in unsure} == {None}
    assert {one.below_threshold_answer for one in unsure} <= set(QUEUES)
    unlike = serving.decide(prompt("Ω≈ç√∫ 漢字 かな"))
    assert (unlike.answer, unlike.reason) == (None, "unlike training")
    assert unlike.below_threshold_answer in QUEUES
    for request in (EASY, prompt(texts[0], plain=False)):
        assert serving.decide(request).below_threshold_answer is None


def test_nothing_promoted_means_the_teacher_answers(registry):
    decision = RegistryServing(registry).decide(EASY)
    assert decision.answer is None
    assert decision.reason == "no task"
    assert decision.audit_probability == 1.0


def test_promotions_and_demotions_are_picked_up(serving, registry):
    (record,) = registry.tasks()
    assert not serving.refresh()
    registry.demote(record.task.id, by="user", reason="by hand")
    assert serving.refresh()
    assert serving.decide(EASY).reason == "no student"
    (certificate,) = registry.certificates()
    registry.promote(certificate, by="user", reason="by hand", audit=0.2)
    assert serving.refresh()
    assert serving.decide(EASY).answer == "billing"
    assert serving.decide(EASY).audit_probability == 0.2


def test_a_corrupt_student_goes_to_the_teacher_loudly(serving, registry, caplog):
    (student,) = serving.students().values()
    file = registry.files.folder(student) / "arrays.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"\0")
    with caplog.at_level(logging.ERROR):
        fresh = RegistryServing(registry)
    assert fresh.decide(EASY).reason == "no student"
    assert "arrays.safetensors was changed" in caplog.text
    ((task, said),) = fresh.broken().items()
    assert task == fresh.decide(EASY).task
    assert "arrays.safetensors was changed" in said
    (certificate,) = registry.certificates()
    registry.demote(certificate.task, by="user", reason="by hand")
    assert fresh.refresh()
    assert fresh.broken() == {}


@pytest.mark.parametrize(("coverage", "share"), [(2.0, SHADOW_AUDIT), (1.0, NEW)])
def test_more_is_audited_while_a_much_better_student_waits(serving, registry, coverage, share):
    """Whether it is worth it; no student covers 200%, but one in front covers nearly all here."""
    (candidate, _, _) = registry.candidates()[0]
    shadow = msgspec.structs.replace(candidate, id="shadow", coverage=coverage, enough=300)
    registry.add_candidate(shadow)
    assert serving.refresh()
    assert serving.decide(EASY).audit_probability == share


def test_settings_it_was_not_certified_for_are_left_to_the_teacher(store, fill):
    fill(
        [
            {
                "request": {
                    "model": "m",
                    "temperature": 0,
                    "messages": [{"role": "user", "content": row["input"]}],
                },
                "response": row["output"],
            }
            for row in tickets(1_500)
        ]
    )
    learn(store, SETTINGS, source="made up")
    serving = RegistryServing(Registry(store))

    def decided(settings):
        return serving.decide(msgspec.structs.replace(EASY, settings=settings))

    assert decided({"model": '"m"', "temperature": "0"}).answer == "billing"
    for other in [
        {"model": '"m"', "temperature": "1"},
        {"model": '"m"'},
        {"model": '"n"', "temperature": "0"},
        {"model": '"m"', "temperature": "0", "max_tokens": "1"},
    ]:
        assert decided(other).answer is None
        assert decided(other).reason == "settings"

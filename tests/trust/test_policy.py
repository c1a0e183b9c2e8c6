import msgspec
import pytest

from openwheel.errors import CatalogError, PolicyError, SettingError
from openwheel.settings import (
    CatalogSection,
    LmSection,
    PolicySection,
    Settings,
    TeacherSection,
)
from openwheel.trust import Base, Lineage, Policy, TaughtBy

HUNYUAN = "tencent/Hunyuan-7B-Instruct"
LLAMA = "meta-llama/Llama-3.2-1B"


def policy(*teachers, files=(), **section):
    return Policy.of(
        Settings(
            policy=PolicySection(**section), teachers=teachers, catalog=CatalogSection(files=files)
        )
    )


def teacher(name="gpu", url="http://gpu:8000/v1", **fields):
    return TeacherSection(name=name, url=url, **fields)


def lineage(*taught, base=None, complete=True):
    return Lineage(
        student="linear-1", task="t", rung="linear", base=base, taught_by=taught, complete=complete
    )


def taught_by(model, teacher="gpu"):
    return TaughtBy(teacher=teacher, model=model, exchanges=10)


def test_answers_of_hunyuan_train_nobody_and_the_clause_is_named():
    decision = policy(teacher()).may_learn_from("gpu", HUNYUAN)
    assert not decision.allowed
    assert decision.licence == "LicenseRef-Tencent-Hunyuan-Community"
    with pytest.raises(PolicyError) as raised:
        decision.require()
    said = str(raised.value)
    assert "teacher gpu" in said
    assert "5(b)" in said  # the clause
    assert "confidence B" in said  # where it was read, and how surely
    assert "[policy.overrides]" in said  # what to do


def test_a_written_permission_lets_them_train_and_is_kept():
    written = "contract 123 of 2026-10-01"
    overrides = {"LicenseRef-Tencent-Hunyuan-Community": written}
    decision = policy(teacher(), overrides=overrides).may_learn_from("gpu", HUNYUAN)
    assert decision.allowed
    assert decision.override == written
    assert written in str(decision)
    assert any(condition.about == "region" for condition in decision.conditions)


def test_a_permission_for_a_checkpoint_is_for_no_other():
    allowed = policy(teacher(), overrides={HUNYUAN: "by mail"})
    assert allowed.may_learn_from("gpu", HUNYUAN).allowed
    assert not allowed.may_learn_from("gpu", "tencent/Hunyuan-4B-Instruct").allowed


def test_a_permission_for_what_there_is_not_is_an_error():
    with pytest.raises(SettingError, match=r"LicenseRef-Tencent-Hunyuan-Comunity.*did you mean"):
        policy(overrides={"LicenseRef-Tencent-Hunyuan-Comunity": "yes"})


@pytest.mark.parametrize("model", ["mistralai/Mistral-Large-Instruct-2411", "mistral-large-2411"])
def test_research_licences_train_nobody_whatever_the_use(model):
    for use in (None, "commercial", "non-commercial"):
        stated = teacher(licence="LicenseRef-Mistral-Research")
        assert not policy(stated, use=use).may_learn_from("gpu", model).allowed


def test_non_commercial_weights_are_asked_with_a_warning_until_the_use_is_said():
    model = "Qwen/Qwen2.5-3B-Instruct"
    unsaid = policy(teacher())
    sent = unsaid.may_send("gpu", model)
    assert sent.allowed
    assert any("non-commercial" in warning for warning in sent.warnings)
    assert not unsaid.may_learn_from("gpu", model).allowed
    assert not unsaid.may_train(model).allowed
    assert not policy(teacher(), use="commercial").may_send("gpu", model).allowed
    research = policy(teacher(), use="non-commercial")
    assert research.may_learn_from("gpu", model).allowed
    assert research.may_train(model).allowed


@pytest.mark.parametrize(
    ("regions", "allowed"),
    [((), True), (("US",), True), (("DE",), False), (("EU",), False), (("UK",), False)],
)
def test_where_a_licence_does_not_apply(regions, allowed):
    decision = policy(teacher(), regions=regions).may_send("gpu", HUNYUAN)
    assert decision.allowed is allowed
    if not allowed:
        assert "where you operate" in str(decision)


@pytest.mark.parametrize(
    ("jurisdictions", "place", "url", "allowed"),
    [
        ((), "", "https://api.example.com/v1", True),
        (("DE",), "DE", "https://api.example.com/v1", True),
        (("EU",), "DE", "https://api.example.com/v1", True),
        (("EU",), "US", "https://api.example.com/v1", False),
        (("DE",), "EU", "https://api.example.com/v1", False),  # may be another member state
        (("EU",), "", "https://api.example.com/v1", False),  # a list is a promise
        (("EU",), "", "http://127.0.0.1:8000/v1", True),
        (("EU",), "", "http://localhost.example.com/v1", False),
        (("EU",), "US", "http://127.0.0.1:8000/v1", False),  # a tunnel, by the operator's word
    ],
)
def test_where_data_may_be_sent(jurisdictions, place, url, allowed):
    found = policy(teacher(url=url, jurisdiction=place), jurisdictions=jurisdictions)
    decision = found.may_send("gpu", "qwen3:8b")
    assert decision.allowed is allowed
    assert bool(found.refused_teachers()) is not allowed
    if not allowed:
        assert "jurisdiction" in str(decision)


@pytest.mark.parametrize("code", ["Germany", "de", ""])
def test_a_place_is_a_code(code):
    with pytest.raises(SettingError, match="country codes"):
        policy(regions=(code,))


@pytest.mark.parametrize(
    ("lists", "allowed"),
    [
        ({"licences": ("Apache-2.0",)}, True),
        ({"licences": ("MIT",)}, False),
        ({"licences": ("spdx",)}, True),
        ({"forbidden_licences": ("apache-*",)}, False),
        ({"forbidden_licences": ("custom",)}, True),
    ],
)
def test_lists_of_licences(lists, allowed):
    found = policy(teacher(), **lists)
    for decision in (
        found.may_send("gpu", "qwen3:8b"),
        found.may_learn_from("gpu", "Qwen/Qwen3-8B"),
        found.may_train("Qwen/Qwen3-8B"),
    ):
        assert decision.allowed is allowed


def test_lists_are_the_operators_own_and_fall_to_no_permission():
    found = policy(
        teacher(), forbidden_licences=("Apache-2.0",), overrides={"Apache-2.0": "I allow it"}
    )
    assert not found.may_send("gpu", "qwen3:8b").allowed


@pytest.mark.parametrize(
    "name",
    ["Qwen/Qwen3-8B", "qwen/qwen3-8b", "qwen3:8b", "qwen/qwen3-8b:free", "Qwen3-8B-Instruct-AWQ"],
)
def test_names_of_one_checkpoint(name):
    assert policy().terms_of("", name).checkpoint == "Qwen/Qwen3-8B"


@pytest.mark.parametrize("name", ["gpt-9", "", "qwen3.8", "my-model", "8b"])
def test_names_of_no_checkpoint(name):
    assert policy().terms_of("", name).licences == ()


def test_what_is_not_known_is_allowed_with_a_warning_or_refused():
    decision = policy(teacher()).may_learn_from("gpu", "gpt-9")
    assert decision.allowed
    assert any("not known" in warning for warning in decision.warnings)
    strict = policy(teacher(), unknown="refuse")
    for refused in (
        strict.may_send("gpu", "gpt-9"),
        strict.may_learn_from("gpu", "gpt-9"),
        strict.may_train("/models/mine"),
        strict.may_promote(lineage(taught_by("gpt-9"))),
        strict.may_promote(lineage(complete=False)),
    ):
        assert not refused.allowed


def test_the_operators_word_settles_what_is_not_known_and_no_more():
    licensed = teacher(licence="LicenseRef-our-contract", training="allowed", terms="contract 7")
    assert policy(licensed, unknown="refuse").may_learn_from("gpu", "gpt-9").allowed
    assert not policy(teacher(training="forbidden")).may_learn_from("gpu", "qwen3:8b").allowed
    assert not policy(teacher(training="allowed")).may_learn_from("gpu", HUNYUAN).allowed
    behind = policy(teacher(checkpoint=HUNYUAN))
    assert not behind.may_learn_from("gpu", "support-bot").allowed
    local = policy(teacher(url=f"local:{HUNYUAN}"))
    assert not local.may_learn_from("gpu", "support-bot").allowed
    mapped = policy(teacher(), models={"support-*": HUNYUAN})
    assert not mapped.may_learn_from("gpu", "support-bot").allowed
    assert not mapped.may_learn_from("", "support-bot").allowed  # of a log
    assert mapped.may_learn_from("gpu", "other-bot").allowed


@pytest.mark.parametrize(
    ("facts", "allowed"),
    [
        ({}, False),
        ({"sells_models": True}, False),
        ({"sells_models": False}, True),
        ({"sells_models": False, "yearly_revenue": 1e9}, True),
    ],
)
def test_limits_for_who_sells_models(facts, allowed):
    """Qwen's community licence binds who sells models, at any size."""
    stated = teacher(licence="LicenseRef-Qwen-Community-1.0")
    assert policy(stated, **facts).may_train("Qwen/Qwen3.8-Flash-Next").allowed is allowed
    assert policy(stated, **facts).may_send("gpu").allowed is (
        facts.get("sells_models") is not True
    )


def test_a_limit_of_revenue_holds_from_where_it_says():
    small, large = ({"yearly_revenue": revenue} for revenue in (19e6, 21e6))
    stated = teacher(licence="LicenseRef-MiniMax-Community")
    assert policy(stated, **small).may_send("gpu").allowed
    decision = policy(stated, **large).may_send("gpu")
    assert not decision.allowed
    assert "20,000,000 dollars of revenue a year" in str(decision)
    monthly = teacher(licence="LicenseRef-Mistral-Modified-MIT")
    assert policy(monthly, **large).may_send("gpu").allowed  # 20 million a month
    assert not policy(monthly, yearly_revenue=2.5e8).may_send("gpu").allowed


def test_llama_asks_for_a_name_only_when_passed_on():
    found = policy(teacher())
    decision = found.may_learn_from("gpu", LLAMA)
    assert decision.allowed
    asked = {condition.about: condition.text for condition in decision.conditions}
    assert asked["name"] == "Llama"
    assert asked["notice"] == "Built with Llama"
    student = lineage(taught_by(LLAMA))
    assert found.may_promote(student).allowed
    assert found.may_export(student).allowed
    assert found.may_export(student, "Llama-tickets").allowed
    refused = found.may_export(student, "tickets")
    assert not refused.allowed
    assert "begins with 'Llama'" in str(refused)


def test_apache_teachers_ask_nothing_and_bases_their_licence():
    found = policy(teacher())
    assert found.may_learn_from("gpu", "qwen3:8b").conditions == ()
    asked = found.may_train("Qwen/Qwen3-0.6B").conditions
    assert [condition.about for condition in asked] == ["licence"]


def test_a_student_is_judged_by_all_it_was_made_of():
    found = policy(teacher())
    good = Base(id="Qwen/Qwen3-0.6B", kind="lm", licences=("Apache-2.0",))
    assert found.may_promote(lineage(taught_by("qwen3:8b"), base=good)).allowed
    refused = found.may_promote(lineage(taught_by("qwen3:8b"), taught_by(HUNYUAN), base=good))
    assert not refused.allowed
    assert "student linear-1" in str(refused)
    assert HUNYUAN in str(refused)
    research = msgspec.structs.replace(good, id="Qwen/Qwen2.5-3B-Instruct")
    assert not found.may_promote(lineage(base=research)).allowed


def test_what_was_known_of_a_teacher_that_is_gone_is_known_still():
    gone = TaughtBy(
        teacher="gone",
        model="bot",
        exchanges=1,
        licences=("LicenseRef-Tencent-Hunyuan-Community",),
    )
    assert not policy().may_promote(lineage(gone)).allowed
    said = TaughtBy(teacher="gone", model="bot", exchanges=1, training="allowed")
    assert policy(unknown="refuse").may_promote(lineage(said)).allowed
    base = Base(id="/models/mine", kind="lm", licences=("LicenseRef-Qwen-Research",))
    assert not policy().may_promote(lineage(base=base)).allowed
    unknown = lineage(base=msgspec.structs.replace(base, licences=()))
    assert not policy().may_promote(unknown).allowed
    assert policy(models={"/models/*": "Apache-2.0"}).may_promote(unknown).allowed


def test_teachers_are_judged_by_the_models_they_are_listed_for():
    found = policy(
        teacher("a", models=("qwen3:8b", "tencent/*")),
        teacher("b", models=(HUNYUAN,)),
        TeacherSection(url="replay:log.jsonl"),
        regions=("FR",),
        jurisdictions=(),
    )
    (refused,) = found.refused_teachers()
    assert "teacher b" in refused.subject


def test_a_catalogue_of_ones_own(tmp_path):
    own = tmp_path / "own.toml"
    own.write_text(
        """
        [[licence]]
        id = "LicenseRef-ours"
        name = "Ours"
        outputs_may_train = "no"
        confidence = "A"
        source = "our contract"
        """
    )
    found = policy(teacher(licence="LicenseRef-ours"), files=(str(own),))
    assert not found.may_learn_from("gpu", "x").allowed
    with pytest.raises(CatalogError):
        policy(files=(str(tmp_path / "none.toml"),))


def test_bases_of_the_settings():
    research = "Qwen/Qwen2.5-3B-Instruct"
    for lm, allowed in (
        (LmSection(), []),
        (LmSection(base="Qwen/Qwen3-0.6B"), [True]),
        (LmSection(base=research), [False]),
        (LmSection(base="Qwen/Qwen3-0.6B", teacher=HUNYUAN), [True, False]),
    ):
        settings = Settings(lm=lm)
        found = Policy.of(settings).on_bases(settings)
        assert [decision.allowed for decision in found] == allowed


JEV, SERVICES = "LicenseRef-TypeSafe-MCA", "LicenseRef-OpenAI-Services-Agreement"


@pytest.mark.parametrize(
    ("name", "url", "model"),
    [
        ("jev", "https://api.typesafe.ai", "jev-latest"),
        ("jev", "https://API.typesafe.ai/v1", ""),
        ("proxy", "http://proxy:4000/v1", "typesafe/jev-1.13.0"),
        ("", "", "jev-latest"),  # a log
    ],
)
def test_answers_of_jev_train_nobody_and_the_clause_is_named(name, url, model):
    judge = policy(teacher(name, url)) if name else policy()
    assert judge.may_send(name, model).allowed
    decision = judge.may_learn_from(name, model)
    assert (decision.allowed, decision.licence) == (False, JEV)
    assert "2.3(b)" in str(decision)
    assert "unverified" in str(decision)
    assert not judge.may_promote(lineage(taught_by(model, name))).allowed


def test_a_written_permission_of_typesafe_lets_its_answers_train():
    overrides = {JEV: "their mail of 2026-11-20"}
    judge = policy(teacher("jev", "https://api.typesafe.ai"), overrides=overrides)
    decision = judge.may_learn_from("jev", "jev-latest")
    assert (decision.allowed, decision.override) == (True, "their mail of 2026-11-20")


@pytest.mark.parametrize(
    ("url", "model"),
    [("https://api.openai.com/v1", "gpt-6-luna"), ("http://proxy:4000/v1", "openai/gpt-6-luna")],
)
def test_answers_of_openais_decisions_train_under_a_condition_that_is_said(url, model):
    decision = policy(teacher("api", url)).may_learn_from("api", model)
    assert (decision.allowed, decision.licence) == (True, SERVICES)
    assert any("embeddings or classifiers" in warning for warning in decision.warnings)


def test_settings_come_before_a_service():
    named = teacher("api", "https://api.typesafe.ai", licence="LicenseRef-ours", training="allowed")
    assert policy(named).may_learn_from("api", "jev-latest").licence == "LicenseRef-ours"


def test_a_checkpoint_is_itself_whoever_serves_it():
    served = policy(teacher("api", "https://api.openai.com/v1"))
    assert served.may_learn_from("api", LLAMA).licence != SERVICES


def test_a_service_of_ones_own_takes_the_place_of_one_that_ships(tmp_path):
    own = tmp_path / "own.toml"
    own.write_text(
        """
        [[service]]
        id = "TypeSafe"
        hosts = ["api.typesafe.ai"]
        licence = "LicenseRef-ours"
        confidence = "A"
        source = "our contract"
        [[licence]]
        id = "LicenseRef-ours"
        name = "Our contract"
        outputs_may_train = "yes"
        confidence = "A"
        source = "our contract"
        """
    )
    judge = policy(teacher("jev", "https://api.typesafe.ai"), files=(str(own),))
    assert judge.may_learn_from("jev", "jev-latest").licence == "LicenseRef-ours"
    own.write_text(own.read_text().replace('id = "LicenseRef-ours"', 'id = "LicenseRef-other"'))
    with pytest.raises(CatalogError, match=r"service 'TypeSafe'.*no licence 'LicenseRef-ours'"):
        policy(files=(str(own),))

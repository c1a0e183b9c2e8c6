"""Answers as students ask for them: forms, stops, thoughts, adapters, limits."""

import json
import threading

import pytest
import torch

from engine.tiny import CHATML, save_tiny, tiny_config, tiny_tokenizer
from openwheel.engine.base import load_base
from openwheel.engine.choose import Sampling
from openwheel.engine.engine import Engine, EngineLimits, Wanted
from openwheel.engine.scheduler import EngineFullError
from openwheel.errors import EngineError, ModelError, RequestError, SettingError
from openwheel.inference import Ask, Constraint
from openwheel.wire import PromptMessage

# PEFT asks transformers for what that has renamed.
pytestmark = pytest.mark.filterwarnings(
    "ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"
)

THINKING = CHATML.replace(
    "<|im_start|>assistant\n{% endif %}",
    "<|im_start|>assistant\n{% if enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}"
    "{% endif %}",
)


def ask(text="the bank card", model="tiny", **more):
    return Ask(model=model, messages=(PromptMessage("user", text),), **{"max_tokens": 16, **more})


@pytest.fixture(scope="module")
def engine(model_folder):
    with Engine(load_base(str(model_folder), device="cpu"), name="tiny") as engine:
        yield engine


@pytest.fixture(scope="module")
def adapters(model_folder, tmp_path_factory):
    """Two adapters of the tiny model, whose weights change its answers."""
    from peft import LoraConfig, get_peft_model

    folders = []
    for seed in range(2):
        torch.manual_seed(seed)
        config = LoraConfig(
            r=4, target_modules=["q_proj", "o_proj", "down_proj"], init_lora_weights=False
        )
        model = get_peft_model(load_base(str(model_folder), device="cpu").model, config)
        folders.append(tmp_path_factory.mktemp("adapter"))
        model.save_pretrained(folders[-1])
    return folders


def test_scores_are_those_of_the_model_before_any_constraint(engine, model_folder):
    asked = ask(constraint=Constraint(choices=("billing", "shipping", "returns", "other")))
    (written,) = engine.write([asked])
    assert written.text in asked.constraint.choices
    assert written.finish == "stop"
    base = load_base(str(model_folder), device="cpu")
    prompt = engine.render([{"role": "user", "content": "the bank card"}], thinking=False).ids
    answer = base.tokenizer(written.text, add_special_tokens=False)["input_ids"]
    assert written.completion_tokens in {len(answer), len(answer) + 1}  # with its end
    logits = base.model(torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 : -1]
    logprobs = torch.log_softmax(logits, -1)
    for at, token in enumerate(answer[: len(written.logprobs)]):
        own = float(logprobs[at, token])
        others = logprobs[at].clone()
        others[token] = -torch.inf
        assert written.logprobs[at] == pytest.approx(own, abs=1e-3)
        assert written.margins[at] == pytest.approx(own - float(others.max()), abs=1e-3)
    # The form was kept against the model's will, and the margin says so.
    assert min(written.margins) < 0


def test_free_answers_never_have_a_negative_margin_when_greedy(engine):
    (written,) = engine.write([ask()])
    assert len(written.logprobs) == written.completion_tokens
    assert all(margin >= 0 for margin in written.margins)
    assert all(logprob < 0 for logprob in written.logprobs)


def test_answers_come_in_the_order_of_the_asks(engine):
    words = ["billing", "shipping", "returns", "other"] * 3
    asks = [ask(word, constraint=Constraint(choices=(word,))) for word in words]
    assert [written.text for written in engine.write(asks)] == words


def test_a_stop_text_and_the_most_tokens_end_an_answer(engine):
    (whole,) = engine.write([ask(constraint=Constraint(regex="yes, no, other"))])
    assert (whole.text, whole.finish) == ("yes, no, other", "stop")
    stopped = ask(constraint=Constraint(regex="yes, no, other"), stop=("no", "her"))
    (cut,) = engine.write([stopped])
    assert (cut.text, cut.finish) == ("yes, ", "stop")
    (short,) = engine.write([ask(constraint=Constraint(regex="yes, no, other"), max_tokens=1)])
    assert short.finish == "length"
    assert short.completion_tokens == 1
    assert "yes, no, other".startswith(short.text)


def test_json_of_a_schema_is_written(engine):
    schema = {
        "type": "object",
        "properties": {"label": {"enum": ["naïve", "schön"]}, "count": {"enum": [1, 22]}},
        "required": ["label", "count"],
        "additionalProperties": False,
    }
    asked = ask(constraint=Constraint(json_schema=json.dumps(schema)), max_tokens=200)
    record = json.loads(engine.write([asked])[0].text)
    assert record["label"] in {"naïve", "schön"}


def test_what_cannot_be_answered_is_refused_and_the_next_is_answered(engine):
    with pytest.raises(EngineError, match="'other' is not served here; there is tiny"):
        engine.write([ask(model="other")])
    with pytest.raises(RequestError, match="must have 1 to 1023 tokens, and has"):
        engine.write([ask("the bank card " * 400)])
    with pytest.raises(RequestError, match="cannot be kept to the form"):
        engine.write([ask(constraint=Constraint(regex="(?=a)"))])
    with pytest.raises(RequestError, match="max_tokens must be at least 1, was 0"):
        engine.write([ask(max_tokens=0)])
    assert engine.write([ask()])[0].text


def test_a_seed_repeats_a_draw_and_other_seeds_draw_otherwise(engine):
    prompt = engine.render([{"role": "user", "content": "yes"}])

    def draw(seed, temperature=1.5, top_p=1.0):
        sampling = Sampling(temperature=temperature, top_p=top_p, seed=seed)
        wanted = Wanted(model="tiny", prompt=prompt, max_tokens=12, sampling=sampling)
        (started,) = engine.start([wanted])
        started.answering.done.wait()
        return [one.token for one in started.answering.scored]

    assert draw(1) == draw(1)
    assert len({tuple(draw(seed)) for seed in range(8)}) > 4
    # Of almost no probability, only the most likely token is left.
    greedy = draw(0, temperature=0.0)
    assert draw(1, top_p=1e-9) == draw(2, top_p=1e-9) == greedy


def test_adapters_answer_under_their_names_and_the_base_stays_as_it_was(
    model_folder, adapters, engine
):
    from peft import PeftModel

    asks = [ask(text) for text in ("the bank card", "billing")]
    before = engine.write(asks)
    for number, folder in enumerate(adapters):
        engine.load_adapter(f"task.{number}", folder)
    try:
        assert engine.models() == ["tiny", "task.0", "task.1"]
        mixed = [ask(text, model) for text in ("a", "b") for model in engine.models()]
        answers = {
            (asked.model, asked.messages[0].text): written
            for asked, written in zip(mixed, engine.write(mixed), strict=True)
        }
        for number, folder in enumerate(adapters):
            alone = PeftModel.from_pretrained(
                load_base(str(model_folder), device="cpu").model, folder
            ).eval()
            prompt = engine.render([{"role": "user", "content": "b"}], thinking=False).ids
            logprobs = torch.log_softmax(alone(torch.tensor([prompt])).logits[0, -1], -1)
            written = answers[f"task.{number}", "b"]
            assert written.logprobs[0] == pytest.approx(float(logprobs.max()), abs=1e-3)
        assert [w.logprobs for w in engine.write(asks)] == [w.logprobs for w in before]
        with pytest.raises(RequestError, match="loaded already"):
            engine.load_adapter("task.0", adapters[0])
    finally:
        engine.unload_adapter("task.0")
        engine.unload_adapter("task.1")
    assert engine.models() == ["tiny"]
    assert [w.logprobs for w in engine.write(asks)] == [w.logprobs for w in before]
    with pytest.raises(RequestError, match=r"There is no adapter 'task\.0'"):
        engine.unload_adapter("task.0")


@pytest.mark.parametrize("more", [-1, 7])
def test_a_model_may_score_fewer_or_more_tokens_than_its_tokenizer_has(tmp_path, more):
    tokenizer = tiny_tokenizer()
    config = tiny_config(tokenizer, vocab_size=len(tokenizer) + more)
    folder = save_tiny(tmp_path, tokenizer=tokenizer, config=config)
    kept = Constraint(choices=("the bank", "a card"))
    with Engine(load_base(str(folder), device="cpu"), name="tiny") as engine:
        (free,) = engine.write([ask()])
        (chosen,) = engine.write([ask(constraint=kept)])
    assert free.completion_tokens
    assert chosen.text in kept.choices


def test_an_adapter_stays_in_place_whatever_others_are_loaded_and_let_go(engine, adapters):
    def written(model):
        (one,) = engine.write([ask("b", model=model)])
        return [round(value, 3) for value in one.logprobs]

    try:
        engine.load_adapter("one", adapters[0])
        before = written("one")
        assert written("tiny") != before
        assert written("one") == before
        engine.load_adapter("two", adapters[1])
        assert written("one") == before
        engine.unload_adapter("two")
        assert written("one") == before
        engine.unload_adapter("one")
        engine.load_adapter("one", adapters[0])
        assert written("one") == before
    finally:
        engine.unload_adapter("one")


def test_an_adapter_of_another_model_is_refused_and_nothing_is_changed(engine, adapters, tmp_path):
    before = engine.write([ask()])
    with pytest.raises(ModelError, match=r"has no adapter_config\.json"):
        engine.load_adapter("empty", tmp_path)
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        (tmp_path / name).write_bytes((adapters[0] / name).read_bytes())
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    (tmp_path / "adapter_config.json").write_text(json.dumps({**config, "r": 2}))
    with pytest.raises(ModelError, match="cannot be loaded"):
        engine.load_adapter("other", tmp_path)
    (tmp_path / "adapter_config.json").write_text(
        json.dumps({**config, "target_modules": ["nothing_like_it"]})
    )
    with pytest.raises(ModelError, match="cannot be loaded"):
        engine.load_adapter("other", tmp_path)
    assert engine.models() == ["tiny"]
    assert engine.write([ask()]) == before


def test_too_many_at_once_are_refused_rather_than_kept(model_folder):
    limits = EngineLimits(max_queue=3, max_batch=1)
    with (
        Engine(load_base(str(model_folder), device="cpu"), name="tiny", limits=limits) as engine,
        pytest.raises(EngineFullError, match="try again later"),
    ):
        engine.write([ask(max_tokens=2)] * 5)


def test_more_than_memory_holds_is_refused(model_folder):
    limits = EngineLimits(memory_share=1e-9)
    with (
        Engine(load_base(str(model_folder), device="cpu"), name="tiny", limits=limits) as engine,
        pytest.raises(RequestError, match="which is what memory holds"),
    ):
        engine.write([ask()])


def test_an_answer_that_nobody_waits_for_any_more_is_given_up(engine):
    prompt = engine.render([{"role": "user", "content": "yes"}])
    endless = Wanted(
        model="tiny", prompt=prompt, constraint=Constraint(regex="(a|b|c)+"), max_tokens=900
    )
    heard = threading.Event()
    (started,) = engine.start([endless], [lambda _: heard.set()])
    heard.wait(20)
    started.job.cancelled = True
    assert started.answering.done.wait(20)
    assert started.answering.written < 900
    assert engine.write([ask()])[0].text


def test_closing_ends_what_is_being_written(model_folder):
    engine = Engine(load_base(str(model_folder), device="cpu"), name="tiny")
    prompt = engine.render([{"role": "user", "content": "yes"}])
    endless = Wanted(
        model="tiny", prompt=prompt, constraint=Constraint(regex="(a|b|c)+"), max_tokens=900
    )
    heard = threading.Event()
    (started,) = engine.start([endless], [lambda _: heard.set()])
    heard.wait(20)
    engine.close()
    assert started.answering.done.is_set()
    assert str(started.answering.error) == "The engine has ended"
    with pytest.raises(EngineError, match="has ended"):
        engine.write([ask()])


@pytest.fixture(scope="module")
def thinker(tmp_path_factory):
    tokenizer = tiny_tokenizer(THINKING, special=())
    folder = save_tiny(tmp_path_factory.mktemp("thinker"), tokenizer=tokenizer, seed=3)
    with Engine(load_base(str(folder), device="cpu"), name="thinker") as engine:
        yield engine


def test_a_thought_comes_before_a_set_form_and_is_not_scored(thinker):
    form = Constraint(choices=("billing", "shipping"))
    (direct,) = thinker.write([ask(model="thinker", constraint=form)])
    assert (direct.text in form.choices, direct.reasoning) == (True, "")
    prompt = thinker.render([{"role": "user", "content": "x"}], thinking=True, formed=True)
    assert prompt.text.endswith("<|im_start|>assistant\n<think>\n")
    # A random model never ends its thought: there is no answer then, rather than a wrong one.
    thinking = ask(model="thinker", constraint=form, thinking=True, max_tokens=30)
    (written,) = thinker.write([thinking])
    assert (written.text, written.finish, written.logprobs) == ("", "length", ())
    assert written.completion_tokens == 30


def test_the_form_of_thoughts_can_be_set_and_must_be_a_known_one(model_folder):
    base = load_base(str(model_folder), device="cpu")
    with pytest.raises(SettingError, match=r"must be auto, none, think, .*, was 'aloud'"):
        Engine(base, reasoning="aloud")
    with pytest.raises(SettingError, match=r"must be auto, tags, .*, was 'xml'"):
        Engine(base, tools="xml")

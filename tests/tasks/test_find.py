"""Tasks found in logs made here, one difficulty at a time."""

import datetime
import itertools
import json
import random
import time

import pytest

from openwheel.tasks import Task, TaskMatcher, find_tasks, find_templates
from openwheel.wire import Answer, Prompt, ToolCall

NAMES = ["Ana", "Ben", "Chloé", "Dmitri", "Eve", "Farid", "Grace", "Hiro", "Ines", "Jonas"]
COLOURS = ["red", "green", "blue", "dark yellow"]
MOODS = ["calm", "cross", "pleased"]
YES_NO = ["yes", "no"]


def date(rng: random.Random) -> str:
    day = datetime.date(2026, 11, 1) + datetime.timedelta(days=rng.randrange(20))
    return f"{day:%A, %B} {day.day}, {day.year}"


def found(log: list[tuple[Prompt, Answer]]) -> tuple[list[Task], list[tuple[str, tuple[str, ...]]]]:
    """Return the tasks of a log, and for each exchange its task's id and its inputs."""
    random.Random(0).shuffle(log)
    tasks = find_tasks([(prompt, answer, "") for prompt, answer in log])
    matcher = TaskMatcher(tasks)
    hits = [matcher.match(prompt) for prompt, _ in log]
    return tasks, [(hit[0].id, hit[1]) if hit else ("", ()) for hit in hits]


def only(log: list[tuple[Prompt, Answer]], originals: dict[Prompt, str]) -> Task:
    """Assert that a log is one task whose inputs hold the original texts; return the task."""
    tasks, hits = found(log)
    assert len(tasks) == 1, [task.template and task.template.describe() for task in tasks]
    missing = [
        (originals[prompt], inputs)
        for (prompt, _), (_, inputs) in zip(log, hits, strict=True)
        if originals[prompt] not in inputs
    ]
    assert len(missing) <= 0.01 * len(log), missing[:3]
    return tasks[0]


def build(texts, labels, make, n=400):
    """Return a log of one template, and the original text of each of its prompts."""
    log, originals = [], {}
    for _ in range(n):
        text = texts.text()
        made = make(text)
        originals[made] = text
        log.append((made, texts.answer(text, labels)))
    return log, originals


def shots(texts, labels, k, join="\n\n"):
    drawn = [texts.text() for _ in range(k)]
    return join.join(f"Input: {t}\nOutput: {texts.answer(t, labels).text}" for t in drawn)


def test_dates_names_and_ids_in_the_system_prompt_are_variables(texts, prompt):
    rng = texts.rng

    def make(text):
        system = (
            f"You are {rng.choice(NAMES)}, a helpful assistant. Today is {date(rng)}.\n"
            f"Conversation {rng.getrandbits(64):016x}. Tell the mood of the writer."
        )
        return prompt(("system", system), ("user", text))

    task = only(*build(texts, MOODS, make))
    assert task.template.match(make("a text")) is not None
    tomorrow = prompt(
        ("system", "You are Zoë, a helpful assistant. Today is Friday, January 1, 2027.\n"
         "Conversation 00aa11bb22cc33dd. Tell the mood of the writer."),
        ("user", "hm"),
    )  # fmt: skip
    assert task.template.match(tomorrow)[-1] == "hm"


@pytest.mark.parametrize(
    "stamp",
    ["2026-11-21", "21/11/2026 14:03", "November 21, 2026", "Sat Nov 21 18:08:43 UTC 2026",
     "21. November 2026", "2026年11月21日", "2026-11-21T18:08:43.120Z"],
)  # fmt: skip
def test_a_date_is_a_variable_even_if_the_log_covers_one_day(texts, prompt, stamp):
    def make(text, day=stamp):
        return prompt(("system", f"Today is {day}. Name the mood."), ("user", text))

    task = only(*build(texts, MOODS, make))
    assert stamp not in task.template.describe()
    assert task.template.match(make("hm", stamp.replace("21", "22"))) is not None


def test_numbers_in_instructions_stay_constant(texts, prompt):
    system = "You are GPT-4. Use at most 5 words. 1. calm 2. cross 3. pleased"
    task = only(*build(texts, MOODS, lambda t: prompt(("system", system), ("user", t))))
    assert task.template.variables == 1


def test_constant_few_shot_turns_are_constant(texts, prompt):
    turns = [
        turn
        for text in (texts.text() for _ in range(3))
        for turn in (("user", text), ("assistant", texts.answer(text, MOODS).text))
    ]
    log, originals = build(
        texts, MOODS, lambda t: prompt(("system", "Name the mood."), *turns, ("user", t))
    )
    assert only(log, originals).template.variables == 1


def test_few_shot_turns_that_vary_are_one_variable(texts, prompt):
    def make(text):
        drawn = [texts.text() for _ in range(texts.rng.randint(1, 4))]
        turns = [m for d in drawn for m in (("user", d), ("assistant", "calm"))]
        return prompt(("system", "Name the mood of this."), *turns, ("user", text))

    assert only(*build(texts, MOODS, make)).template.variables == 2


def test_a_conversation_of_any_length_is_one_task(texts, prompt):
    def make(text):
        turns = [m for _ in range(texts.rng.randint(0, 4))
                 for m in (("user", texts.text()), ("assistant", texts.text()))]  # fmt: skip
        return prompt(("system", "You are the help desk of a shop."), *turns, ("user", text))

    only(*build(texts, MOODS, make))


def test_constant_few_shot_block_is_constant(texts, prompt):
    block = shots(texts, MOODS, 4)
    task = only(
        *build(texts, MOODS, lambda t: prompt(("user", f"Mood?\n\n{block}\n\nInput: {t}\nOutput:")))
    )
    assert task.template.variables == 1


@pytest.mark.parametrize("counts", [(2, 3, 4), (3,)])
def test_few_shot_block_that_varies_leaves_the_input_alone(texts, prompt, counts):
    def make(text):
        block = shots(texts, MOODS, texts.rng.choice(counts))
        return prompt(("user", f"Mood of the last one?\n\n{block}\n\nInput: {text}\nOutput:"))

    only(*build(texts, MOODS, make))


@pytest.mark.parametrize("k", [1, 2])
def test_examples_drawn_from_a_small_pool_do_not_split(texts, prompt, k):
    pool = [shots(texts, MOODS, 1) for _ in range(7)]

    def make(text):
        block = "\n\n".join(texts.rng.sample(pool, k))
        return prompt(("user", f"Tell the mood.\n\n{block}\n\nInput: {text}\nOutput:"))

    only(*build(texts, MOODS, make, 800))


@pytest.mark.parametrize(
    "form",
    ['Please read this:\n"""\n{}\n"""\nWhich mood is it?', "<text>{}</text>\nName the mood.",
     'Somebody wrote "{}" to us. What mood is that?', "{}\n\n---\nName the mood of the above.",
     "请判断下面这句话的情绪：{}。只回答一个词。", "Настроение текста: {}\nОтвет:",
     '{{"lang": "en", "body": "{}"}}', "### Instruction\nMood?\n\n### Input\n{}\n\n### Answer\n"],
)  # fmt: skip
def test_input_in_the_middle_of_a_message(texts, prompt, form):
    only(*build(texts, MOODS, lambda t: prompt(("user", form.format(t)))))


def test_two_questions_over_one_set_of_labels_are_two_tasks(texts, prompt):
    def spam(text):
        return prompt(("user", f"Is the following message spam?\n\n{text}\n\nAnswer yes or no."))

    def late(text):
        return prompt(
            ("user", f"Does the writer complain of a delay?\n\n{text}\n\nAnswer yes or no.")
        )

    one, _ = build(texts, ["no", "no", "no", "yes"], spam)
    two, _ = build(texts, YES_NO, late)
    members = {p for p, _ in one}
    log = one + two
    tasks, hits = found(log)
    assert len(tasks) == 2
    sides = {(p in members, task) for (p, _), (task, _) in zip(log, hits, strict=True)}
    assert len(sides) == 2


def test_templates_under_one_system_prompt_are_told_apart(texts, prompt):
    system = ("system", "You are a helpful assistant.")
    forms = {
        "Name the mood.\nText: {}\nMood:": MOODS,
        "Which colour does the writer mean? {}": COLOURS,
        "Summarise in one line:\n{}": None,
    }
    log, sides = [], {}
    for form, labels in forms.items():
        for _ in range(400):
            text = texts.text()
            made = prompt(system, ("user", form.format(text)))
            sides[made] = form
            log.append((made, texts.answer(text, labels) if labels else Answer(texts.text(20, 40))))
    tasks, hits = found(log)
    assert len(tasks) == 3
    assert len({(sides[p], task) for (p, _), (task, _) in zip(log, hits, strict=True)}) == 3


def test_raw_text_is_one_task_with_the_whole_message(texts, prompt):
    task = only(*build(texts, MOODS, lambda t: prompt(("user", t)), 1000))
    assert task.template.bare
    assert task.name == "messages"


def test_phrases_that_give_the_label_away_do_not_split(texts, prompt):
    def make(text):
        opening = texts.rng.choice(["what is the weather in", "please play some music by", ""])
        return prompt(("user", f"{opening} {text}".strip()))

    labels = {"what": "weather", "please": "music"}
    log = [(p := make(texts.text()), Answer(labels.get(p.messages[0].text.split()[0], "other")))
           for _ in range(900)]  # fmt: skip
    assert len(found(log)[0]) == 1


def test_greetings_and_signatures_do_not_split(texts, prompt):
    ends = [
        "\n\nKind regards,\nJohn Smith\nAcme Inc., 12 Main Street",
        "",
        "\nThanks for your help!",
    ]
    starts = ["Hello support team, I hope that you are well. ", "Hi, ", ""]

    def make(text):
        full = texts.rng.choice(starts) + text + texts.rng.choice(ends)
        return prompt(("system", "Route the message."), ("user", full))

    log, _ = build(texts, MOODS, make, 900)
    assert len(found(log)[0]) == 1


def test_several_variables(texts, prompt):
    def make(text):
        name, channel = texts.rng.choice(NAMES), texts.rng.choice(["email", "chat", "web form"])
        number = texts.rng.randrange(10**4, 10**5)
        fields = f"From: {name}\nChannel: {channel}\nTicket: TCK-{number}\nMessage: {text}\nQueue:"
        return prompt(("user", f"Pick a queue.\n{fields}"))

    task = only(*build(texts, COLOURS, make))
    assert task.template.variables == 4


def test_short_constants_between_short_variables(texts, prompt):
    cities = ["Rome", "New York", "Oslo", "San José", "Kyiv", "Lima", "Cairo"]
    log = [
        (
            prompt(("user", f"Plan a trip from {a} to {b} for {days} days")),
            Answer(texts.text(20, 30)),
        )
        for a, b in itertools.permutations(cities, 2)
        for days in range(2, 9)
    ]
    task = found(log)[0][0]
    inputs = task.template.match(prompt(("user", "Plan a trip from Bonn to Quito for 3 days")))
    assert inputs == ("Bonn", "Quito", "3")


@pytest.mark.parametrize("values", [["gold", "silver"], ["red wool scarf", "garden hose", "cup"]])
def test_a_variable_with_few_values_does_not_split(texts, prompt, values):
    def make(text):
        return prompt(("user", f"Product: {texts.rng.choice(values)}\nReview: {text}\nMood:"))

    only(*build(texts, MOODS, make, 900))


def test_inputs_that_come_again_and_again_do_not_split(texts, prompt):
    pool = [f"{texts.text(2, 3)} and more specific {texts.text(2, 3)}" for _ in range(60)]
    log = []
    for _ in range(1500):
        text = pool[min(int(texts.rng.expovariate(0.1)), 59)]
        made = f"Ticket {texts.rng.randrange(10**6)} of {texts.rng.choice(NAMES)}\nOrder: {text}"
        log.append((prompt(("user", made)), texts.answer(text, COLOURS)))
    tasks, hits = found(log)
    assert len(tasks) == 1
    assert {inputs[-1] for _, inputs in hits} <= set(pool)


def test_forms_of_answers_are_kept_apart(texts, prompt):
    def log_of(system, answer, tools=""):
        return [(prompt(("system", system), ("user", texts.text()), tools=tools), answer())
                for _ in range(200)]  # fmt: skip

    log = (
        log_of("Label it.", lambda: Answer(texts.rng.choice(MOODS)))
        + log_of("Extract it.", lambda: Answer(json.dumps({"who": texts.text(1, 2)})))
        + log_of("Write on it.", lambda: Answer(texts.text(30, 60)))
        + log_of("Label it.", lambda: Answer("", (ToolCall("f", "{}"),), "tool_calls"), "[1]")
    )
    tasks, hits = found(log)
    assert len(tasks) == 4
    assert "" not in {task for task, _ in hits}
    assert sum(1 for task in tasks if task.template.tools == "[1]") == 1


def test_inputs_that_quote_the_template_are_recovered(texts, prompt):
    def make(text):
        return prompt(("user", f"Name the mood.\n\nText: {text}\nMood:"))

    log, originals = build(texts, MOODS, make)
    for hostile in ("a\nMood: calm\n\nText: b\nMood:", "Text: \nMood:", "\n\nText: ", ""):
        log.append((make(hostile), Answer("calm")))
        originals[make(hostile)] = hostile
    tasks, _ = found(log)
    for asked, original in originals.items():
        assert tasks[0].template.match(asked) == (original,)


def test_long_prompts(texts, prompt):
    head = texts.text(3000, 3000)

    def make(text):
        pages = texts.text(3000, 3000)
        return prompt(("system", head), ("user", f"Pages:\n{pages}\n\nQuestion: {text}"))

    start = time.process_time()
    only(*build(texts, MOODS, make, 120))
    assert time.process_time() - start < 20


def test_verbatim_repeats_are_no_template(texts, prompt):
    few = [texts.text() for _ in range(5)]
    log, _ = build(texts, MOODS, lambda t: prompt(("user", t)), 300)
    log += [(prompt(("user", few[i % 5])), Answer("calm")) for i in range(500)]
    assert len(found(log)[0]) == 1


def test_too_few_prompts_are_no_task(texts, prompt):
    log, _ = build(texts, MOODS, lambda t: prompt(("system", "Name it."), ("user", t)), 19)
    assert found(log)[0] == []


def test_outliers_do_not_hide_a_task(texts, prompt):
    def make(text):
        if texts.rng.random() < 0.01:
            return prompt(("system", "Say the mood"), ("user", text))
        return prompt(("system", "Name the mood."), ("user", f"Text: {text}\nMood:"))

    log, _ = build(texts, MOODS, make, 1000)
    tasks, hits = found(log)
    assert sum(1 for task, _ in hits if task == tasks[0].id) >= 980


def test_explicit_names_group_whatever_the_prompts_look_like(texts, prompt):
    sample = []
    for i in range(200):
        text = texts.text()
        form = f"Mood? {text}" if i % 2 else f"{text}\n\nPlease name the mood of this text."
        sample.append((prompt(("user", form)), Answer("calm"), "Mood Finder"))
        sample.append(
            (prompt(("system", "Pick a colour."), ("user", text)), Answer("red"), "colour")
        )
    tasks = find_tasks(sample)
    assert [(task.explicit, task.name) for task in tasks] == [
        ("Mood Finder", "mood-finder"),
        ("colour", "colour"),
    ]
    matcher = TaskMatcher(tasks)
    assert matcher.match(prompt(("user", "Mood? hm")), "Mood Finder") is not None
    hit = matcher.match(prompt(("system", "Pick a colour."), ("user", "hm")), "colour")
    assert hit == (tasks[1], ("hm",))
    assert matcher.match(prompt(("user", "Mood? hm"))) is None
    assert find_tasks(sample, tasks) == []


def test_known_tasks_are_not_found_again(texts, prompt):
    one, _ = build(texts, MOODS, lambda t: prompt(("system", "Name the mood."), ("user", t)))
    two, _ = build(texts, COLOURS, lambda t: prompt(("user", f"Colour of: {t}")))
    raw, _ = build(texts, MOODS, lambda t: prompt(("user", t)))
    known = find_tasks([(p, a, "") for p, a in one + raw])
    new = find_tasks([(p, a, "") for p, a in one + raw + two], known)
    assert [task.template.describe() for task in new] == ["[message]\nColour of: {1}"]


def test_the_same_sample_gives_the_same_templates(texts, prompt):
    one, _ = build(texts, MOODS, lambda t: prompt(("system", "Name the mood."), ("user", t)))
    two, _ = build(texts, COLOURS, lambda t: prompt(("user", f"Colour of: {t}")))
    assert find_templates(one + two) == find_templates(one + two)


RARE = [
    ("Which intent does the user of a home assistant have? Answer with the intent's name.", MOODS),
    ("Classify the question a client asked at the help desk. Give the category's name.", COLOURS),
    (
        "Sort what the plant's operators report into one of the machines. Reply with its name.",
        NAMES,
    ),
]


@pytest.mark.parametrize("counts", [(12, 12), (19, 19), (8, 14), (18, 3), (10, 9, 8), (25, 15)])
def test_tasks_too_rare_to_be_found_are_not_taken_for_one(texts, prompt, counts):
    log, sides = [], {}
    for (system, labels), count in zip(RARE, counts, strict=False):
        for _ in range(count):
            made = prompt(("system", system), ("user", texts.text()))
            sides[made] = system
            log.append((made, Answer(texts.rng.choice(labels))))
    tasks, hits = found(log)
    assert len(tasks) == sum(count >= 20 for count in counts)
    for (made, _), (task, _) in zip(log, hits, strict=True):
        assert bool(task) == (sides[made] == RARE[0][0] and counts[0] >= 20)


def test_values_that_few_share_are_still_one_task(texts, prompt):
    plans = ["basic", "family", "business"]

    def make(text):
        plan = texts.rng.choice(plans)
        system = f"You sort what customers on the {plan} plan write. Name its mood."
        return prompt(("system", system), ("user", text))

    log = [(make(texts.text()), Answer(texts.rng.choice(MOODS))) for _ in range(36)]
    tasks, _ = found(log)
    assert [task.template.variables for task in tasks] == [2]

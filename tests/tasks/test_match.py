import random
from typing import ClassVar

import pytest

from openwheel.tasks import Part, Task, TaskMatcher, Template
from openwheel.wire import Prompt, PromptMessage

EMPTY = Part()


def message_task(name: str, *literals: str, system: Part = EMPTY) -> Task:
    return Task(name, name, Template((system, EMPTY, Part(literals), EMPTY)))


def user(text: str, system: str = "") -> Prompt:
    messages = (PromptMessage("user", text),)
    return Prompt((PromptMessage("system", system), *messages) if system else messages)


def test_the_most_specific_template_wins_whatever_the_order():
    tasks = [message_task("bare", "", ""), message_task("long", "Label: ", ""),
             message_task("short", "L", "")]  # fmt: skip
    for order in (tasks, tasks[::-1]):
        matcher = TaskMatcher(order)
        assert matcher.match(user("Label: x"))[0].id == "long"
        assert matcher.match(user("Lx"))[0].id == "short"
        assert matcher.match(user("x"))[0].id == "bare"


def test_system_prompts_with_and_without_variables_compete():
    fixed = message_task("fixed", "", "", system=Part(("Today is Monday.",)))
    dated = message_task("dated", "", "", system=Part(("Today is ", ".")))
    longer = message_task("longer", "Label this: ", "", system=Part(("Today is ", ".")))
    matcher = TaskMatcher([dated, fixed, longer])
    assert matcher.match(user("x", "Today is Monday."))[0].id == "fixed"
    assert matcher.match(user("x", "Today is Friday.")) == (dated, ("Friday", "x"))
    assert matcher.match(user("Label this: x", "Today is Monday."))[0].id == "longer"
    assert matcher.match(user("x", "Hello")) is None


def test_a_named_task_without_a_template_takes_all_messages():
    matcher = TaskMatcher([Task("1", "n", None, "n"), message_task("bare", "", "")])
    assert matcher.match(user("x", "sys"), "n")[1] == ("sys", "x")
    assert matcher.match(user("x"), "unknown") is None
    assert matcher.match(user("x"))[0].id == "bare"


def test_prompts_that_are_not_plain_belong_too():
    matcher = TaskMatcher([message_task("bare", "", "")])
    assert matcher.match(Prompt((PromptMessage("user", "x"),), plain=False)) is not None


class Counted(Template, frozen=True, dict=True):
    """A template that counts how often it is tried."""

    tried: ClassVar[list[int]] = []

    def match_parts(self, parts):
        self.tried.append(1)
        return super().match_parts(parts)


@pytest.mark.parametrize("number", [6, 60, 2_000])
@pytest.mark.parametrize("place", ["start", "end", "system"])
def test_what_is_tried_for_a_prompt_does_not_grow_with_the_tasks(number, place):
    def template(i):
        start, end = (f"Question {i}: ", "\nWhy?") if place == "start" else ("Q: ", f" end {i}.")
        system = Part((f"You are {i} on ", ".")) if place == "system" else EMPTY
        return Counted((system, EMPTY, Part((start, end)), EMPTY))

    matcher = TaskMatcher([Task(str(i), str(i), template(i)) for i in range(number)])
    Counted.tried.clear()
    for i in range(0, number, 1 + number // 60):
        start, end = (f"Question {i}: ", "\nWhy?") if place == "start" else ("Q: ", f" end {i}.")
        system = f"You are {i} on Monday." if place == "system" else ""
        assert matcher.match(user(f"{start}so{end}", system))[0].id == str(i)
        assert matcher.match(user(f"{start}so{end} no", system)) is None
    assert len(Counted.tried) <= 2 * min(number, 60)


def test_the_index_finds_what_trying_all_finds():
    rng = random.Random(0)

    def text(most=3):
        return "".join(rng.choice("ab") for _ in range(rng.randrange(most + 1)))

    def part():
        if rng.random() < 0.3:
            return Part((text(4),))
        inner = [text(2) + "b" for _ in range(rng.randrange(2))]
        return Part((text(), *inner, text()), rng.randrange(1 + len(inner)))

    for _ in range(60):
        tasks = []
        for i in range(rng.randrange(1, 40)):
            template = Template(
                (part(), EMPTY, part(), EMPTY), response_format=rng.choice(["", "json"])
            )
            tasks.append(Task(str(i), str(i), template))
        matcher = TaskMatcher(tasks)
        first = sorted(
            tasks,
            key=lambda t: (
                -t.template.literal_length,
                bool(t.template.parts[0].variables),
                t.template.id,
            ),
        )
        for _ in range(60):
            prompt = user(text(6), text(6))
            hits = ((task, task.template.match(prompt)) for task in first)
            expected = next((hit for hit in hits if hit[1] is not None), None)
            found = matcher.match(prompt)
            # Templates of equal content stand for different tasks here.
            assert (found and (found[0].template.id, found[1])) == (
                expected and (expected[0].template.id, expected[1])
            )


@pytest.mark.parametrize(
    ("one", "two", "same"),
    [
        (("", ""), ("Sort: ", ""), True),
        (("Sort: ", ""), ("Sum up: ", ""), False),
        (("Sort: ", ""), ("Sort: now ", " end"), True),
        (("a ", " end"), ("", " other"), False),
        (("fixed",), ("fix", ""), True),
        (("fixed",), ("fixed",), True),
        (("fixed",), ("other",), False),
        (("a ", " mid ", " z"), ("a b ", " more ", ""), True),
    ],
)
def test_parts_overlap_where_some_text_matches_both(one, two, same):
    assert Part(one).overlaps(Part(two)) == same
    assert Part(two).overlaps(Part(one)) == same


def test_a_fingerprint_changes_with_the_template_and_with_who_takes_part_of_its_prompts():
    def task(system: str, *message: str, explicit: str = "") -> Task:
        template = Template((Part((system,)), Part(), Part(message), Part()))
        return Task(template.id + explicit, "name", template, explicit)

    bare, sorting = task("", "", ""), task("", "Sort this: ", "")
    narrower = task("", "Sort this: now ", "")
    apart = [task("Be kind.", "", ""), task("", "Sort this: ", "", explicit="x")]
    alone = TaskMatcher([bare, sorting])
    assert alone.takers(bare) == [sorting]
    assert alone.takers(sorting) == []
    for tasks in ([*apart, sorting, bare], [sorting, bare]):  # in any order
        matcher = TaskMatcher(tasks)
        assert matcher.fingerprint(bare) == alone.fingerprint(bare)
        assert matcher.fingerprint(sorting) == alone.fingerprint(sorting)
    split = TaskMatcher([bare, sorting, narrower])
    assert split.fingerprint(sorting) != alone.fingerprint(sorting)
    assert TaskMatcher([bare]).fingerprint(bare) != alone.fingerprint(bare)
    found = split.match(Prompt(messages=(PromptMessage("user", "Sort this: now a"),)))
    assert found is not None
    assert found[0] == narrower

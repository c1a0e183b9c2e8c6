import doctest

import pytest

from openwheel.tasks import refusals
from openwheel.tasks.refusals import is_refusal


def test_the_examples_are_true():
    assert doctest.testmod(refusals).failed == 0


@pytest.mark.parametrize(
    "text",
    [
        "I cannot help with that.",
        "I'm sorry, but I cannot assist with this request.",
        "I\u2019m sorry, I can\u2019t help with that one",
        "Sorry, I am unable to process this message.",
        "Unfortunately, I'm not able to classify this content.",
        "I won't be able to answer that.",
        "I must decline.",
        "I refuse to answer this.",
        "That's not something I can help with.",
        "I don't feel comfortable answering that.",
        "I do not have enough information to classify this.",
        "Das kann ich leider nicht beantworten.",
        "We are unable to comply with this request.",
        "As an AI language model, I do not have opinions.",
        "I'm just an AI and have no access to that.",
        "This request goes against my safety guidelines.",
        "I'm sorry, but that is not something I can do.",
        "Es tut mir leid, aber ich kann dir dabei nicht helfen.",
        "Ich kann diese Anfrage leider nicht beantworten.",
        "Je suis d\u00e9sol\u00e9, mais je ne peux pas r\u00e9pondre \u00e0 cette demande.",
        "Lo siento, pero no puedo ayudarte con eso.",
        "Mi dispiace, non posso aiutarti con questa richiesta.",
        "Desculpe, n\u00e3o posso ajudar com isso.",
        "Sorry, ik kan je daar niet mee helpen.",
        "\u62b1\u6b49\uff0c\u6211\u65e0\u6cd5\u56de\u7b54\u8fd9\u4e2a\u95ee\u9898\u3002",
        "\u7533\u3057\u8a33\u3042\u308a\u307e\u305b\u3093\u304c\u3001\u304a\u7b54\u3048\u3067\u304d"
        "\u307e\u305b\u3093\u3002",
        "\uc8c4\uc1a1\ud558\uc9c0\ub9cc \ub3c4\uc640\ub4dc\ub9b4 \uc218 \uc5c6\uc2b5\ub2c8\ub2e4.",
        "\u042f \u043d\u0435 \u043c\u043e\u0433\u0443 \u0441 \u044d\u0442\u0438\u043c "
        "\u043f\u043e\u043c\u043e\u0447\u044c.",
    ],
)  # fmt: skip
def test_refusals_are_told_by_their_words(text):
    assert is_refusal(text)
    assert is_refusal(f"{text}\nIs there anything else?")


@pytest.mark.parametrize(
    "text",
    [
        "refusal",
        "cannot deliver",
        "unable to pay",
        "I can't log in",
        "I cannot find my parcel",
        "sorry",
        "Sorry for the delay",
        "help",
        "assistance refused",
        "answer: no",
        "not able to sort",
        "We will help you with that.",
        "I can help with that.",
        "policy violation",
        "I can't reach support",
        "I cannot print a label",
        "I'm sorry, I can't find your order",
        "I refuse delivery of parcels",
        "seat not comfortable",
        "not enough money",
        "no puedo entrar",
        "ich kann nicht bezahlen",
        '{"queue": "refused"}',
        "",
    ],
)
def test_labels_are_no_refusals(text):
    assert not is_refusal(text)


def test_what_is_said_before_a_refusal_is_an_answer():
    assert not is_refusal(f"{'The parcel is late. ' * 20}I cannot help with that.")

"""What stands around the messages of a conversation in a model's prompt.

A student is trained on prompts that its base's chat template writes. The same texts have to stand
around its messages when it is served, by whatever software; so they are kept with the student.
"""

import unicodedata
from collections.abc import Sequence

import msgspec

from openwheel.errors import RequestError
from openwheel.inference.writer import Prompt
from openwheel.wire import PromptMessage


class Place(msgspec.Struct, frozen=True):
    """A message's place: the text before it, and on which sides its white space is left out."""

    before: str
    trims_left: bool = False
    trims_right: bool = False

    def put(self, text: str) -> str:
        """Return a message's text in its place."""
        text = text.lstrip() if self.trims_left else text
        return self.before + (text.rstrip() if self.trims_right else text)


class Frame(msgspec.Struct, frozen=True, kw_only=True):
    """What a chat template writes around a user's message, and around it and a system message.

    Attributes:
        user: The user's place where there is no system message.
        system: The system message's place.
        user_after: The user's place after it.
        tail: What stands after the user's message, up to where the answer begins.
        tail_after: The same where there is a system message.
        first: See `Prompt.first`; its text is not part of the places.
        composed: Whether the model reads text in Unicode form NFC alone.
        after: See `Prompt.after`.
        ends: See `Prompt.ends`.
    """

    user: Place
    system: Place
    user_after: Place
    tail: str
    tail_after: str
    first: int | None = None
    composed: bool = False
    after: str = ""
    ends: str = ""

    def prompt(self, messages: Sequence[PromptMessage]) -> Prompt:
        """Return a conversation as the template writes it.

        Raises:
            RequestError: It is not a user's message, with a system message before it or not.
        """
        texts = [message.text for message in messages]
        if self.composed:
            texts = [unicodedata.normalize("NFC", text) for text in texts]
        match [message.role for message in messages]:
            case ["user"]:
                text = self.user.put(texts[0]) + self.tail
            case ["system", "user"]:
                text = self.system.put(texts[0]) + self.user_after.put(texts[1]) + self.tail_after
            case roles:
                raise RequestError(f"A student is asked by a user, not by {', '.join(roles)}")
        return Prompt(text, self.first, self.after, self.ends)

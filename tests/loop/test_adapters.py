"""Adapters in a server: loaded once under a name of their content, again when it lost them."""

import pytest

from openwheel.errors import EngineDownError, EngineError
from openwheel.inference import Ask, Written
from openwheel.loop.adapters import Adapters, adapter_name
from openwheel.wire import PromptMessage


class Server:
    """Serves adapters as an engine does; may be down, and counts what it is asked."""

    def __init__(self) -> None:
        self.loaded: dict[str, str] = {}
        self.down = False
        self.asked = 0
        self.base = "one base"

    def base_fingerprint(self):
        return self.base

    def models(self):
        return ["base", *self.loaded]

    def load_adapter(self, name, folder):
        if name in self.loaded:
            raise EngineError("loaded already")
        self.loaded[name] = str(folder)

    def unload_adapter(self, name):
        del self.loaded[name]

    def write(self, asks):
        self.asked += 1
        if self.down:
            raise EngineDownError("nobody is there")
        if asks[0].model not in self.loaded:
            raise EngineError(f"{asks[0].model} is not served here")
        return [
            Written(
                text=self.loaded[ask.model],
                finish="stop",
                logprobs=(),
                margins=(),
                prompt_tokens=1,
                completion_tokens=1,
            )
            for ask in asks
        ]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "adapter_config.json").write_text("{}")
    (tmp_path / "adapter_model.safetensors").write_bytes(b"weights")
    return tmp_path


def ask(model):
    return Ask(model=model, messages=(PromptMessage("user", "?"),))


def test_an_adapter_is_loaded_once_whoever_asks(folder):
    server = Server()
    first, second = (Adapters(lambda: server).serve(folder) for _ in range(2))
    assert first.model == second.model == adapter_name(folder)
    assert list(server.loaded) == [first.model]
    assert first.writer.write([ask(first.model)])[0].text == str(folder)


def test_other_weights_or_settings_have_another_name(folder):
    name = adapter_name(folder)
    (folder / "adapter_config.json").write_text('{"r": 8}')
    changed = adapter_name(folder)
    (folder / "adapter_model.safetensors").write_bytes(b"others")
    assert len({name, changed, adapter_name(folder)}) == 3


def test_a_server_that_was_started_again_is_given_the_adapter(folder):
    server = Server()
    writer, name, _ = Adapters(lambda: server).serve(folder)
    server.loaded.clear()
    assert writer.write([ask(name)])[0].text == str(folder)


def test_a_server_that_was_started_again_with_another_base_is_not_asked(folder):
    """Its answers would be others than those that a certificate speaks of."""
    server = Server()
    writer, name, base = Adapters(lambda: server).serve(folder)
    assert base == "one base"
    server.loaded.clear()
    server.base = "another"
    with pytest.raises(EngineError, match="another base"):
        writer.write([ask(name)])
    assert not server.loaded


def test_while_a_server_is_down_one_request_waits_for_it_and_not_all(folder):
    server = Server()
    writer, name, _ = Adapters(lambda: server, rest=60).serve(folder)
    server.down = True
    for _ in range(5):
        with pytest.raises(EngineDownError):
            writer.write([ask(name)])
    assert server.asked == 1


def test_what_nobody_needs_is_let_go_and_what_is_not_ours_stays(folder):
    server = Server()
    adapters = Adapters(lambda: server)
    adapters.sweep(set())  # asks no server that nobody has asked yet
    _, kept, _ = adapters.serve(folder)
    server.loaded |= {"openwheel-old": "old", "another": "not ours"}
    adapters.sweep({kept})
    assert set(server.loaded) == {kept, "another"}

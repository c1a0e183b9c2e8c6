"""Asking a server of models in another process: llama.cpp, vLLM or SGLang.

Source: llama.cpp, ``tools/server/README.md``; the OpenAI API reference; vLLM, "LoRA
Adapters" and "Structured Outputs"; SGLang, "LoRA Serving" and "OpenAI APIs - Completions".
"""

import http.client
import os
import re
import ssl
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec

from openwheel.errors import EngineDownError, EngineError, RequestError, SettingError
from openwheel.inference.completion import completion_request, read_completion
from openwheel.inference.writer import Ask, Constraint, Written

Dialect = Literal["llama.cpp", "vllm", "sglang"]

_FAR_BELOW = 100.0
_REGEX_SIGNS = re.compile(r"[\\.+*?()|\[\]{}^$]")


class _Token(msgspec.Struct):
    logprob: float
    token: str = ""
    bytes: list[int] | None = None
    top_logprobs: "list[_Token]" = []


class _Logprobs(msgspec.Struct):
    content: list[_Token] | None = None


class _Message(msgspec.Struct):
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None


class _Choice(msgspec.Struct):
    message: _Message
    finish_reason: str | None = None
    logprobs: _Logprobs | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int = 0
    completion_tokens: int | None = 0


class _Completion(msgspec.Struct):
    choices: list[_Choice]
    usage: _Usage | None = None


class _Model(msgspec.Struct):
    id: str
    parent: str | None = None
    fingerprint: str = ""


class _Models(msgspec.Struct):
    data: list[_Model]


class RemoteWriter:
    """Has answers written by a server; see `Writer`. Usable from many threads; close it when done.

    ``llama.cpp`` is one that `openwheel.inference.front` stands before. Its log-probabilities are
    the model's own, and so are those under ``vllm`` by that server's default
    (``--logprobs-mode raw_logprobs``). Under ``sglang`` they are those after the constraint: they
    then say less, and margins are never negative.

    Args:
        url: The server's, with or without ``/v1``.
        dialect: Which server it is.
        base: What the base model is served as; SGLang's adapters are asked for under it. By
            default the first that the server lists.
        key_env: Environment variable that holds the server's key, ``""`` for none.
        timeout: Seconds without a byte before an answer is given up.
        connections: The most answers asked for at the same time.

    Raises:
        SettingError: The URL is not one, or the variable of the key is not set.
    """

    def __init__(
        self,
        url: str,
        *,
        dialect: Dialect = "llama.cpp",
        base: str = "",
        key_env: str = "",
        timeout: float = 120.0,
        connections: int = 32,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise SettingError(
                f"The URL of an engine must be http://... or https://..., was {url!r}"
            )
        self._secure = parts.scheme == "https"
        self._host, self._port = parts.hostname, parts.port
        self._root = parts.path.rstrip("/").removesuffix("/v1")
        self._shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        self._dialect = dialect
        self._base = base
        self._timeout = timeout
        self._headers = {"content-type": "application/json", "accept": "application/json"}
        if key_env:
            key = os.environ.get(key_env, "")
            if not key:
                raise SettingError(f"The environment variable {key_env} holds no key for {url}")
            self._headers["authorization"] = f"Bearer {key}"
        self._idle: list[http.client.HTTPConnection] = []
        self._lock = threading.Lock()
        self._threads = ThreadPoolExecutor(connections, "openwheel-ask")

    def write(self, asks: Sequence[Ask]) -> list[Written]:
        """Write answers; see `Writer.write`.

        Raises:
            RequestError: A prompt is too long, or a constraint is none that can be kept.
            EngineError: The server cannot be reached, answers no, or not as the API has it.
        """
        if len(asks) == 1:
            return [self._write(asks[0])]
        return list(self._threads.map(self._write, asks))

    def models(self) -> list[str]:
        """Return the names that the server serves.

        Raises:
            EngineError: It cannot be reached, or lists none.
        """
        return [model.id for model in self._models()]

    def base_fingerprint(self) -> str:
        """Return the hash of what decides the base's answers, ``""`` where the server has none.

        Raises:
            EngineError: It cannot be reached, or lists no models.
        """
        return next((model.fingerprint for model in self._models() if model.parent is None), "")

    def load_adapter(self, name: str, folder: str | Path) -> None:
        """Have an adapter loaded; the folder is one of the server's machine.

        Raises:
            EngineError: The server cannot be reached, or refuses.
        """
        self._adapter("load", {"lora_name": name, "lora_path": str(folder)})

    def unload_adapter(self, name: str) -> None:
        """Have an adapter unloaded.

        Raises:
            EngineError: The server cannot be reached, or refuses.
        """
        self._adapter("unload", {"lora_name": name})

    def close(self) -> None:
        """Close all connections."""
        self._threads.shutdown()
        with self._lock:
            for connection in self._idle:
                connection.close()
            self._idle.clear()

    def _adapter(self, verb: str, body: Mapping[str, str]) -> None:
        root = "" if self._dialect == "sglang" else "/v1"
        answer = self._ask("POST", f"{root}/{verb}_lora_adapter", body)
        if self._dialect == "sglang" and _says_failed(answer):
            raise EngineError(f"{self._shown} refused to {verb} an adapter: {_excerpt(answer)}")

    def _write(self, ask: Ask) -> Written:
        if self._dialect == "llama.cpp":
            answer = self._ask("POST", "/completion", completion_request(ask))
            return read_completion(answer, ask, self._shown)
        answer = self._ask("POST", "/v1/chat/completions", self._body(ask))
        try:
            completion = msgspec.json.decode(answer, type=_Completion)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise EngineError(f"{self._shown} answered with no chat completion: {error}") from None
        if not completion.choices:
            raise EngineError(f"{self._shown} answered with a completion that has no choices")
        choice = completion.choices[0]
        usage = completion.usage or _Usage()
        logprobs, margins = self._scores(choice)
        return Written(
            text=choice.message.content or "",
            reasoning=choice.message.reasoning_content or choice.message.reasoning or "",
            finish="length" if choice.finish_reason == "length" else "stop",
            logprobs=logprobs,
            margins=margins,
            prompt_tokens=usage.prompt_tokens,
            completion_tokens=usage.completion_tokens or 0,
        )

    def _body(self, ask: Ask) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self._model(ask.model),
            "messages": [{"role": one.role, "content": one.text} for one in ask.messages],
            "max_tokens": ask.max_tokens,
            "temperature": ask.temperature,
            "chat_template_kwargs": {"enable_thinking": ask.thinking},
        }
        if ask.stop:
            body["stop"] = list(ask.stop)
        body |= {"logprobs": True, "top_logprobs": 2}
        return body | self._constraint(ask.constraint)

    def _constraint(self, constraint: Constraint) -> dict[str, Any]:
        sglang = self._dialect == "sglang"
        regex = constraint.regex
        if constraint.choices:
            if not sglang:
                return {"structured_outputs": {"choice": list(constraint.choices)}}
            regex = "(" + "|".join(map(_literal, constraint.choices)) + ")"
        if regex:
            return {"regex": regex} if sglang else {"structured_outputs": {"regex": regex}}
        if not constraint.json_schema:
            return {}
        schema = msgspec.Raw(constraint.json_schema.encode())
        if not sglang:
            return {"structured_outputs": {"json": schema}}
        named = {"name": "answer", "schema": schema}
        return {"response_format": {"type": "json_schema", "json_schema": named}}

    def _model(self, name: str) -> str:
        """Return a model's name as the server has it.

        SGLang takes an adapter's own name for the base, and says nothing.
        """
        if self._dialect != "sglang":
            return name
        if not self._base:
            listed = [model.id for model in self._models() if model.parent is None]
            if not listed:
                raise EngineError(f"{self._shown} lists no base model")
            self._base = listed[0]
        return name if name == self._base else f"{self._base}:{name}"

    def _models(self) -> list[_Model]:
        answer = self._ask("GET", "/v1/models", None)
        try:
            return msgspec.json.decode(answer, type=_Models).data
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise EngineError(f"{self._shown} answered with no list of models: {error}") from None

    def _scores(self, choice: _Choice) -> tuple[tuple[float, ...], tuple[float, ...]]:
        tokens = (choice.logprobs.content if choice.logprobs else None) or []
        if not tokens and choice.message.content:
            raise EngineError(f"{self._shown} gave no log-probabilities, which were asked for")
        return tuple(one.logprob for one in tokens), tuple(map(_margin, tokens))

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None) -> bytes:
        """Send a request, and return the body of its answer.

        A connection that was idle may have been closed by the server: then it is sent again.
        """
        data = None if body is None else msgspec.json.encode(body)
        with self._lock:
            idle = self._idle.pop() if self._idle else None
        if idle is not None:
            try:
                return self._exchange(idle, method, path, data)
            except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
                idle.close()
            except (OSError, http.client.HTTPException) as error:
                idle.close()
                raise self._unreachable(error) from None
        fresh = self._connection()
        try:
            return self._exchange(fresh, method, path, data)
        except (OSError, http.client.HTTPException) as error:
            fresh.close()
            raise self._unreachable(error) from None

    def _connection(self) -> http.client.HTTPConnection:
        if self._secure:
            return http.client.HTTPSConnection(
                self._host, self._port, timeout=self._timeout, context=ssl.create_default_context()
            )
        return http.client.HTTPConnection(self._host, self._port, timeout=self._timeout)

    def _exchange(
        self, connection: http.client.HTTPConnection, method: str, path: str, data: bytes | None
    ) -> bytes:
        connection.request(method, self._root + path, body=data, headers=self._headers)
        response = connection.getresponse()
        answer = response.read()
        if response.will_close:
            connection.close()
        else:
            with self._lock:
                self._idle.append(connection)
        if response.status != 200:
            if b'"context_length_exceeded"' in answer:
                raise RequestError(f"{self._shown}: {_excerpt(answer)}")
            raise EngineError(
                f"{self._shown} answered {path} with status {response.status}: {_excerpt(answer)}"
            )
        return answer

    def _unreachable(self, error: Exception) -> EngineDownError:
        reason = str(error) or type(error).__name__
        return EngineDownError(f"The engine at {self._shown} cannot be reached: {reason}")


def _margin(token: _Token) -> float:
    """Return by how much a token's log-probability is above the best other one's."""
    top = token.top_logprobs
    if not top:
        return 0.0
    same = (token.token, token.bytes)
    others = [one for one in top if (one.token, one.bytes) != same]
    best = max((one.logprob for one in others), default=token.logprob - _FAR_BELOW)
    return token.logprob - best


def _literal(text: str) -> str:
    return _REGEX_SIGNS.sub(lambda sign: "\\" + sign.group(), text)


def _says_failed(answer: bytes) -> bool:
    try:
        said = msgspec.json.decode(answer)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return isinstance(said, dict) and said.get("success") is False


class _Error(msgspec.Struct):
    message: str


class _ErrorBody(msgspec.Struct):
    error: _Error


def _excerpt(answer: bytes) -> str:
    """Return what a server said was wrong, in a line."""
    try:
        text = msgspec.json.decode(answer, type=_ErrorBody).error.message
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        text = answer.decode("utf-8", errors="replace")
    return " ".join(text.split())[:300]

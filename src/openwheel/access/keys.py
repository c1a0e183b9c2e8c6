"""Makes, lists and revokes keys. The store holds their hashes, never the keys."""

import fnmatch
import hashlib
import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Literal, TypeVar

import msgspec

from openwheel.errors import SettingError, StoreError
from openwheel.store import Store, Transaction
from openwheel.store import keys as stored
from openwheel.store.feedback import put_trust

Period = Literal["day", "month"]
State = Literal["live", "expired", "revoked"]
Trust = Literal["low", "normal", "high"]
"""How much a key's feedback is believed: only when others confirm it, within limits, or as the
operator's own."""

ConsoleRight = Literal["none", "read", "operate"]
"""Whether a key opens the console, and whether its holder may act there."""

CONSOLE_RIGHTS: Final[tuple[ConsoleRight, ...]] = ("none", "read", "operate")

TRUSTS: Final[tuple[Trust, ...]] = ("low", "normal", "high")

PREFIX = "ow-"
SECRET_LENGTH = len(PREFIX) + 43

_BYTES = 32
_MOST_REQUESTS = 10_000_000
_MOST_TOKENS = 1_000_000_000_000
_MOST_DOLLARS = 1_000_000_000.0
_MOST_PATTERNS = 100
_LONGEST_PATTERN = 200
_LONGEST_NAME = 64
_YEAR_10000 = 253_402_300_800


class Key(msgspec.Struct, frozen=True):
    """A key as the store has it; only its holder has the secret.

    Attributes:
        id: Never used for another key.
        name: Its holder or purpose; unique among keys that are not revoked.
        hint: The secret's last four characters, to distinguish keys.
        created, expires, revoked: Seconds since 1970; None for never.
        tasks, models: Patterns as in file names, of which a request's task and model must match
            one; none allow all.
        requests_per_minute, tokens_per_minute: None for no limit.
        budget: Dollars for each period, None for no limit.
        budget_period: A UTC day or month.
        trust: How much its feedback is believed.
        console: Whether it opens the console, and whether its holder may act there.
        edge: Whether it is that of an edge, whose exchanges are taken as it sends them.
    """

    id: int
    name: str
    hint: str
    created: float
    expires: float | None = None
    revoked: float | None = None
    tasks: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    budget: float | None = None
    budget_period: Period = "month"
    trust: Trust = "low"
    console: ConsoleRight = "none"
    edge: bool = False

    def state(self, now: float) -> State:
        """Return whether it can be used at ``now``, in seconds since 1970."""
        if self.revoked is not None:
            return "revoked"
        return "expired" if self.expires is not None and self.expires <= now else "live"

    def allows_model(self, model: str) -> bool:
        """Return whether requests for ``model`` are in its scope."""
        return not self.models or _matches(model, self.models)

    def allows_task(self, task: str) -> bool:
        """Return whether requests of ``task`` are in its scope; ``""`` is no task."""
        return not self.tasks or (bool(task) and _matches(task, self.tasks))


class _Scope(msgspec.Struct, omit_defaults=True):
    tasks: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    console: ConsoleRight = "none"
    edge: bool = False


class _Limits(msgspec.Struct, omit_defaults=True):
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    budget: float | None = None
    budget_period: Period = "month"
    trust: Trust = "low"


_Part = TypeVar("_Part", _Scope, _Limits)


class KeyStore:
    """Reads and writes the keys in a traffic store's file.

    All methods raise `StoreError` when the file cannot be read or written.
    """

    def __init__(self, store: Store, *, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._clock = clock

    def create(
        self,
        name: str,
        *,
        tasks: Iterable[str] = (),
        models: Iterable[str] = (),
        requests_per_minute: int | None = None,
        tokens_per_minute: int | None = None,
        budget: float | None = None,
        budget_period: Period = "month",
        expires: float | None = None,
        trust: Trust = "low",
        console: ConsoleRight = "none",
        edge: bool = False,
    ) -> tuple[Key, str]:
        """Make a key and return it with its secret, which is not kept.

        Args:
            name: 1 to 64 printable characters, not the name of another live key.
            tasks, models: Patterns, of which a request must match one (``qwen*``); none allow all.
            requests_per_minute, tokens_per_minute: Rate limits; None for none.
            budget: Dollars for each period; None for no limit.
            budget_period: ``day`` or ``month``, both in UTC.
            expires: Seconds since 1970; None for never.
            trust: How much its feedback is believed.
            console: Whether it opens the console, and whether its holder may act there.
            edge: Whether it is that of an edge.

        Raises:
            SettingError: One of the arguments is not valid.
        """
        now = self._clock()
        scope = _Scope(
            _patterns("tasks", tasks), _patterns("models", models), _console(console), edge
        )
        limits = _Limits(
            _limit("requests_per_minute", requests_per_minute, _MOST_REQUESTS),
            _limit("tokens_per_minute", tokens_per_minute, _MOST_TOKENS),
            _budget(budget),
            budget_period,
            _trust(trust),
        )
        _check_name(name)
        if budget_period not in {"day", "month"}:
            raise SettingError(f"budget_period must be day or month, was {budget_period!r}")
        if expires is not None and not now < expires < _YEAR_10000:
            raise SettingError("expires must be a time to come, before the year 10000")
        secret = PREFIX + secrets.token_urlsafe(_BYTES)
        with self._store.write() as transaction:
            stored.revoke_expired(transaction, name, now)  # its name is free
            if stored.find_unrevoked(transaction, name) is not None:
                raise SettingError(
                    f"There is a live key {name!r}; revoke it first, or choose another name"
                )
            added = stored.add(
                transaction,
                name=name,
                digest=digest(secret),
                hint=secret[-4:],
                created=now,
                expires=expires,
                scope=msgspec.json.encode(scope).decode(),
                limits=msgspec.json.encode(limits).decode(),
            )
            put_trust(transaction, added, trust)
            row = stored.find(transaction, added)
        return self._key(row), secret

    def list(self) -> tuple[Key, ...]:
        """Return all keys that were ever made, oldest first."""
        return tuple(self.by_hash().values())

    def were(self) -> bool:
        """Return whether there ever was a key."""
        with self._store.read() as transaction:
            return stored.were(transaction)

    def by_hash(self) -> dict[bytes, Key]:
        """Return all keys that were ever made, by the hash of their secret, oldest first."""
        with self._store.read() as transaction:
            rows = stored.read(transaction)
        return {row.hash: self._key(row) for row in rows}

    def revoke(self, name: str | int) -> Key:
        """Revoke a key for good, by its id or the name of a live one, and return it as it is now.

        Raises `SettingError` if there is no such key, or it was revoked before.
        """
        with self._store.write() as transaction:
            key = _unrevoked(transaction, name, "revoke").id
            put_trust(transaction, key, "none")
            stored.revoke(transaction, key, self._clock())
            row = stored.find(transaction, key)
        return self._key(row)

    def set_trust(self, name: str | int, trust: Trust) -> Key:
        """Set the trust of a key's feedback, the earlier included; return the key as it is now.

        Raises `SettingError` if there is no such key, or no such trust.
        """
        with self._store.write() as transaction:
            row = _unrevoked(transaction, name, "trust")
            limits = msgspec.structs.replace(self._limits(row), trust=_trust(trust))
            stored.set_limits(transaction, row.id, msgspec.json.encode(limits).decode())
            put_trust(transaction, row.id, trust)
            row = stored.find(transaction, row.id)
        return self._key(row)

    def set_console(self, name: str | int, console: ConsoleRight) -> Key:
        """Set whether a key opens the console, and whether its holder may act there.

        Args:
            name: The name of a live key, or a key's id.
            console: ``none``, ``read`` or ``operate``.

        Raises:
            SettingError: There is no such key, or no such right.
        """
        with self._store.write() as transaction:
            row = _unrevoked(transaction, name, "change")
            scope = msgspec.structs.replace(
                self._read(row, row.scope, _Scope), console=_console(console)
            )
            stored.set_scope(transaction, row.id, msgspec.json.encode(scope).decode())
            row = stored.find(transaction, row.id)
        return self._key(row)

    def version(self) -> tuple[int, ...]:
        """Return a version that changes when a key is made, revoked or gets another trust."""
        with self._store.read() as transaction:
            return stored.version(transaction)  # each trust has a length of its own

    def _limits(self, row: stored.StoredKey) -> _Limits:
        return self._read(row, row.limits, _Limits)

    def _read(self, row: stored.StoredKey, text: str, kind: type[_Part]) -> _Part:
        try:
            return msgspec.json.decode(text, type=kind)
        except msgspec.DecodeError as error:
            raise StoreError(f"Key {row.name!r} in {self._store} cannot be read: {error}") from None

    def _key(self, row: stored.StoredKey) -> Key:
        scope = self._read(row, row.scope, _Scope)
        limits = self._read(row, row.limits, _Limits)
        return Key(
            id=row.id,
            name=row.name,
            hint=row.hint,
            created=row.created,
            expires=row.expires,
            revoked=row.revoked,
            tasks=scope.tasks,
            models=scope.models,
            requests_per_minute=limits.requests_per_minute,
            tokens_per_minute=limits.tokens_per_minute,
            budget=limits.budget,
            budget_period=limits.budget_period,
            trust=limits.trust,
            console=scope.console,
            edge=scope.edge,
        )


def digest(secret: str) -> bytes:
    """Return the SHA-256 of a secret, which the store keeps.

    A secret is 256 random bits, which need no slow, salted hash as passwords do.
    """
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def _unrevoked(transaction: Transaction, name: str | int, action: str) -> stored.StoredKey:
    """Return a key that is not revoked, by name or id.

    Raises:
        SettingError: There is none.
    """
    number = _number(name)
    row = None
    if isinstance(name, str) and name.isprintable():
        row = stored.find_unrevoked(transaction, name)
    if row is None and number is not None:
        row = stored.find_unrevoked(transaction, number)
    if row is None:
        names = ", ".join(sorted(stored.unrevoked_names(transaction))) or "none"
        raise SettingError(f"There is no key {name!r} to {action}; the keys are: {names}")
    return row


def _trust(trust: Trust) -> Trust:
    if trust not in TRUSTS:
        raise SettingError(f"trust must be low, normal or high, was {trust!r}")
    return trust


def _console(right: ConsoleRight) -> ConsoleRight:
    if right not in CONSOLE_RIGHTS:
        raise SettingError(f"console must be none, read or operate, was {right!r}")
    return right


def _number(name: str | int) -> int | None:
    """Return the id that ``name`` is, if it can be one."""
    if isinstance(name, int):
        return name if 0 < name < 2**63 else None
    return int(name) if name.isascii() and name.isdecimal() and len(name) < 19 else None


def _check_name(name: str) -> None:
    if not (1 <= len(name) <= _LONGEST_NAME and name.isprintable() and name == name.strip()):
        raise SettingError(
            f"A key's name must have 1 to {_LONGEST_NAME} printable characters and no space at "
            f"either end, was {name[: 2 * _LONGEST_NAME]!r}"
        )


def _patterns(setting: str, patterns: Iterable[str]) -> tuple[str, ...]:
    distinct = tuple(dict.fromkeys(patterns))
    if len(distinct) > _MOST_PATTERNS:
        raise SettingError(
            f"{setting} must be at most {_MOST_PATTERNS} patterns, were {len(distinct)}"
        )
    for pattern in distinct:
        if not (1 <= len(pattern) <= _LONGEST_PATTERN and pattern.isprintable()):
            raise SettingError(
                f"{setting} must be patterns of 1 to {_LONGEST_PATTERN} printable characters, one "
                f"was {pattern[:_LONGEST_PATTERN]!r}"
            )
    return distinct


def _limit(setting: str, value: int | None, most: int) -> int | None:
    if value is not None and not 1 <= value <= most:
        raise SettingError(f"{setting} must be a whole number from 1 to {most:,}, was {value}")
    return value


def _budget(dollars: float | None) -> float | None:
    # Below a millionth the budget would round to nothing.
    if dollars is not None and not 1e-6 <= dollars <= _MOST_DOLLARS:
        raise SettingError(
            f"budget must be from 0.000001 to {_MOST_DOLLARS:,.0f} dollars, was {dollars}"
        )
    return None if dollars is None else float(dollars)

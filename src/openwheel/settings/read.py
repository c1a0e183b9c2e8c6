"""Reading ``openwheel.toml``, and listing every setting that it may hold."""

import difflib
import re
import tomllib
from collections.abc import Iterator, Mapping
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import msgspec

from openwheel.errors import OperatorError, SettingError
from openwheel.settings.table import Settings

_PLACE = re.compile(r" - at `\$\.?(.*)`$")
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`")
_NAMED = "[NAME]"
"""Stands for the name of one of several sections; msgspec's messages say ``[...]``."""
_MISSING = re.compile(r"Object missing required field `(.*)`")


class SettingRow(msgspec.Struct, frozen=True):
    """One setting.

    Attributes:
        name: With its table, e.g. ``gateway.port``.
        type: What it must be, in a few words.
        default: As TOML writes it; None if there is none.
        help: What it is for.
    """

    name: str
    type: str
    default: str | None
    help: str


def read_settings(path: Path) -> Settings:
    """Read ``openwheel.toml``; a `SettingError` names the file and the setting that is wrong."""
    values = read_toml(path, str(path), "settings", SettingError)
    return _convert(values, str(path))


def settings_of(text: str, name: str) -> Settings:
    """Return what the text of a settings file says, which messages call by a name.

    Raises:
        SettingError: It is no TOML, or a setting is wrong; the message says which.
    """
    try:
        return _convert(tomllib.loads(text), name)
    except tomllib.TOMLDecodeError as error:
        raise SettingError(f"{name} is not TOML: {error}") from None


def read_toml(
    path: Traversable, name: str, kind: str, wrong: type[OperatorError]
) -> dict[str, Any]:
    """Read a TOML file, which messages call by its name and the kind of its content.

    Raises:
        OperatorError: It is ``wrong``: the file cannot be read, or is no TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise wrong(f"There is no {kind} file {name}") from None
    except OSError as error:
        raise wrong(f"{name} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise wrong(f"{name} must be UTF-8 text, and is not") from None
    except tomllib.TOMLDecodeError as error:
        raise wrong(f"{name} is not TOML: {error}") from None


def override(settings: Settings, changes: Mapping[str, Any]) -> Settings:
    """Return settings with some changed, by name; None leaves one as it is.

    Raises:
        SettingError: A value is not what it must be.
    """
    values = msgspec.to_builtins(settings)
    for name, value in changes.items():
        if value is not None:
            section, _, field = name.partition(".")
            values[section][field] = value
    # A default that TOML could not say, such as no value at all, is not to be said.
    return _convert(values, "")


def setting_rows() -> Iterator[SettingRow]:
    """Yield every setting, in the order of the table."""
    for section in msgspec.structs.fields(Settings):
        kind = section.type
        name = section.name
        if arguments := getattr(kind, "__args__", None):  # several sections, in a row or by name
            in_a_row = getattr(kind, "__origin__", None) is tuple
            kind = arguments[0] if in_a_row else arguments[1]
            name += "[]" if in_a_row else _NAMED
        for field in msgspec.structs.fields(kind):
            about = msgspec.inspect.type_info(field.type)
            help_text = ""
            if isinstance(about, msgspec.inspect.Metadata):
                help_text = (about.extra_json_schema or {}).get("description", "")
                about = about.type
            default = (
                field.default_factory()
                if field.default_factory is not msgspec.NODEFAULT
                else field.default
            )
            yield SettingRow(f"{name}.{field.name}", describe(about), _toml(default), help_text)


def describe(about: msgspec.inspect.Type) -> str:
    """Return what a value of a type must be, in a few words."""
    kinds = msgspec.inspect
    description = "text"
    if isinstance(about, kinds.Metadata):
        description = describe(about.type)
    elif isinstance(about, kinds.LiteralType):
        description = " or ".join(f"`{value}`" for value in about.values)
    elif isinstance(about, kinds.BoolType):
        description = "true or false"
    elif isinstance(about, kinds.StructType):
        description = "a table"
    elif isinstance(about, kinds.IntType | kinds.FloatType):
        kind = "an integer" if isinstance(about, kinds.IntType) else "a number"
        limits = {"above": about.gt, "at least": about.ge, "below": about.lt, "at most": about.le}
        description = ", ".join(
            [kind, *(f"{word} {limit:.10g}" for word, limit in limits.items() if limit is not None)]
        )
    elif isinstance(about, kinds.VarTupleType):
        description = f"a list, each {describe(about.item_type)}"
    elif isinstance(about, kinds.DictType):
        description = f"a table, each {describe(about.value_type)}"
    elif isinstance(about, kinds.UnionType):
        description = " or ".join(
            describe(part) for part in about.types if not isinstance(part, kinds.NoneType)
        )
    return description


def _toml(value: Any) -> str | None:
    if value is msgspec.NODEFAULT:
        return None
    if value is None:
        return ""
    if isinstance(value, Mapping):
        return "{}"
    if isinstance(value, float):
        return f"{value:g}"
    return msgspec.json.encode(value).decode()


def _convert(values: Mapping[str, Any], source: str) -> Settings:
    prefix = f"{source}: " if source else ""
    try:
        return msgspec.convert(values, Settings)
    except msgspec.ValidationError as error:
        raise SettingError(f"{prefix}{_explain(str(error), values)}") from None


def _explain(problem: str, values: Mapping[str, Any]) -> str:
    """Say in one sentence what setting it is, what it must be, and what it was."""
    problem, place = split_place(problem)
    place = place.replace("[...]", _NAMED)
    if unknown := _UNKNOWN.fullmatch(problem):
        name = unknown.group(1)
        prefix = re.sub(r"\[\d+\]", "[]", place)
        names = [row.name for row in setting_rows()]
        fields_here = [
            row.removeprefix(f"{prefix}.") for row in names if row.startswith(f"{prefix}.")
        ]
        if not prefix:
            fields_here = sorted({re.sub(r"\[.*\]$", "", row.partition(".")[0]) for row in names})
        near = difflib.get_close_matches(name, fields_here, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(fields_here)}"
        return f"there is no setting {'.'.join(filter(None, [place, name]))!r}; {hint}"
    if missing := _MISSING.fullmatch(problem):
        return f"{place} must have a setting {missing.group(1)!r}, and has none"
    row = re.sub(r"\[\d+\]", "[]", place)
    types = {row.name: row.type for row in setting_rows()}
    if row not in types and "[" in row:  # one value in a list or a table
        row, place = row.rpartition("[")[0], place.rpartition("[")[0]
    expected = types.get(row, problem.removeprefix("Expected ").replace("`", ""))
    return f"{place or 'the file'} must be {expected}, was {value_at(values, place)!r}"


def split_place(problem: str) -> tuple[str, str]:
    """Return what msgspec says of a value, and the place of the value, ``""`` for the whole."""
    match = _PLACE.search(problem)
    return (problem[: match.start()], match[1]) if match else (problem, "")


def value_at(values: Any, place: str) -> Any:
    """Return the value at a place, as far as there is one."""
    for part in re.findall(r"[^.\[\]]+", place):
        if isinstance(values, Mapping) and part in values:
            values = values[part]
        elif isinstance(values, list | tuple) and part.isdigit() and int(part) < len(values):
            values = values[int(part)]
    return values

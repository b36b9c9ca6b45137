"""Frozen, typed config trees: typed overrides from the command line, JSON both ways, a digest, and help.

A config is a frozen keyword-only dataclass. The comment behind a field is its help text.
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import functools
import hashlib
import inspect
import math
import re
import textwrap
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Protocol, TypeVar, cast, runtime_checkable

import msgspec

from openwit.errors import ConfigError, nearest


class IsDataclass(Protocol):
    """Any dataclass instance."""

    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]


C = TypeVar("C", bound=IsDataclass)
T = TypeVar("T")
_FREE = "no result depends on it"
Free = Annotated[T, _FREE]  # of a field on which no result depends: what is made stays when it changes


@runtime_checkable
class Named(Protocol):
    """A section that can be set as a whole, by a name."""

    @classmethod
    def named(cls, name: str) -> IsDataclass:
        """Raises ConfigError for an unknown name."""


@dataclass(frozen=True)
class FieldHelp:
    """One settable field: its dotted path, type, present value and help text."""

    path: str
    type: str
    value: object
    help: str
    free: bool  # whether no result depends on it


def override(config: C, changes: Mapping[str, str]) -> C:
    """A copy of `config` with dotted paths set from text, e.g. {"crawl.timeout_s": "5"}.

    The changes of one section are made at once, so that fields which must agree can change together. Where a section
    has names (see `Named`), its path sets all of it, and other changes are made to that.
    Raises ConfigError for an unknown field (with the nearest right one), a value of another type, or a
    value that the config itself refuses.
    """
    return _override(config, {tuple(path.split(".")): text for path, text in changes.items()}, "")


def _override(config: C, changes: dict[tuple[str, ...], str], prefix: str) -> C:
    hints = typing.get_type_hints(type(config))
    known = {field.name for field in dataclasses.fields(config) if field.init}
    new: dict[str, object] = {}
    for name in dict.fromkeys(path[0] for path in changes):
        inner = {path[1:]: text for path, text in changes.items() if path[0] == name}
        whole = prefix + ".".join((name, *max(inner)))
        value = getattr(config, name, None)
        if name not in known:
            raise ConfigError(f"--{whole}: unknown field{_suggestion(config, whole.removeprefix(prefix), prefix)}")
        if isinstance(value, Named) and () in inner:
            new[name] = _override(value.named(inner.pop(())), inner, f"{prefix}{name}.")
        elif dataclasses.is_dataclass(value):
            if () in inner:
                section = prefix + name
                fields = ", ".join(f"--{section}.{f.name}" for f in dataclasses.fields(value))
                raise ConfigError(f"--{section}: is a section; set one of its fields: {fields}")
            new[name] = _override(cast(IsDataclass, value), inner, f"{prefix}{name}.")
        elif set(inner) != {()}:
            raise ConfigError(f"--{whole}: {prefix}{name} has no fields of its own")
        else:
            new[name] = parse_value(hints[name], inner[()], whole)
    try:
        return cast(C, dataclasses.replace(cast(Any, config), **new))
    except ConfigError as error:
        raise ConfigError(f"{prefix}{error}") from None


def _suggestion(config: IsDataclass, wanted: str, prefix: str) -> str:
    """What the user may have meant: by the path below `prefix`, else by the field's own name in any section."""
    known = [entry.path for entry in describe(config)]
    near = nearest(wanted, known)
    if not near:
        tails = {path.rsplit(".", 1)[-1]: path for path in known}
        near = tails.get(nearest(wanted.rsplit(".", 1)[-1], tails) or "")
    return f"; did you mean --{prefix}{near}?" if near else "; --help lists the fields"


def parse_value(kind: object, text: str, path: str) -> object:
    """The value that `text` means for a field of type `kind`; of a tuple those of its items. Raises ConfigError."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        if text.lower() in ("none", "null"):
            return None
        return parse_value(next(a for a in arguments if a is not type(None)), text, path)
    if origin is tuple:
        return tuple(parse_value(arguments[0], item, path) for item in split_items(text, path))
    if kind is str:
        return text
    try:
        value = msgspec.convert(text.strip(), cast(Any, kind), strict=False)
    except msgspec.ValidationError:
        raise ConfigError(f"--{path}={text}: expected {type_name(kind)}") from None
    if isinstance(value, float) and not math.isfinite(value):  # JSON has no word for it
        raise ConfigError(f"--{path}={text}: expected a finite number")
    return cast(object, value)


def split_items(text: str, path: str) -> list[str]:
    """What a comma-separated `text` names, without empty ones. One that holds a comma stands in double quotes, as in
    csv ("a, b",c), or all are written as a JSON list (["a, b", "c"]). Raises ConfigError, which names `path`."""
    if text.lstrip().startswith("["):
        with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):  # else it is no such list
            return [str(item) for item in msgspec.json.decode(text, type=list[str | int | float])]
    if '"' not in text:
        return [item.strip() for item in text.split(",") if item.strip()]
    try:
        found = list(csv.reader(text.splitlines(keepends=True), skipinitialspace=True, strict=True))
    except csv.Error:
        raise ConfigError(
            f"--{path}={text}: expected double quotes around each whole part with a comma, "
            'e.g. "one, two",three, or a JSON list, e.g. ["one, two", "three"]'
        ) from None
    return [item.strip() for row in found for item in row if item.strip()]


def type_name(kind: object) -> str:
    """How a field's type reads in help and errors, e.g. "int or none", "one of local, ray"."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return " or ".join("none" if a is type(None) else type_name(a) for a in arguments)
    if origin is tuple:
        return f"comma-separated {type_name(arguments[0])}s"
    if origin is typing.Literal:
        return "one of " + ", ".join(str(a) for a in arguments)
    return {"bool": "true or false", "str": "text"}.get(getattr(kind, "__name__", ""), getattr(kind, "__name__", "?"))


def describe(config: IsDataclass, prefix: str = "") -> Iterator[FieldHelp]:
    """Every settable field of the tree, in order, with its dotted path."""
    hints = typing.get_type_hints(type(config))
    comments, free = _comments(type(config)), free_fields(type(config))
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            yield from describe(cast(IsDataclass, value), f"{prefix}{field.name}.")
        else:
            kind, text = type_name(hints[field.name]), comments.get(field.name, "")
            yield FieldHelp(prefix + field.name, kind, value, text, field.name in free)


@functools.cache
def free_fields(kind: type) -> frozenset[str]:
    """The names of a config's own fields that are Free."""
    hints = typing.get_type_hints(kind, include_extras=True)
    return frozenset(name for name, hint in hints.items() if _FREE in getattr(hint, "__metadata__", ()))


def decisive(config: IsDataclass) -> dict[str, object]:
    """The config as plain values, without its Free fields and those of its sections."""
    found = {}
    for field in dataclasses.fields(config):
        if field.name not in free_fields(type(config)):
            value = getattr(config, field.name)
            is_section = dataclasses.is_dataclass(value)
            found[field.name] = decisive(cast(IsDataclass, value)) if is_section else msgspec.to_builtins(value)
    return found


_FIELD = re.compile(r"""    (\w+):(?:[^#"']|"[^"]*"|'[^']*')*#\s*(.+)$""")


@functools.cache
def _comments(kind: type) -> dict[str, str]:
    """The trailing comments of a dataclass's fields, which are their help."""
    found = {}
    for base in reversed(kind.__mro__[:-1]):
        for line in textwrap.dedent(inspect.getsource(base)).splitlines():
            if match := _FIELD.match(line):
                found[match[1]] = match[2].strip()
    return found


def to_json(config: object) -> bytes:
    """Canonical JSON of a config: sorted keys, so equal configs give equal bytes."""
    return msgspec.json.encode(_plain(msgspec.to_builtins(config)), order="sorted")


def _plain(value: object) -> object:
    """The same with whole floats as integers: a float field is 10.0 when parsed, and 10 where a recipe wrote 10."""
    if isinstance(value, dict):
        return {name: _plain(entry) for name, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    if isinstance(value, float):
        assert math.isfinite(value), "JSON has no word for it"
        return int(value) if value.is_integer() and abs(value) < 2**53 else value
    return value


def from_json(kind: type[C], data: bytes) -> C:
    """The config that `to_json` wrote; a field that is missing has its default.

    Raises ConfigError where a field without default is missing, or one is unknown or of another type.
    """
    try:
        written = msgspec.json.decode(data)
        config = cast(C, _from_builtins(kind, written, "$"))
    except (msgspec.ValidationError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"{kind.__name__}: {error}") from None
    known = {entry.path for entry in describe(config)}
    if unknown := [path for path in _paths(written) if path not in known]:
        raise ConfigError(f"{kind.__name__}: unknown field {unknown[0]}{_suggestion(config, unknown[0], '')}")
    return config


def _from_builtins(kind: Any, written: object, path: str) -> object:
    """`written` as a `kind`; fields that it does not have are passed over. A section that may be of several types is
    of the one whose fields are nearest to those written."""
    sections = _sections(kind)
    if not sections or not isinstance(written, dict):
        try:
            return msgspec.convert(written, sections[0] if len(sections) > 1 else kind)
        except msgspec.ValidationError as error:
            said, _, where = str(error).partition(" - at `$")
            raise msgspec.ValidationError(f"{said} - at `{path}{where.rstrip('`')}`") from None
    section = min(sections, key=lambda one: len({field.name for field in dataclasses.fields(one)} ^ written.keys()))
    hints = typing.get_type_hints(section)
    values = {}
    for field in dataclasses.fields(section):
        if field.name in written:
            values[field.name] = _from_builtins(hints[field.name], written[field.name], f"{path}.{field.name}")
        elif field.default is field.default_factory is dataclasses.MISSING:
            raise msgspec.ValidationError(f"Object missing required field `{field.name}` - at `{path}`")
    return section(**values)


def _sections(kind: Any) -> tuple[Any, ...]:
    """The dataclasses that a field of type `kind` may hold."""
    kinds = typing.get_args(kind) if typing.get_origin(kind) in (typing.Union, types.UnionType) else (kind,)
    return tuple(one for one in kinds if dataclasses.is_dataclass(one))


def _paths(tree: Mapping[str, object], prefix: str = "") -> Iterator[str]:
    for name, value in tree.items():
        if isinstance(value, dict) and value:
            yield from _paths(value, f"{prefix}{name}.")
        else:
            yield prefix + name


def digest(*values: object) -> str:
    """32 hex digits that differ where any of the values (configs, text, numbers, mappings) differs."""
    return hashlib.blake2b(to_json(values), digest_size=16).hexdigest()

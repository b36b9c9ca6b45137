"""Frozen, typed config trees: typed overrides from the command line, JSON both ways, a digest, and help.

A config is a frozen keyword-only dataclass. The comment behind a field is its help text.
"""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import inspect
import re
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, TypeVar, cast

import msgspec

from openwit.errors import ConfigError


class IsDataclass(Protocol):
    """Any dataclass instance."""

    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]


C = TypeVar("C", bound=IsDataclass)


@dataclass(frozen=True)
class FieldHelp:
    """One settable field: its dotted path, type, present value and help text."""

    path: str
    type: str
    value: object
    help: str


def override(config: C, changes: Mapping[str, str]) -> C:
    """A copy of `config` with dotted paths set from text, e.g. {"crawl.timeout_s": "5"}.

    The changes of one section are made at once, so that fields which must agree can change together.
    Raises ConfigError for an unknown field (with the nearest right one), a value of another type, or a
    value that the config itself refuses.
    """
    return _override(config, {tuple(path.split(".")): text for path, text in changes.items()}, "")


def _override(config: C, changes: dict[tuple[str, ...], str], prefix: str) -> C:
    hints = typing.get_type_hints(type(config))
    new: dict[str, object] = {}
    for name in dict.fromkeys(path[0] for path in changes):
        inner = {path[1:]: text for path, text in changes.items() if path[0] == name}
        whole = prefix + ".".join((name, *next(iter(inner))))
        value = getattr(config, name, None)
        if name not in hints:
            raise ConfigError(f"--{whole}: unknown field{_suggestion(config, whole.removeprefix(prefix), prefix)}")
        if dataclasses.is_dataclass(value):
            if () in inner:
                fields = ", ".join(f"--{whole}.{f.name}" for f in dataclasses.fields(value))
                raise ConfigError(f"--{whole}: is a section; set one of its fields: {fields}")
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
    known = [entry.path for entry in describe(config)]
    near = difflib.get_close_matches(wanted, known, n=1, cutoff=0.6)
    if not near:
        tails = {path.rsplit(".", 1)[-1]: path for path in known}
        near = [tails[tail] for tail in difflib.get_close_matches(wanted.rsplit(".", 1)[-1], list(tails), n=1)]
    return f"; did you mean --{prefix}{near[0]}?" if near else "; --help lists the fields"


def parse_value(kind: object, text: str, path: str) -> object:
    """The value that `text` means for a field of type `kind`; tuples are comma-separated. Raises ConfigError."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        if text.lower() in ("none", "null"):
            return None
        return parse_value(next(a for a in arguments if a is not type(None)), text, path)
    if origin is tuple:
        return tuple(parse_value(arguments[0], item.strip(), path) for item in text.split(",") if item.strip())
    if kind is str:
        return text
    try:
        return msgspec.convert(text, cast(Any, kind), strict=False)
    except msgspec.ValidationError:
        raise ConfigError(f"--{path}={text}: expected {type_name(kind)}") from None


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
    comments = _comments(type(config))
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            yield from describe(cast(IsDataclass, value), f"{prefix}{field.name}.")
        else:
            yield FieldHelp(prefix + field.name, type_name(hints[field.name]), value, comments.get(field.name, ""))


def _comments(kind: type) -> dict[str, str]:
    """The trailing comments of a dataclass's fields, which are their help."""
    found = {}
    for base in reversed(kind.__mro__[:-1]):
        for line in inspect.getsource(base).splitlines():
            if match := re.match(r"    (\w+):[^#]*#\s*(.+)$", line):
                found[match[1]] = match[2].strip()
    return found


def to_json(config: object) -> bytes:
    """Canonical JSON of a config: sorted keys, so equal configs give equal bytes."""
    return msgspec.json.encode(config, order="sorted")


def from_json(kind: type[C], data: bytes) -> C:
    """The config that `to_json` wrote. Raises ConfigError where fields are missing, unknown or of another type."""
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise ConfigError(f"{kind.__name__}: {error}") from None


def digest(*values: object) -> str:
    """32 hex digits that differ where any of the values (configs, text, numbers, mappings) differs."""
    return hashlib.blake2b(to_json(values), digest_size=16).hexdigest()

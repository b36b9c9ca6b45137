"""The command line: its commands, and every --section.field with its type and default."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from typing import Any

from openwit.config import describe
from pipelines.cli import COMMANDS, FILE_COMMANDS, OPTIONS
from pipelines.recipes import RECIPES, Recipe, create

Golden = Callable[[str, object], None]


def recipes() -> dict[str, Recipe]:
    return {name: create(name, "WORK") for name in RECIPES}


def defaults(config: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Every field's path, and the default that its class gives it."""
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            yield from defaults(value, f"{prefix}{field.name}.")
        elif field.default_factory is not dataclasses.MISSING:
            yield prefix + field.name, as_text(field.default_factory())
        else:
            must = field.default is dataclasses.MISSING
            yield prefix + field.name, "must be given" if must else as_text(field.default)


def as_text(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def test_every_field_has_the_type_and_default_that_it_had(golden: Golden) -> None:
    """A section that may be of two classes has both, e.g. --pretrain.model.vision."""
    found: dict[str, set[str]] = {}
    for recipe in recipes().values():
        types = {entry.path: entry.type for entry in describe(recipe)}
        for path, default in defaults(recipe):
            found.setdefault(path, set()).add(f"{types[path]} = {default}")
        assert types.keys() <= found.keys()
    golden("fields", {path: sorted(found[path]) for path in sorted(found)})


def test_every_recipe_sets_what_it_set(golden: Golden) -> None:
    told = {}
    for name, recipe in recipes().items():
        default = dict(defaults(recipe))
        given = {entry.path: entry.value for entry in describe(recipe) if as_text(entry.value) != default[entry.path]}
        told[name] = given
    golden("recipes", told)


def test_every_field_of_every_recipe_has_its_help() -> None:
    for recipe in recipes().values():
        assert [entry.path for entry in describe(recipe) if not entry.help] == []


def test_the_commands_and_their_options_are_what_they_were(golden: Golden) -> None:
    options = {name: [list(commands), value] for name, (commands, value, _) in OPTIONS.items()}
    golden("commands", {"commands": list(COMMANDS), "file_commands": list(FILE_COMMANDS), "options": options})

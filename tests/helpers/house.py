"""Counts the house: its source files by rooms, how long they are, who imports them, and circles of files and of rooms.

`python tests/helpers/house.py` prints the table; tests/test_architecture.py holds the bounds. A room is a folder; its
`__init__.py` is the door, not one of its files.
"""

from __future__ import annotations

import ast
import io
import statistics
import sys
import tokenize
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Set
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("openwit", "models", "wit_queries", "datagen", "train", "pipelines")
PROSE = (tokenize.COMMENT, tokenize.STRING, tokenize.NAME)
SHORT_LINES = 60


class House:
    """The source files of a checkout and who imports whom, by their dotted names."""

    def __init__(self, root: Path = ROOT, packages: Iterable[str] = PACKAGES) -> None:
        self.root = root
        paths = sorted(path for package in packages for path in (root / package).rglob("*.py"))
        self.path_of = {self._module(path): path for path in paths}
        self.sources = [module for module, path in self.path_of.items() if path.name != "__init__.py"]

    def _module(self, path: Path) -> str:
        return ".".join(path.relative_to(self.root).with_suffix("").parts).removesuffix(".__init__")

    def room(self, module: str) -> str:
        """The folder in which the module lies, dotted; a door lies in the room that it opens."""
        return ".".join(self.path_of[module].parent.relative_to(self.root).parts)

    @cached_property
    def trees(self) -> Mapping[str, ast.Module]:
        return {module: ast.parse(path.read_text(encoding="utf-8")) for module, path in self.path_of.items()}

    def imported(self, module: str) -> Iterator[str]:
        """The dotted names that a file imports anywhere: inside functions, for annotations alone, by importlib."""
        return imported_names(self.trees[module], self.room(module))

    @cached_property
    def edges(self) -> Mapping[str, Set[str]]:
        """Module → those of the house that it imports."""
        return {module: set(self._ours(module)) - {module} for module in self.path_of}

    def _ours(self, module: str) -> Iterator[str]:
        for name in self.imported(module):
            if name.endswith(".*"):
                yield from (source for source in self.sources if self.room(source) == name.removesuffix(".*"))
            else:
                parts = name.split(".")
                known = (".".join(parts[:num]) for num in range(len(parts), 0, -1))
                yield from [found for found in known if found in self.path_of][:1]
                if name in self.handed_on:
                    yield self.handed_on[name]

    @cached_property
    def handed_on(self) -> Mapping[str, str]:
        """`room.name` → the file of the room that defines the name, for the names that a door hands on."""
        doors = [module for module, path in self.path_of.items() if path.name == "__init__.py"]
        names = [(door, name) for door in doors for name in self.imported(door) if name.startswith(f"{door}.")]
        found = {f"{door}.{name.rpartition('.')[2]}": name.rpartition(".")[0] for door, name in names}
        return {name: module for name, module in found.items() if module in self.path_of and module not in doors}

    @cached_property
    def lengths(self) -> Mapping[str, int]:
        """Source file → its lines."""
        return {module: self.path_of[module].read_text(encoding="utf-8").count("\n") for module in self.sources}

    @cached_property
    def importers(self) -> Mapping[str, Set[str]]:
        """Source file → the modules that import it."""
        found: dict[str, set[str]] = {module: set() for module in self.sources}
        for module, targets in self.edges.items():
            for target in targets & found.keys():
                found[target].add(module)
        return found

    def single_importers(self) -> list[str]:
        """The source files that one other module imports."""
        return sorted(module for module, importers in self.importers.items() if len(importers) == 1)

    def room_sizes(self) -> Counter[str]:
        """Room → source files directly in it."""
        return Counter(self.room(module) for module in self.sources)

    def room_edges(self) -> Mapping[str, Set[str]]:
        """Room → the other rooms from which its files import. A room and a room inside it are one house of their own:
        what one of them imports of the other does not count."""
        found: dict[str, set[str]] = defaultdict(set)
        for module, targets in self.edges.items():
            here = self.room(module)
            others = {self.room(target) for target in targets}
            found[here] |= {there for there in others if not (is_below(here, there) or is_below(there, here))}
        return found

    def classes(self) -> Mapping[str, list[str]]:
        """Name of a class → the modules that define one of this name."""
        found: dict[str, list[str]] = defaultdict(list)
        for module, tree in self.trees.items():
            for node in ast.walk(tree):
                if isinstance(node, ast.ClassDef):
                    found[node.name].append(module)
        return found

    def words(self, module: str) -> Iterator[tuple[int, str]]:
        """(line, text) of each name, string and comment of a file: what is said in it."""
        with io.StringIO(self.path_of[module].read_text(encoding="utf-8")) as text:
            for token in tokenize.generate_tokens(text.readline):
                if token.type in PROSE or token.type == getattr(tokenize, "FSTRING_MIDDLE", -1):
                    yield token.start[0], token.string


def is_below(name: str, room: str) -> bool:
    """Whether a dotted name is the room or lies in it, at any depth."""
    return name == room or name.startswith(f"{room}.")


def imported_names(tree: ast.Module, room: str) -> Iterator[str]:
    """The dotted names that a file of the room imports; `room.*` where importlib is given a name that is put together
    at run time from the room's."""
    package = room.split(".")
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            head = package[: len(package) + 1 - node.level] if node.level else []
            whole = ".".join([*head, *filter(None, [node.module])])
            yield from (f"{whole}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module") and node.args:
            name = node.args[0]
            if isinstance(name, ast.Constant):
                yield str(name.value)
            elif isinstance(name, ast.JoinedStr) and isinstance(name.values[0], ast.Constant):
                yield f"{name.values[0].value}*"  # type: ignore[str-bytes-safe]


def circles(edges: Mapping[str, Set[str]]) -> list[list[str]]:
    """The groups of nodes of which each reaches each other one (Tarjan's strongly connected components)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for target in sorted(edges.get(node, ())):
            if target not in index:
                visit(target)
                low[node] = min(low[node], low[target])
            elif target in stack:
                low[node] = min(low[node], index[target])
        if low[node] == index[node]:
            group = stack[stack.index(node) :]
            del stack[-len(group) :]
            if len(group) > 1:
                found.append(sorted(group))

    for node in sorted(edges):
        if node not in index:
            visit(node)
    return found


def table(house: House) -> list[str]:
    """The figures, one a line."""
    lengths = house.lengths.values()
    room, largest = house.room_sizes().most_common(1)[0]
    figures = {
        "files": len(lengths),
        "lines": sum(lengths),
        "median of lines": round(statistics.median(lengths)),
        "longest": max(lengths),
        f"under {SHORT_LINES} lines": sum(length < SHORT_LINES for length in lengths),
        "single importer": len(house.single_importers()),
        "largest flat room": f"{largest} ({room})",
        "circles of files": circles(house.edges) or "none",
        "circles of rooms": circles(house.room_edges()) or "none",
    }
    return [f"{name:18} {figure}" for name, figure in figures.items()]


if __name__ == "__main__":
    print("\n".join(table(House(*(Path(path).resolve() for path in sys.argv[1:2])))))  # type: ignore[arg-type]

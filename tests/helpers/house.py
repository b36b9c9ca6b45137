"""Counts the house: source files by rooms, their lengths, importers, and circles of files and of rooms.

`python tests/helpers/house.py` prints the table; tests/test_architecture.py holds the bounds.
"""

from __future__ import annotations

import ast
import statistics
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("openwit", "models", "wit_queries", "datagen", "train", "pipelines")


@dataclass(frozen=True)
class Import:
    """One name that a file imports: `name` is dotted; `always` where it runs as the file is imported."""

    name: str
    line: int
    always: bool


class House:
    """The source files of a checkout and who imports whom."""

    def __init__(self, root: Path = ROOT) -> None:
        self.root = root
        self.files = sorted(path for package in PACKAGES for path in (root / package).rglob("*.py"))
        self.modules = {self.module(path): path for path in self.files}

    def module(self, path: Path) -> str:
        """The dotted name: a package's __init__.py is the package."""
        return ".".join(path.relative_to(self.root).with_suffix("").parts).removesuffix(".__init__")

    def room(self, module: str) -> str:
        """The package in whose folder the module lies; the __init__.py of a package lies in the package."""
        path = self.modules[module]
        return ".".join(path.parent.relative_to(self.root).parts)

    @cached_property
    def edges(self) -> Mapping[str, frozenset[str]]:
        """Module → our modules that it imports anywhere (annotations' imports too)."""
        return {module: frozenset(self._imported(path) - {module}) for module, path in self.modules.items()}

    def _imported(self, path: Path) -> set[str]:
        found = set()
        for name in imported_names(path):
            parts = name.split(".")
            known = (".".join(parts[:n]) for n in range(len(parts), 0, -1))
            match = next((module for module in known if module in self.modules), None)
            if match is not None:
                found.add(match)
        return found

    @cached_property
    def sources(self) -> list[Path]:
        """The files with code of their own: an empty or re-exporting __init__.py is a door, not a room's file."""
        return [path for path in self.files if path.name != "__init__.py"]

    def lengths(self) -> dict[str, int]:
        return {self.module(path): path.read_text(encoding="utf-8").count("\n") for path in self.sources}

    def importers(self) -> Counter[str]:
        """Module → how many of our other modules import it."""
        counts: Counter[str] = Counter({self.module(path): 0 for path in self.sources})
        counts.update(target for targets in self.edges.values() for target in targets if target in counts)
        return counts

    def file_circles(self) -> list[list[str]]:
        return circles(self.edges)

    def room_circles(self) -> list[list[str]]:
        """Circles of rooms: a room and the rooms within it count as separate ones."""
        rooms: dict[str, set[str]] = defaultdict(set)
        for module, targets in self.edges.items():
            here = self.room(module)
            rooms[here] |= {self.room(target) for target in targets} - {here}
        return circles(rooms)

    def room_sizes(self) -> Counter[str]:
        """Room → source files directly in it."""
        return Counter(self.room(self.module(path)) for path in self.sources)


def imported_names(path: Path) -> Iterator[str]:
    """The dotted names that a file imports anywhere, also inside functions and by importlib."""
    package = path.relative_to(ROOT).parts[:-1] if path.is_relative_to(ROOT) else ()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            head = ".".join(package[: len(package) + 1 - node.level]) if node.level else ""
            whole = ".".join(part for part in (head, node.module or "") if part)
            yield from (f"{whole}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            yield from (str(entry.value) for entry in node.args[:1] if isinstance(entry, ast.Constant))


def circles(edges: Mapping[str, set[str] | frozenset[str]]) -> list[list[str]]:
    """The groups of nodes of which each reaches each (Tarjan's strongly connected components with two or more)."""
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
            del stack[stack.index(node) :]
            if len(group) > 1:
                found.append(sorted(group))

    for node in sorted(edges):
        if node not in index:
            visit(node)
    return found


def report(house: House) -> list[str]:
    lengths = house.lengths()
    alone = sorted(name for name, count in house.importers().items() if count == 1)
    rooms = house.room_sizes()
    room, most = max(rooms.items(), key=lambda entry: entry[1])
    return [
        f"files              {len(lengths)}",
        f"lines              {sum(lengths.values())}",
        f"median             {statistics.median(lengths.values()):.0f}",
        f"longest            {max(lengths.values())}",
        f"under 60 lines     {sum(length < 60 for length in lengths.values())}",
        f"single importer    {len(alone)}",
        f"largest flat room  {most} ({room})",
        f"circles of files   {house.file_circles()}",
        f"circles of rooms   {house.room_circles()}",
    ]


if __name__ == "__main__":
    print("\n".join(report(House(Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else ROOT))))

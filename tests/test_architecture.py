"""The house rules that hold the parts together: who may import whom, how large files and rooms may be, which words are
gone, what has help."""

from __future__ import annotations

import ast
import io
import re
import statistics
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.house import PACKAGES, ROOT, SHORT_LINES, House, circles, imported_names, is_below

HOUSE = House()
MAY_IMPORT = {
    "openwit": (),
    "models": ("openwit",),
    "wit_queries": ("openwit",),
    "datagen": ("openwit", "wit_queries"),
    "train": ("openwit", "models"),
    "pipelines": PACKAGES,
}
MAY_IMPORT_TOO = {"datagen/duplicates/embed.py": ("models",)}  # the one file that embeds images
ONLY_IMPORTER = {
    "img2dataset": {"datagen/crawl/crawl.py"},
    "triton": {"train/loss/fused.py"},
    "ray": {"openwit/executors/ray.py", "train/launch/ray.py"},
}
MAX_LINES = 400
MAX_ROOM_FILES = 15
NUM_FILES = range(220, 261)
MEDIAN_LINES = range(110, 141)
MAX_SHORT_FILES = 40
MAX_SINGLE_IMPORTERS = 70
RETIRED_WORDS = {  # what says the same now: how the word was written, in names, strings and comments
    "image": r"(?i)\b(an?|the|each|every|all|of|no|one) pictures?\b|\bpictures?_[a-z]|[a-z]_pictures?\b",
    "MAX_, MIN_": r"\b(MOST|FEWEST)_",
    "LoaderWorkers, BatchLoader, Prefetcher": r"\b(Feeders|Producer|Ahead)\b",
    "BatchBuilder, ExampleBuilder": r"\w*(Sheet|Maker)\b",
    "acquire, release": r"\b(lend|take_back)\(|\blent (memory|buffers?)\b",
    "mirror": r"(?i)\bspool",
    "LossMonitor": r"\bWatch\b",
    "straggler timer": r"\b(OwnTime|own_time)\b",
    "preemption vote, signal forwarder": r"\b(Agreement|PassedOn)\b",
    "warm start": r"\bput_initial\b",
    "rank error files": r"\bTOLD\b",
    "optimizer_state_dtype": r"\bpretrain\.statistics\b",
    "host rate limiter, slot, progress": r"[Ll]edger|\bTell\b",
    "authentication": r"(?i)doorkeeper|\bstrangers?\b",
    "single-flight cache": r"\bRemembered\b",
    "reliable bits": r"(?i)\bfirm(64|256)?\b",
    "latest attempt": r"(?i)\blast[ _]words?\b",
    "canonicalise": r"(?i)\bseal(ed|_\w+)?\b",
    "backward_tiles, new_max, scratch, EPS": r"\brisen(_|\b)|\bspare_RC\b|\bSHORTEST\b",
    "code point, character": r"\bread_sign\b|\bSignTable\b",
    "map_ordered": r"\bslices\.each\b",
    "pipeline": r"(?i)\bthe whole line\b",
}
FORBIDDEN_NAMES = {"utils", "util", "helpers", "helper", "common", "misc", "base", "legacy", "v2"}
HEAVY = ("torch", "torchvision", "numpy", "pandas", "ray", "pyarrow", "numba", "scipy", "PIL", "cv2", "img2dataset")
TESTS_OF_MORE_THAN_ONE_FILE = {
    "tests/test_architecture.py": "the whole house",
    "tests/test_pages.py": "README, CONTRIBUTING, docs/ and what they name",
    "tests/datagen/crawl/test_kills.py": "a whole crawl, killed again and again",
    "tests/datagen/sources/test_shared_cases.py": "failing inputs of others, through all readers",
    "tests/models/test_models_page.py": "docs/models.md and all that it tells of",
    "tests/train/test_golden.py": "the demo's recipe and network, trained by the whole loop",
    "tests/train/test_hostile_shards.py": "damaged shards through the whole stream and the loop",
}
FOLDERS_OF_TESTS_OF_MORE_THAN_ONE_FILE = {"tests/golden": "what must not move, wherever its source lies"}


def sources(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imported(path: Path) -> Iterator[str]:
    """The dotted names that a file imports anywhere, also inside functions and by importlib."""
    room = ".".join(relative(path).split("/")[:-1])
    return imported_names(ast.parse(path.read_text(encoding="utf-8")), room)


def below(name: str, packages: tuple[str, ...]) -> bool:
    return any(is_below(name, package) for package in packages)


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_flow_down(package: str) -> None:
    for path in sources(package):
        allowed = (package, *MAY_IMPORT[package], *MAY_IMPORT_TOO.get(relative(path), ()))
        ours = [name for name in imported(path) if below(name, (*PACKAGES, "tests", "helpers", "benchmarks"))]
        assert [name for name in ours if not below(name, allowed)] == [], relative(path)


@pytest.mark.parametrize("library", ONLY_IMPORTER)
def test_a_library_that_may_be_replaced_is_imported_by_one_file(library: str) -> None:
    importers = {relative(path) for path in sources(*PACKAGES) if any(below(n, (library,)) for n in imported(path))}
    assert importers <= ONLY_IMPORTER[library]


def test_no_file_is_longer_than_a_reader_bears() -> None:
    lengths = {relative(path): path.read_text().count("\n") for path in sources(*PACKAGES, "tests", "benchmarks")}
    assert {name: length for name, length in lengths.items() if length > MAX_LINES} == {}


def test_no_files_import_each_other_in_a_circle() -> None:
    assert circles(HOUSE.edges) == []


def test_no_rooms_import_each_other_in_a_circle() -> None:
    """What a room and a room inside it import of each other does not count: they are one house of their own."""
    assert circles(HOUSE.room_edges()) == []


def test_files_and_rooms_have_a_size_that_a_reader_keeps_in_mind() -> None:
    lengths = HOUSE.lengths.values()
    assert len(lengths) in NUM_FILES
    assert round(statistics.median(lengths)) in MEDIAN_LINES
    assert sum(length < SHORT_LINES for length in lengths) <= MAX_SHORT_FILES
    assert {room: number for room, number in HOUSE.room_sizes().items() if number > MAX_ROOM_FILES} == {}


def test_few_files_serve_one_other_file_alone() -> None:
    alone = HOUSE.single_importers()
    assert len(alone) <= MAX_SINGLE_IMPORTERS, alone


def test_a_class_name_has_one_meaning() -> None:
    assert {name: modules for name, modules in HOUSE.classes().items() if len(modules) > 1} == {}


@pytest.mark.parametrize("word", RETIRED_WORDS)
def test_a_word_that_was_given_up_does_not_come_back(word: str) -> None:
    pattern = re.compile(RETIRED_WORDS[word])
    said = [
        f"{relative(HOUSE.path_of[module])}:{line}: {found[0]!r}; say {word}"
        for module in HOUSE.path_of
        for line, text in [(0, module), *HOUSE.words(module)]
        if (found := pattern.search(text))
    ]
    assert said == []


def test_no_file_or_folder_has_a_name_that_says_nothing() -> None:
    for path in sources(*PACKAGES, "benchmarks"):
        assert not {part.removesuffix(".py") for part in relative(path).split("/")} & FORBIDDEN_NAMES, relative(path)


def config_classes(path: Path) -> Iterator[ast.ClassDef]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        marked = isinstance(node, ast.ClassDef) and any("dataclass" in ast.unparse(d) for d in node.decorator_list)
        if isinstance(node, ast.ClassDef) and marked and (path.name == "config.py" or node.name.endswith("Config")):
            yield node


@pytest.mark.parametrize("path", sources(*PACKAGES), ids=relative)
def test_configs_are_frozen_keyword_only_and_every_field_has_its_help_behind_it(path: Path) -> None:
    if relative(path) == "openwit/config.py":  # no config: what all configs are read with
        return
    tokens = tokenize.generate_tokens(io.StringIO(path.read_text(encoding="utf-8")).readline)
    commented = {token.start[0] for token in tokens if token.type == tokenize.COMMENT and len(token.string) > 3}
    for node in config_classes(path):
        decorator = next(ast.unparse(d) for d in node.decorator_list if "dataclass" in ast.unparse(d))
        assert decorator == "dataclass(frozen=True, kw_only=True)", node.name
        for entry in node.body:
            if isinstance(entry, ast.AnnAssign) and not isinstance(entry.value, ast.Call):  # a call makes a section
                where = f"{node.name}.{ast.unparse(entry.target)}"
                lines = range(entry.lineno, (entry.end_lineno or entry.lineno) + 1)
                assert commented.intersection(lines), f"{where} has no comment on its line"
                whole = isinstance(entry.value, ast.Constant) and type(entry.value.value) is int
                assert not (ast.unparse(entry.annotation) == "float" and whole), f"{where} is a float: write 1.0"


def python(code: str) -> str:
    """What the code prints in a process of its own."""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def module_name(path: Path) -> str:
    return relative(path).removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def test_config_modules_import_nothing_heavy() -> None:
    names = [module_name(path) for path in sources(*PACKAGES) if path.name == "config.py"]
    code = f"import importlib, sys\nfor name in {names}:\n importlib.import_module(name)\n"
    code += f" print(name, *(h for h in {HEAVY} if h in sys.modules))"
    assert [line.split() for line in python(code).splitlines()] == [[name] for name in names]


@pytest.mark.parametrize("arguments", [["--help"], ["demo", "--help"], ["pretrain", "demo", "--help"]])
def test_help_answers_without_anything_heavy(arguments: list[str]) -> None:
    code = f"import sys\nfrom pipelines.cli import main\nmain({arguments})\n"
    code += f"print('HEAVY', *(h for h in {HEAVY} if h in sys.modules))"
    shown = python(code)
    assert shown.startswith("usage: openwit")
    assert shown.splitlines()[-1] == "HEAVY"


def test_training_and_models_import_without_ray_and_img2dataset() -> None:
    names = [module_name(path) for path in sources("train", "models") if path.name != "__main__.py"]
    names = [name for name in names if name != "train.loss.fused"]  # needs a GPU's compiler
    code = f"""
import importlib, sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("ray", "img2dataset"):
            raise ImportError(name + " is blocked")
sys.meta_path.insert(0, Blocked())
for name in {names}:
    importlib.import_module(name)
print(len({names}))
"""
    assert int(python(code)) == len(names) > 0


def test_tests_mirror_the_sources() -> None:
    for path in sources("tests"):
        if not path.name.startswith("test_") or relative(path) in TESTS_OF_MORE_THAN_ONE_FILE:
            continue
        if relative(path.parent) in FOLDERS_OF_TESTS_OF_MORE_THAN_ONE_FILE:
            continue
        folder = path.parent if path.parent.name == "helpers" else ROOT / path.parent.relative_to(ROOT / "tests")
        words = path.stem.removeprefix("test_").split("_")
        names = ["_".join(words[:number]) + ".py" for number in range(len(words), 0, -1)]  # test_<file>_<aspect>.py too
        where = f"{folder.relative_to(ROOT)}/{names[0]}"
        assert any((folder / name).exists() for name in names), f"{relative(path)} has no {where}; state the exception"

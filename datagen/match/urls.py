"""Absolute URLs of links as they stand in pages: exactly urllib's, most of them without its cost.

The files of a run's sources, and of which kind each is.
"""

from __future__ import annotations

import gzip
from urllib.parse import urldefrag, urljoin

import pyarrow as pa
import pyarrow.compute as pc
from fsspec.core import url_to_fs

from datagen.config import FileKind, SourcesConfig
from openwit import storage
from openwit.errors import ConfigError, InputError

# What urllib leaves as it is: printable ASCII without fragments, parameters and empty queries; in the path of a base
# or a relative URL beside that no empty and no dot segments; in a relative URL no colon, which could end a scheme.
_HOST = r"//[A-Za-z0-9.-]+(?::[0-9]+)?"
_PATH = r'(?:/[!"$-:<->@-~]*)?'
_SEGMENT = r'[!"$-\-0-:<->@-~][!"$-.0-:<->@-~]*'
_NO_COLON = r'[!"$-\-0-9<->@-~][!"$-.0-9<->@-~]*'
_QUERY = r'(?:\?[!"$-~]+)?'
_BASE = rf"^(?:(?P<scheme>https?:)(?P<host>{_HOST})(?:(?P<folder>/(?:{_SEGMENT}/)*)(?:{_SEGMENT})?)?(?:[?#][!-~]*)?)?$"
_WHOLE = rf"^https?:{_HOST}{_PATH}{_QUERY}$"
_KINDS = {
    "host": rf"^{_HOST}{_PATH}{_QUERY}$",
    "path": rf"^(?:/{_SEGMENT})+/?{_QUERY}$",
    "name": rf"^{_NO_COLON}(?:/{_NO_COLON})*{_QUERY}$",
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


def resolve(base: str, url: str) -> str | None:
    """The absolute URL without its fragment; None where urllib finds none."""
    try:
        return urldefrag(urljoin(base, url.strip())).url
    except ValueError:
        return None


_WAT = (".wat", ".wat.gz")
_TABLES: dict[str, FileKind] = {
    ".parquet": "parquet",
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
}
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
    data = storage.read_bytes(paths)
    if data.startswith(b"\x1f\x8b"):
        try:
            data = gzip.decompress(data)
        except (EOFError, OSError) as error:
            raise InputError(f"{paths}: is damaged ({error}); fetch it again") from None
    lines = [line.strip() for line in data.decode("utf-8", "replace").splitlines() if line.strip()]
    for line in lines or ["nothing"]:
        if not line.endswith(_WAT):
            raise InputError(f"{paths}: expected lines that end in .warc.wat.gz, found {line[:80]!r}")
    return [line if "://" in line else storage.join(prefix, line) for line in lines]

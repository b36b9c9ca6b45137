"""The files of a run's sources, and of which kind each is."""

from __future__ import annotations

import gzip

from fsspec.core import url_to_fs

from datagen.config import FileKind, SourcesConfig
from openwit import storage
from openwit.errors import ConfigError, InputError

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

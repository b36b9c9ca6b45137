"""What is to be taken out of a data set, and stays out: pairs, image URLs, domains.

Each request is a folder removed/NNNN/ of the work folder. Its request.parquet is a tombstone: from the moment it stands
there the crawl passes over what it names, whatever else is done.
"""

from __future__ import annotations

import functools
import io
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.parquet as pq

from openwit import storage
from openwit.errors import InputError
from openwit.storage.tables import read_table
from openwit.urls import host_of

KINDS = ("uid", "url", "domain")
REQUEST = pa.schema([("kind", pa.string()), ("value", pa.string())])
REMOVED_URL = "removed:"  # stands where the URL stood; it is fetched from nowhere
NO_CAPTION: Mapping[str, object] = {"uid": "", "caption": "", "page_url": "", "query_ids": [], "selected_by": []}
_UID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class Request:
    """Uids of pairs, URLs of images as they stand in the tables, and domains with all that lies below them."""

    uids: frozenset[str] = field(default_factory=frozenset)
    urls: frozenset[str] = field(default_factory=frozenset)
    domains: frozenset[str] = field(default_factory=frozenset)

    def __len__(self) -> int:
        return len(self.uids) + len(self.urls) + len(self.domains)

    def __or__(self, other: Request) -> Request:
        return Request(self.uids | other.uids, self.urls | other.urls, self.domains | other.domains)

    def names_image(self, url: str) -> str:
        """By what it names the image at a URL with all its captions: url, domain, or empty where it does not."""
        if url in self.urls:
            return "url"
        return "domain" if self.domains and self._names_host(url) else ""

    def _names_host(self, url: str) -> bool:
        try:
            labels = host_of(url).split(".")
        except ValueError:
            return False
        return any(".".join(labels[start:]) in self.domains for start in range(len(labels)))

    def without_named(self, selected: pa.Table) -> pa.Table:
        """The rows of a crawl (columns url and captions, and others) without the captions that are named. A row of
        which nothing is left keeps its place, with REMOVED_URL for its URL."""
        urls, captions = selected["url"].to_pylist(), selected["captions"].to_pylist()
        if not len(self):
            return selected
        for row, (url, entries) in enumerate(zip(urls, captions, strict=True)):
            left = [] if self.names_image(url) else [entry for entry in entries if entry["uid"] not in self.uids]
            if len(left) < len(entries):
                captions[row] = left or [NO_CAPTION]
                urls[row] = url if left else REMOVED_URL
        for name, values in (("url", urls), ("captions", captions)):
            place = selected.column_names.index(name)
            kind = selected.schema.field(name)
            selected = selected.set_column(place, kind, pa.array(values, kind.type))
        return selected


def read_list(url: str, kind: str) -> frozenset[str]:
    """The entries of a file with one a line, or of a parquet file's column of the kind's name. Raises InputError where
    it is missing or empty, or an entry is of another form."""
    if url.endswith(".parquet"):
        lines = [str(value) for value in read_table(url, [kind])[kind].to_pylist() if value]
    else:
        try:
            lines = storage.read_bytes(url).decode("utf-8").splitlines()
        except UnicodeDecodeError as error:
            raise InputError(f"{url}: is not UTF-8 text ({error}); write one {kind} a line") from None
    entries = [line.strip() for line in lines if line.strip()]
    if not entries:
        raise InputError(f"{url}: names no {kind}; write one a line")
    return frozenset(_checked(entry, kind, url) for entry in entries)


def _checked(entry: str, kind: str, url: str) -> str:
    if kind == "uid" and not _UID.fullmatch(entry):
        raise InputError(f"{url}: {entry[:80]!r} is no uid; expected 32 hex digits")
    if kind == "url" and not re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", entry):
        raise InputError(f"{url}: {entry[:80]!r} is no URL; expected e.g. https://example.org/a.jpg")
    if kind == "domain":
        try:
            return host_of(f"http://{entry.removeprefix('*.').strip('.')}/")
        except ValueError:
            raise InputError(f"{url}: {entry[:80]!r} is no domain; expected e.g. example.org") from None
    return entry


def write_request(folder: str, request: Request) -> None:
    """Publishes request.parquet, from when on the crawl honours it."""
    named = {"uid": request.uids, "url": request.urls, "domain": request.domains}
    rows = [(kind, value) for kind in KINDS for value in sorted(named[kind])]
    buffer = io.BytesIO()
    pq.write_table(pa.table([[row[i] for row in rows] for i in range(2)], schema=REQUEST), buffer, compression="zstd")
    storage.write_bytes(storage.join(folder, "request.parquet"), buffer.getvalue())


def read_request(url: str) -> Request:
    """What `write_request` wrote. Raises InputError where it is missing or damaged."""
    named: dict[str, set[str]] = {kind: set() for kind in KINDS}
    table = read_table(url, REQUEST.names)
    for kind, value in zip(table["kind"].to_pylist(), table["value"].to_pylist(), strict=True):
        named[kind].add(value)
    return Request(*(frozenset(named[kind]) for kind in KINDS))


def request_folders(removed: str) -> list[str]:
    """The folders of all requests below `removed`, in order."""
    found: list[str] = []
    while storage.exists(storage.join(removed, f"{len(found):04d}", "request.parquet")):
        found.append(storage.join(removed, f"{len(found):04d}"))
    return found


def tombstones(removed: str) -> Request:
    """All that was ever asked to be left out, read once a worker."""
    return _read_all(tuple(request_folders(removed)))


@functools.lru_cache(maxsize=1)
def _read_all(folders: Collection[str]) -> Request:
    requests = (read_request(storage.join(folder, "request.parquet")) for folder in folders)
    return functools.reduce(Request.__or__, requests, Request())

"""Pages of a MediaWiki XML export as a stream: memory holds one page, however long the dump is."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from html import unescape
from urllib.parse import unquote

from openwit.errors import InputError
from wit_queries.wikipedia.compressed import DamagedInput, InputStream, Span
from wit_queries.wikipedia.page_xml import MAIN_NAMESPACE, BrokenPage, WikiPage, read_any, read_plain

__all__ = ["MAIN_NAMESPACE", "BrokenPage", "Dump", "WikiPage", "WikiSite", "read_titles"]

HEADER_BYTES = 1 << 20
MAX_PAGE_BYTES = 64 << 20
KEPT_BYTES = 32  # of what was searched: marks may lie across chunks, and a span may begin in the dump's last
SCHEMA = "http://www.mediawiki.org/xml/export-"

# Every wiki answers to these names beside its own: https://www.mediawiki.org/wiki/Manual:Namespace
_NAMES = "Talk,User,User talk,Project,Project talk,File,File talk,MediaWiki,MediaWiki talk,Template,Template talk"
CANONICAL_NAMESPACES = {
    name: key for key, name in enumerate(f"{_NAMES},Help,Help talk,Category,Category talk".split(","), 1)
}
CANONICAL_NAMESPACES |= {"Media": -2, "Special": -1, "Image": 6, "Image talk": 7}
_OPEN, _CLOSE, _END = b"<page>", b"</page>", b"</mediawiki>"
_NAMESPACE = re.compile(r'<namespace key="(-?\d+)"[^>]*>([^<]+)</namespace>')
_LANGUAGE = re.compile(r'<mediawiki[^>]*\sxml:lang="([^"]+)"')
_SCHEMA = re.compile(r'<mediawiki[^>]*\sxmlns="([^"]*)"')


@dataclass
class WikiSite:
    """What a dump says of its wiki: `language` (en), `dbname` (enwiki), the title of its main page, the numbers of
    its namespaces' names; empty what it does not say."""

    language: str = ""
    dbname: str = ""
    main_page: str = ""
    namespaces: dict[str, int] = field(default_factory=lambda: dict(CANONICAL_NAMESPACES))

    def read(self, header: str) -> None:
        """Takes all from the beginning of a dump, up to </siteinfo>."""
        language = _LANGUAGE.search(header)
        self.language = language[1] if language else ""
        self.dbname = _element("dbname", header)
        self.main_page = unquote(_element("base", header).rpartition("/")[2]).replace("_", " ")
        self.namespaces |= {unescape(name): int(key) for key, name in _NAMESPACE.findall(header)}

    def namespace_of(self, title: str) -> int:
        """The namespace that a title's prefix names; 0 where it names none."""
        prefix, colon, _ = title.partition(":")
        return self.namespaces.get(prefix.strip().replace("_", " "), MAIN_NAMESPACE) if colon else MAIN_NAMESPACE

    def hidden_prefixes(self) -> frozenset[str]:
        """Lower-case names of the namespaces whose links show nothing in a text: files and categories."""
        return frozenset(name.lower() for name, key in self.namespaces.items() if key in (6, 14))


class Dump:
    """A dump, or a half-open `span` of its stored bytes (segments.cut), opened for one pass. `site` is known from the
    first page on, whatever the span.

    A span owns the pages whose `<page>` begins in a bz2 stream that begins in the span (of plain XML: at a byte in
    it), and reads on for the end of its last page. So each page is in exactly one of the spans that make up a file,
    also where streams are cut within a tag."""

    def __init__(self, url: str, max_page_bytes: int = MAX_PAGE_BYTES, span: Span | None = None) -> None:
        self.url = url
        self.stream = InputStream(url, span)
        self.site = WikiSite()
        self.max_page_bytes = max_page_bytes
        self.num_whole = 0  # pages that were given and not broken

    def pages(self) -> Iterator[WikiPage | BrokenPage]:
        """Every page, in order. Raises InputError, with file, offset and what was found, where the file is no
        export, is damaged, or ends before </mediawiki> (which the span that holds the last stream expects)."""
        chunks = self._chunks(self.stream)
        if self.stream.span and self.stream.span[0]:
            self._read_header(self._chunks(InputStream(self.url)))
        else:
            chunks = itertools.chain(self._read_header(chunks), chunks)
        scan = _Scan(self.site.namespace_of, self.max_page_bytes)
        for chunk, is_past in chunks:
            scan.add(chunk, is_past)
            for page in scan.pages():
                self.num_whole += isinstance(page, WikiPage)
                yield page
            if scan.is_done:
                return
        if scan.is_open and _END in scan.buffer:
            yield BrokenPage(scan.offset, "does not end before the dump does")
        elif scan.is_open or not (scan.has_ended or self.stream.past_span or self._is_rest_of_end(scan)):
            tail = scan.buffer[-40:].decode("utf-8", "replace")
            raise InputError(
                f"{self.url}: is cut off at byte {self.stream.num_bytes} behind {tail!r}; expected </mediawiki>; "
                f"fetch it again; {self._kept()}"
            )

    def _is_rest_of_end(self, scan: _Scan) -> bool:
        """Whether the span holds nothing but what is left of a </mediawiki> that began before it."""
        begins_within = self.stream.span is not None and self.stream.span[0] > 0
        return begins_within and not scan.offset and _END.endswith(scan.buffer.strip())

    def _chunks(self, stream: InputStream) -> Iterator[tuple[bytes, bool]]:
        """The stream's chunks, and of each whether it lies behind the span."""
        try:
            for chunk in stream.chunks():
                yield chunk, stream.past_span
        except DamagedInput as error:
            raise InputError(f"{error}; {self._kept()}") from None

    def _kept(self) -> str:
        span = self.stream.span
        part = f"the part from byte {span[0]} to {span[1]} is kept, other parts are" if span else "the file is kept"
        return f"{self.num_whole} pages before were whole, but nothing of {part}"

    def _read_header(self, chunks: Iterator[tuple[bytes, bool]]) -> list[tuple[bytes, bool]]:
        """Reads what the dump says of its wiki; the chunks that it took."""
        taken, header = [], b""
        for chunk in chunks:
            taken.append(chunk)
            header += chunk[0]
            if b"</siteinfo>" in header or _OPEN in header or len(header) > HEADER_BYTES:
                break
        text = header.decode("utf-8", "replace")
        if "<mediawiki" not in text[:4096]:
            raise InputError(f"{self.url}: begins with {text[:60]!r}; expected a MediaWiki XML export (<mediawiki …>)")
        schema = _SCHEMA.search(text)
        if schema and not schema[1].startswith(SCHEMA):
            raise InputError(f"{self.url}: is of the schema {schema[1]}; expected {SCHEMA}…")
        if "<logitem>" in text:
            raise InputError(f"{self.url}: holds log items; expected pages: fetch the file …-pages-articles…")
        self.site.read(text)
        return taken


class _Scan:
    """Cuts the pages out of what was read so far. `offset` is where `buffer` begins in the text, `limit` where the
    text behind the span begins."""

    def __init__(self, namespace_of: Callable[[str], int], max_page_bytes: int) -> None:
        self.namespace_of, self.max_page_bytes = namespace_of, max_page_bytes
        self.buffer, self.offset = b"", 0
        self.num_new = 0  # bytes of the buffer that were not looked through
        self.limit: int | None = None
        self.is_open = False  # the buffer begins with a page that is not whole yet
        self.has_ended = False  # </mediawiki> was seen
        self.is_done = False  # all pages that begin before the limit are out

    @property
    def end(self) -> int:
        """Where what was read so far ends in the text."""
        return self.offset + len(self.buffer)

    def add(self, chunk: bytes, is_past: bool) -> None:
        """The text goes on with `chunk`, which lies behind the span or not."""
        if is_past and self.limit is None:
            self.limit = self.end
        self.buffer += chunk
        self.num_new += len(chunk)

    def pages(self) -> Iterator[WikiPage | BrokenPage]:
        """The pages that are whole or broken, each once. Where a page ends or is too long does not depend on how
        the text came in chunks."""
        is_short = len(self.buffer) <= self.max_page_bytes
        if self.is_open and is_short and self.buffer.find(b"page>", -self.num_new - len(_CLOSE)) < 0:
            self.num_new = 0  # its end is still to come
            return
        buffer, done, self.is_open, self.num_new = self.buffer, 0, False, 0
        limit = len(buffer) if self.limit is None else self.limit - self.offset
        while 0 <= (start := buffer.find(_OPEN, done)) < limit:
            found: tuple[WikiPage | BrokenPage, int] | None = read_plain(buffer, start)
            if found is None or found[1] - start > self.max_page_bytes:
                found = self._read_odd(start)
            if found is None:
                self.is_open, done = True, start
                break
            page, done = found
            yield page
        else:
            self.has_ended = self.has_ended or buffer.find(_END, done) >= 0
            done = max(done, len(buffer) - KEPT_BYTES) if start < 0 else start
            self.is_done = self.limit is not None and not 0 <= _open_tag(buffer) < limit
        self.buffer, self.offset = buffer[done:], self.offset + done

    def _read_odd(self, start: int) -> tuple[WikiPage | BrokenPage, int] | None:
        """The page that begins at `start`, and where the search for the next goes on; None where it is not whole."""
        buffer, begin = self.buffer, self.offset + start
        close = buffer.find(_CLOSE, start)
        following = buffer.find(_OPEN, start + 1, close if close >= 0 else len(buffer))
        end = following if following >= 0 else close + len(_CLOSE) if close >= 0 else None
        if (len(buffer) - len(_CLOSE) if end is None else end) - start > self.max_page_bytes:
            self.has_ended = self.has_ended or buffer.find(_END, start) >= 0
            broken = BrokenPage(begin, f"is longer than {self.max_page_bytes} bytes")
            return broken, len(buffer) - len(_END) + 1 if end is None else end
        if following >= 0:
            return BrokenPage(begin, "does not end before the next page begins"), following
        return None if end is None else (read_any(buffer[start:end], begin, self.namespace_of), end)


def read_titles(url: str) -> list[str]:
    """The titles of a dump's articles and redirects (namespace 0), in order."""
    return [page.title for page in Dump(url).pages() if isinstance(page, WikiPage) and page.namespace == MAIN_NAMESPACE]


def _open_tag(buffer: bytes) -> int:
    """Where a `<page>` may begin whose end is still to come; -1 where the buffer cannot end in one."""
    return next((len(buffer) - n for n in range(len(_OPEN) - 1, 0, -1) if buffer.endswith(_OPEN[:n])), -1)


def _element(name: str, header: str) -> str:
    match = re.search(f"<{name}>([^<]*)</{name}>", header)
    return unescape(match[1]).strip() if match else ""

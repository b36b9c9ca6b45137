"""Pages of a MediaWiki XML export as a stream: memory holds one page, however long the dump is."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import dataclass, field

from openwit.errors import InputError
from wit_queries.streams import InputStream

MAIN_NAMESPACE = 0
HEADER_BYTES = 1 << 20
MAX_PAGE_BYTES = 64 << 20

# Every wiki answers to these names beside its own: https://www.mediawiki.org/wiki/Manual:Namespace
_NAMES = "Talk,User,User talk,Project,Project talk,File,File talk,MediaWiki,MediaWiki talk,Template,Template talk"
CANONICAL_NAMESPACES = {
    name: key for key, name in enumerate(f"{_NAMES},Help,Help talk,Category,Category talk".split(","), 1)
}
CANONICAL_NAMESPACES |= {"Media": -2, "Special": -1, "Image": 6, "Image talk": 7}
_OPEN, _CLOSE, _END = b"<page>", b"</page>", b"</mediawiki>"
_NAMESPACE = re.compile(r'<namespace key="(-?\d+)"[^>]*>([^<]+)</namespace>')
_LANGUAGE = re.compile(r'xml:lang="([^"]+)"')
_LINK = re.compile(r"\[\[([^\[\]|#]+)")


@dataclass(frozen=True)
class Page:
    """One page; `redirect` is the title that it leads to."""

    title: str
    namespace: int
    redirect: str | None
    text: str


@dataclass(frozen=True)
class BrokenPage:
    """A page that is no well-formed XML or lacks its title; `offset` is in the decompressed dump."""

    offset: int
    reason: str


@dataclass
class Site:
    """What a dump says of its wiki."""

    language: str = ""
    namespaces: dict[str, int] = field(default_factory=lambda: dict(CANONICAL_NAMESPACES))

    def namespace_of(self, title: str) -> int:
        """The namespace that a title's prefix names; 0 where it names none."""
        prefix, colon, _ = title.partition(":")
        return self.namespaces.get(prefix.strip().replace("_", " "), MAIN_NAMESPACE) if colon else MAIN_NAMESPACE

    def hidden_prefixes(self) -> frozenset[str]:
        """Lower-case names of the namespaces whose links show nothing in a text: files and categories."""
        return frozenset(name.lower() for name, key in self.namespaces.items() if key in (6, 14))


class Dump:
    """A dump opened for one pass. `site` is known from the first page on."""

    def __init__(self, url: str, max_page_bytes: int = MAX_PAGE_BYTES) -> None:
        self.url = url
        self.stream = InputStream(url)
        self.site = Site()
        self.max_page_bytes = max_page_bytes
        self.num_pages = 0

    def pages(self) -> Iterator[Page | BrokenPage]:
        """Every page, in order. Raises InputError, with file, offset and what was found, where the file is no
        export, is damaged, or ends before </mediawiki>."""
        chunks = self.stream.chunks()
        scan = _Scan(self._read_header(chunks), self.max_page_bytes)
        for chunk in _then_none(chunks):
            for offset, page in scan.pages():
                self.num_pages += 1
                yield self._parse(offset, page) if page else BrokenPage(offset, scan.reason)
            if chunk is not None:
                scan.add(chunk)
        if not scan.ended:
            yield from self._at_end(scan)

    def _read_header(self, chunks: Iterator[bytes]) -> bytes:
        header = b""
        for chunk in chunks:
            header += chunk
            if b"</siteinfo>" in header or _OPEN in header or len(header) > HEADER_BYTES:
                break
        if b"<mediawiki" not in header[:4096]:
            start = header[:60].decode("utf-8", "replace")
            raise InputError(f"{self.url}: begins with {start!r}; expected a MediaWiki XML export (<mediawiki …>)")
        text = header.decode("utf-8", "replace")
        for key, name in _NAMESPACE.findall(text):
            self.site.namespaces[name] = int(key)
        language = _LANGUAGE.search(text)
        self.site.language = language[1] if language else ""
        return header

    def _at_end(self, scan: _Scan) -> Iterator[BrokenPage]:
        """What is left when the dump does not end between two pages: a last page that never closes, or nothing."""
        if _END in scan.buffer:
            yield BrokenPage(scan.offset, "does not end before the dump does")
            return
        end, tail = scan.offset + len(scan.buffer), scan.buffer[-40:].decode("utf-8", "replace")
        raise InputError(
            f"{self.url}: cut off at byte {end} of its text, after {self.num_pages} pages; "
            f"expected </mediawiki>, found {tail!r}; fetch it again"
        )

    def _parse(self, offset: int, data: bytes) -> Page | BrokenPage:
        try:
            page = ElementTree.fromstring(data)
        except ElementTree.ParseError as error:
            return BrokenPage(offset, f"no well-formed XML: {error}")
        title = (page.findtext("title") or "").strip()
        revisions = page.findall("revision")
        if not title or not revisions:
            return BrokenPage(offset, "has no title" if revisions else "has no revision")
        namespace = page.findtext("ns")
        if namespace is not None and not re.fullmatch(r"\s*-?\d+\s*", namespace):
            return BrokenPage(offset, f"namespace {namespace!r} is no number")
        text = revisions[-1].findtext("text") or ""
        key = self.site.namespace_of(title) if namespace is None else int(namespace)
        return Page(title, key, _redirect(page, text), text)


class _Scan:
    """Cuts whole pages out of what was read so far; a page that never closes or is too long comes out as None.
    `offset` is where `buffer` begins in the dump."""

    def __init__(self, buffer: bytes, max_page_bytes: int) -> None:
        self.buffer, self.offset, self.max_page_bytes = buffer, 0, max_page_bytes
        self.reason = ""
        self.ended = False

    def add(self, chunk: bytes) -> None:
        self.buffer += chunk

    def pages(self) -> Iterator[tuple[int, bytes | None]]:
        buffer, begin, done = self.buffer, self.offset, 0
        while (start := buffer.find(_OPEN, done)) >= 0:
            end = buffer.find(_CLOSE, start)
            following = buffer.find(_OPEN, start + 1, end if end >= 0 else len(buffer))
            if following >= 0:
                done, self.reason = following, "does not end before the next page begins"
                yield begin + start, None
            elif end >= 0:
                done = end + len(_CLOSE)
                yield begin + start, buffer[start:done]
            elif len(buffer) - start > self.max_page_bytes:
                done, self.reason = len(buffer) - len(_OPEN), f"is longer than {self.max_page_bytes} bytes"
                yield begin + start, None
            else:
                done = start
                break
        else:
            self.ended = self.ended or buffer.find(_END, done) >= 0
            done = max(done, len(buffer) - len(_END) + 1)  # the mark may lie across two chunks
        self.buffer, self.offset = buffer[done:], begin + done


def read_titles(url: str) -> list[str]:
    """The titles of a dump's articles and redirects (namespace 0), in order."""
    return [page.title for page in Dump(url).pages() if isinstance(page, Page) and page.namespace == MAIN_NAMESPACE]


def _redirect(page: ElementTree.Element, text: str) -> str | None:
    element = page.find("redirect")
    if element is None:
        return None
    link = _LINK.search(text)
    return element.get("title") or (link[1].strip() if link else "")


def _then_none(chunks: Iterator[bytes]) -> Iterator[bytes | None]:
    yield from chunks
    yield None

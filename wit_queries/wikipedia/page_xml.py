"""One `<page>` of a MediaWiki export, from XML to WikiPage.

Nearly every page is laid out as MediaWiki writes it. `read_plain` reads those with two expressions and a few passes
that run at memory speed; whatever differs in anything, well-formed or not, is left to ElementTree in `read_any`.
https://www.mediawiki.org/xml/export-0.11.xsd
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from dataclasses import dataclass

MAIN_NAMESPACE = 0

# No possessive groups: Python 3.11's re loses what they capture.
_HEAD = re.compile(
    rb"<page>\s*+<title>([^<]*+)</title>\s*+<ns>(-?\d{1,9})</ns>\s*+<id>\d++</id>\s*+"
    rb'(?:<redirect title="([^"<\n\t]++)" />\s*+)?<revision>\s*+'
    rb"(?:<(id|parentid|timestamp|comment|origin|model|format|sha1)>[^<]*+</\4>\s*+|<minor />\s*+"
    rb"|<contributor>\s*+(?:<(username|ip|id)>[^<]*+</\5>\s*+)*</contributor>\s*+)*"
    rb'<text(?: bytes="\d++")?(?: sha1="\w*+")?(?: xml:space="preserve")?>'
)
_TAIL = re.compile(rb"</text>[ \t\n]*+(?:<(sha1|model|format)>[\w/.-]*+</\1>[ \t\n]*+)*</revision>[ \t\n]*+</page>")
_CHARACTERS = {"lt": "<", "gt": ">", "amp": "&", "quot": '"', "apos": "'"}
_REFERENCE = re.compile(f"&({'|'.join(_CHARACTERS)});")
_OTHER_AMPERSAND = re.compile(f"&(?!(?:{'|'.join(_CHARACTERS)});)".encode())
_CONTROLS = bytes(set(range(0x20)) - set(b"\t\n"))  # XML forbids them, and changes \r
_LINK = re.compile(r"\[\[([^\[\]|#]+)")


@dataclass(frozen=True)
class WikiPage:
    """One page; `redirect` is the title that it leads to, `text` an article's wikitext: empty for a redirect and
    outside the main namespace."""

    title: str
    namespace: int
    redirect: str | None
    text: str


@dataclass(frozen=True)
class BrokenPage:
    """A page that is no well-formed XML or lacks its title; `offset` is in the text of the dump, or of the span that
    was read."""

    offset: int
    reason: str


def read_plain(buffer: bytes, start: int) -> tuple[WikiPage, int] | None:
    """The page that begins at `start`, and where it ends; None where it is not whole or not laid out plainly."""
    head = _HEAD.match(buffer, start)
    if head is None:
        return None
    text_end = buffer.find(b"<", head.end())
    tail = _TAIL.match(buffer, text_end) if text_end >= 0 else None
    if tail is None:
        return None
    about, text = _decoded(head[0]), _decoded(buffer[head.end() : text_end])
    if about is None or text is None:
        return None
    title, number, redirect = head.group(1, 2, 3)
    namespace = int(number)
    name = _unescaped(title.decode()).strip()
    if not name:
        return None
    leads_to = None if redirect is None else _unescaped(redirect.decode())
    is_article = namespace == MAIN_NAMESPACE and redirect is None
    return WikiPage(name, namespace, leads_to, _unescaped(text) if is_article else ""), tail.end()


def _decoded(data: bytes) -> str | None:
    """The text, still with its references; None where XML forbids something in it or reads it otherwise."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return None
    is_odd = (
        len(data.translate(None, _CONTROLS)) != len(data)
        or _OTHER_AMPERSAND.search(data)
        or (">" in text and "]]>" in text)
        or "\ufffe" in text
        or "\uffff" in text
    )
    return None if is_odd else text


def _unescaped(text: str) -> str:
    """The text with its references resolved; faster than str.replace for each, and than html.unescape by far."""
    if "&" not in text:
        return text
    parts = _REFERENCE.split(text)
    parts[1::2] = map(_CHARACTERS.__getitem__, parts[1::2])
    return "".join(parts)


def read_any(data: bytes, offset: int, namespace_of: Callable[[str], int]) -> WikiPage | BrokenPage:
    """What stands in the page's XML; a page of several revisions has the text of its last."""
    try:
        page = ElementTree.fromstring(data)
    except ElementTree.ParseError as error:
        return BrokenPage(offset, f"no well-formed XML: {error}")
    title = (page.findtext("title") or "").strip()
    revisions = page.findall("revision")
    if not title or not revisions:
        return BrokenPage(offset, "has no title" if revisions else "has no revision")
    namespace = page.findtext("ns")
    if namespace is not None and not re.fullmatch(r"\s*-?[0-9]{1,9}\s*", namespace):
        return BrokenPage(offset, f"namespace {namespace!r} is no number")
    text = revisions[-1].findtext("text") or ""
    key = namespace_of(title) if namespace is None else int(namespace)
    redirect = _redirect(page, text)
    return WikiPage(title, key, redirect, text if key == MAIN_NAMESPACE and redirect is None else "")


def _redirect(page: ElementTree.Element, text: str) -> str | None:
    element = page.find("redirect")
    if element is None:
        return None
    link = _LINK.search(text)
    return element.get("title") or (link[1].strip() if link else "")

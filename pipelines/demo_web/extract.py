"""What a crawl's extractor reads off an HTML page: the `HTML-Metadata` of a WAT record.

Keys, order and cut-offs are those of Common Crawl's extractor (ia-web-commons, ExtractingParseObserver): an image's
link is recorded where its tag opens, an anchor's where it closes, with at most 128 characters of its text.
"""

from __future__ import annotations

from html.parser import HTMLParser

_MAX_TEXT = 128
Link = dict[str, str]


def html_metadata(document: str) -> dict[str, object]:
    """{"Head": {"Base", "Title", "Link", "Metas"}, "Links": [...]} of a page; empty parts are left out."""
    parser = _Extractor()
    parser.feed(document)
    parser.close()
    head: dict[str, object] = {}
    if parser.base:
        head["Base"] = parser.base
    if parser.title:
        head["Title"] = parser.title.strip()
    if parser.head_links:
        head["Link"] = parser.head_links
    if parser.metas:
        head["Metas"] = parser.metas
    found: dict[str, object] = {"Head": head} if head else {}
    return {**found, "Links": parser.links} if parser.links else found


class _Extractor(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.base = self.title = ""
        self.head_links: list[Link] = []
        self.metas: list[Link] = []
        self.links: list[Link] = []
        self._anchors: list[tuple[Link, list[str]]] = []
        self._in_title = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in reversed(attrs)}
        if tag == "title":
            self._in_title = True
        elif tag == "html" and "lang" in values:
            self.metas.append({"name": "HTML@/lang", "content": values["lang"]})
        elif tag == "base" and "href" in values:
            self.base = values["href"]
        elif tag == "meta":
            kept = ("name", "rel", "content", "http-equiv", "property")
            if meta := {name: values[name] for name in kept if name in values}:
                self.metas.append(meta)
        elif tag == "link" and "href" in values:
            self.head_links.append(_link("LINK@/href", values, "href", ("rel", "type")))
        elif tag == "img" and "src" in values:
            self.links.append(_link("IMG@/src", values, "src", ("alt", "title")))
        elif tag == "a":
            optional = ("target", "alt", "title", "rel", "hreflang", "type")
            self._anchors.append((_link("A@/href", values, "href", optional) if "href" in values else {}, []))

    def handle_endtag(self, tag: str) -> None:
        if tag == "title":
            self._in_title = False
        elif tag == "a" and self._anchors:
            link, texts = self._anchors.pop()
            text = " ".join("".join(texts).split())[:_MAX_TEXT]
            if link:
                self.links.append({**link, "text": text} if text else link)

    def handle_data(self, data: str) -> None:
        if self._in_title:
            self.title += data
        for _, texts in self._anchors:
            texts.append(data)


def _link(path: str, values: Link, address: str, optional: tuple[str, ...]) -> Link:
    return {"path": path, "url": values[address]} | {name: values[name] for name in optional if name in values}

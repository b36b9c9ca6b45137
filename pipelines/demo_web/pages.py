"""HTML of the pages: galleries with boilerplate as real sites have it, and pages without images."""

from __future__ import annotations

import html
import posixpath
from collections.abc import Callable
from html.entities import codepoint2name
from urllib.parse import urlsplit

from pipelines.demo_web.layout import BLOG, HOSTS, TRACKER, Figure, Style, WebPage

ATTRIBUTION = "All emojis designed by OpenMoji – the open-source emoji and icon project. License: CC BY-SA 4.0"
_DATA_URI = "data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAA="


def refer(url: str, base: str, style: Style) -> str:
    """How a document at `base` writes `url`; relative and root-relative only where both are of one host.

    >>> refer("http://a.test/x/y.png", "http://a.test/z/1.html", "relative")
    '../x/y.png'
    """
    target, here = urlsplit(url), urlsplit(base)
    tail = f"?{target.query}" if target.query else ""
    if style == "protocol":
        return f"//{target.netloc}{target.path}{tail}"
    if style == "absolute" or target.netloc != here.netloc:
        return url
    if style == "root":
        return f"{target.path}{tail}"
    relative = posixpath.relpath(target.path, posixpath.dirname(here.path) or "/")
    return f"{relative}/{tail}" if target.path.endswith("/") and relative != "." else f"{relative}{tail}"


def navigation_pages(galleries: list[WebPage]) -> list[WebPage]:
    """A home page a host that links to its galleries, and pages without any image."""
    pages = []
    for host in HOSTS:
        mine = [page for page in galleries if urlsplit(page.url).netloc == host]
        links = [(page.url, page.title) for page in mine]
        pages.append(WebPage(f"http://{host}/", f"Welcome to {host}", links=links))
        pages.append(WebPage(f"http://{host}/about.html", "About us", links=[(f"http://{host}/", "home")], bare=True))
    pages.append(WebPage(f"http://{BLOG}/2024/05/no-pictures/", "A post without pictures", style="relative", bare=True))
    return pages


def write_page(page: WebPage, number: int) -> bytes:
    """The HTML document, in the page's own character set."""
    host = urlsplit(page.url).netloc
    here = page.based_on or page.url

    def to(url: str) -> str:
        return _escape(refer(url, here, page.style), page)

    lines = [
        "<!DOCTYPE html>",
        '<html lang="en">',
        "<head>",
        f'<meta charset="{page.charset}">',
        f"<title>{_escape(page.title, page)}</title>",
        '<meta name="description" content="Drawings to look at &amp; to use">',
        *([f'<base href="{html.escape(page.based_on)}">'] if page.based_on else []),
        f'<link rel="stylesheet" type="text/css" href="{to(f"http://{host}/style.css")}">',
        "</head>",
        "<body>",
        "<header>",
        *([] if page.bare else _boilerplate(number, f"http://{host}", to)),
        f"<h1>{_escape(page.title, page)}</h1></header>",
        "<main>",
        *(_figure(page, figure, index % 5 == 0, to) for index, figure in enumerate(page.figures)),
        *(f'<p><a href="{to(url)}">{_escape(text, page)}</a></p>' for url, text in page.links),
        "</main>",
        f'<footer><p>{_escape(ATTRIBUTION, page)} <a href="https://openmoji.org/" rel="noopener">OpenMoji</a>',
        '<a href="https://creativecommons.org/licenses/by-sa/4.0/" rel="license">CC BY-SA 4.0</a></p>',
        *([] if page.bare else [f'<img src="{TRACKER}?page={number}&amp;r=0" width="1" height="1">']),
        "</footer>",
        "</body>",
        "</html>",
    ]
    return ("\n".join(lines) + "\n").encode(page.charset, "xmlcharrefreplace")


def _figure(page: WebPage, figure: Figure, linked: bool, to: Callable[[str], str]) -> str:
    texts = [("alt", figure.alt), ("title", figure.title)]
    attributes = "".join(f' {name}="{_escape(text, page)}"' for name, text in texts if text is not None)
    image = f'<img src="{to(figure.url)}"{attributes} width="144" height="144">'
    return f'<figure><a href="{to(figure.url)}">{image}</a></figure>' if linked else f"<figure>{image}</figure>"


def _boilerplate(number: int, site: str, to: Callable[[str], str]) -> list[str]:
    """What surrounds content on real pages and must not be taken for it."""
    icon = to(f"{site}/icon.png")
    kinds = [
        f'<img src="{to(f"{site}/spacer.gif")}" alt="">',
        f'<img src="{icon}" alt="icon">',
        f'<img src="{_DATA_URI}" alt="placeholder">',
        f'<img src="{icon}">',
        '<img alt="no address">',
    ]
    logo = f'<a href="{to(f"{site}/")}"><img src="{to(f"{site}/logo.png")}" alt="logo"></a>'
    return [logo, kinds[number % 5], kinds[(number + 2) % 5]]


def _escape(text: str, page: WebPage) -> str:
    """`text` for an attribute or a text node; some pages write entities where they could write characters."""
    escaped = html.escape(text, quote=True)
    if page.named_entities:
        named = (f"&{codepoint2name[ord(c)]};" if ord(c) > 127 and ord(c) in codepoint2name else c for c in escaped)
        escaped = "".join(named).replace(" - ", " &#45; ").replace(": ", "&#x3a; ")
    return escaped

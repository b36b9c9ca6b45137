"""Wikitext to the plain text that a reader of the article sees in its sentences, in time linear in its length."""

from __future__ import annotations

import functools
import html
import re

# Tags whose content is no prose of the article (mwparserfromhell's strip_code hides most of them, too).
_UNREAD_TAGS = (
    "ref|references|math|chem|ce|gallery|imagemap|inputbox|timeline|score|hiero|graph|mapframe|maplink|source|"
    "syntaxhighlight|code|templatedata|templatestyles|categorytree|section|style|script"
)
_HIDDEN = re.compile(rf"<!--|<(/?)({_UNREAD_TAGS}|nowiki)\b([^<>]*)>", re.IGNORECASE)
_MARKUP_TO_SPACE = str.maketrans("[]{}<>|='", "         ")
_BRACES = re.compile(r"\{\{|\}\}|^[ \t:*#]*\{\||^[ \t]*\|\}(?!\})", re.MULTILINE)
_BRACKETED_URL = re.compile(r"\[(?:(?:https?|ftp|irc|news|mailto):|//)[^\s\[\]]+[ \t]*([^\[\]\n]*)\]", re.IGNORECASE)
_LINK = re.compile(r"\[\[([^\[\]]*(?:(?:\[(?!\[)|\](?!\]))[^\[\]]*)*)\]\]")
_LINKS_IN_LINKS = 8
_OTHER_LANGUAGE = re.compile(r"[a-z]{2,3}(?:-[a-z-]+)?$")
_BARE_URL = re.compile(r"\b(?:https?|ftp)://[^\s<>\[\]|{}\"]+", re.IGNORECASE)
_INLINE_TAG = re.compile(
    r"</?(?:a|abbr|b|bdi|bdo|big|cite|del|dfn|em|font|i|ins|kbd|mark|q|s|samp|small|span|strike|strong|sub|sup|tt|u|"
    r"var|wbr)\b[^<>]*>",
    re.IGNORECASE,
)
_TAG = re.compile(r"</?[a-zA-Z][^<>]*>")
_QUOTES = re.compile(r"'''''|'''|''")
_MAGIC_WORD = re.compile(r"__[A-Z]+__")
DEFAULT_HIDDEN_PREFIXES = frozenset({"file", "image", "category"})


def plain_text(wikitext: str, hidden_prefixes: frozenset[str] = DEFAULT_HIDDEN_PREFIXES) -> str:
    """The text of an article without templates, tables, references, comments, tags, and links to files,
    categories (namespaces named in lower case by `hidden_prefixes`) or other languages; what other links show
    is kept. Markup that never closes is taken for text, as MediaWiki does."""
    text = _without_hidden(wikitext)
    text = _without_braces(text)
    text = _BRACKETED_URL.sub(r"\1", text)
    shown = functools.partial(_shown, hidden_prefixes)
    for _ in range(_LINKS_IN_LINKS):
        text, changes = _LINK.subn(shown, text)
        if not changes:
            break
    text = _BARE_URL.sub(" ", text)
    text = _TAG.sub(" ", _INLINE_TAG.sub("", text))
    text = _QUOTES.sub("", text)
    text = _MAGIC_WORD.sub(" ", text)
    return html.unescape(text)


def _without_hidden(text: str) -> str:
    """Cuts comments and the tags that hold no prose, with their content; what nowiki holds is text."""
    kept: list[str] = []
    position = 0
    unclosed: set[str] = set()
    while found := _HIDDEN.search(text, position):
        kept.append(text[position : found.start()])
        position = found.end()
        if found[2] is None:
            end = text.find("-->", position)
            position = len(text) if end < 0 else end + 3
            continue
        name = found[2].lower()
        kept.append(" ")
        if found[1] or found[3].endswith("/") or name in unclosed:
            continue
        close = _closing(name).search(text, position)
        if close is None:
            unclosed.add(name)
            continue
        if name == "nowiki":
            kept.append(text[position : close.start()].translate(_MARKUP_TO_SPACE))
        position = close.end()
    kept.append(text[position:])
    return "".join(kept)


@functools.cache
def _closing(name: str) -> re.Pattern[str]:
    return re.compile(rf"</{name}\s*>", re.IGNORECASE)


def _without_braces(text: str) -> str:
    """Cuts {{templates}} and {| tables |}, nested as they may be; a line break stands in for each, so that the
    words around it do not become neighbours."""
    opened: list[tuple[str, int]] = []
    spans: list[tuple[int, int]] = []
    for mark in _BRACES.finditer(text):
        kind = mark[0].strip(" \t:*#")
        if kind in ("{{", "{|"):
            opened.append((kind, mark.start()))
            continue
        wanted = "{{" if kind == "}}" else "{|"
        level = len(opened) - 1
        while level >= 0 and opened[level][0] != wanted:
            level -= 1
        if level < 0:
            continue
        start = opened[level][1]
        del opened[level:]
        while spans and spans[-1][0] >= start:
            spans.pop()
        spans.append((start, mark.end()))
    if not spans:
        return text
    kept = []
    position = 0
    for start, end in spans:
        kept.append(text[position:start])
        position = end
    kept.append(text[position:])
    return "\n".join(kept)


def _shown(hidden_prefixes: frozenset[str], link: re.Match[str]) -> str:
    """What a link shows: the text behind its bar, else its target; nothing for files, categories, languages."""
    target, bar, text = link[1].partition("|")
    prefix, colon, rest = target.partition(":")
    prefix = prefix.strip()
    if colon and not prefix:
        target = rest
    elif colon and (prefix.lower().replace("_", " ") in hidden_prefixes or (not bar and _OTHER_LANGUAGE.match(prefix))):
        return " "
    return text if bar else target

"""Wikitext to the plain text that a reader of the article sees in its sentences, in time linear in its length.

Most of the work is to split and join: what must go is the separator. Rare marks are only looked for where they are.
"""

from __future__ import annotations

import functools
import html
import re
from collections.abc import Callable

# Tags whose content is no prose of the article.
_UNREAD_TAGS = (
    "ref|references|math|chem|ce|gallery|imagemap|inputbox|timeline|score|hiero|graph|mapframe|maplink|indicator|pre|"
    "source|syntaxhighlight|templatedata|categorytree"
)
_SIMPLE_REF = re.compile(r"<ref\b[^<>]*+>(?:(?<=/>)|[^<]*+</ref>)")
_UNREAD = re.compile(rf"<(/?)({_UNREAD_TAGS}|nowiki)\b([^<>]*)>", re.IGNORECASE)
_MARKUP_TO_SPACE = str.maketrans("[]{}<>|='", "         ")
_NOTHING = "\0"  # parts marks and no words; no XML holds it
_MAX_LEVELS = 40
_TABLE_OPEN = re.compile(r"\n[ \t:*#]*+\{\|")
_TABLE_CLOSE = re.compile(r"\n[ \t]*+\|\}")
_HTML_TABLE = re.compile(r"<(/?)table\b[^<>]*+>", re.IGNORECASE)
_BRACKETED_URL = re.compile(r"\[(?:(?:https?|ftp|irc|news|mailto):|//)[^\s\[\]]++[ \t]*+([^\[\]\n]*+)\]")
_SIMPLE_LINK = re.compile(r"\[\[(?:[^\[\]|:\n]*+\|)?([^\[\]|:]*+)\]\]")
_OTHER_LANGUAGE = re.compile(r"[a-z]{2,3}(?:-[a-z-]+)?$")
_BARE_URL = re.compile(r"(?:https?|ftp)://[^\s<>\[\]|{}\"]++")
_INLINE_TAG = re.compile(
    r"</?(?:a|abbr|b|bdi|bdo|big|cite|code|del|dfn|em|font|i|ins|kbd|mark|q|s|samp|small|span|strike|strong|sub|sup|tt|"
    r"u|var|wbr)\b[^<>]*>",
    re.IGNORECASE,
)
_TAG = re.compile(r"</?[a-zA-Z][^<>]*>")
_BOLD_IN_WORD = re.compile(r"'''(?=\w)(?<=\w''')")
_MARK_OF_QUOTES = re.compile("''(?:'''|')?")
_QUOTES = re.compile("''+")
_ODD_BOLD = (re.compile(r"(?<= \S)'''(?!')"), re.compile(r"(?<=[^\s'])'''(?!')"))
_REFERENCE = re.compile(r"&(?:#[0-9]+|#[xX][0-9A-Fa-f]+|[A-Za-z][A-Za-z0-9]*);")  # MediaWiki asks for the semicolon
_MAGIC_WORD = re.compile(r"__[^\W\d_a-z]+__")
DEFAULT_HIDDEN_PREFIXES = frozenset({"file", "image", "category"})


def plain_text(wikitext: str, hidden_prefixes: frozenset[str] = DEFAULT_HIDDEN_PREFIXES) -> str:
    """The text of an article without templates, tables, references, comments, tags, and links to files,
    categories (namespaces named in lower case by `hidden_prefixes`) or other languages; what other links show
    is kept. Markup that never closes is taken for text, as MediaWiki does."""
    text = _resolved(_without_unread(wikitext), "{{", "}}", _line_break)
    if "{|" in text or ("<" in text and _HTML_TABLE.search(text)):
        text = _without_tables("\n" + text)
    text = "".join(_BRACKETED_URL.split(text))
    text = "".join(_SIMPLE_LINK.split(text))
    text = _resolved(text, "[[", "]]", functools.partial(_shown, hidden_prefixes))
    if "://" in text:
        text = _BARE_URL.sub(" ", text)
    text = _without_quotes(text)  # while tags still part them: ''a''<sub>''n''</sub>
    if "<" in text:
        text = _TAG.sub(" ", _INLINE_TAG.sub("", text))
    if "__" in text:
        text = _MAGIC_WORD.sub(" ", text)
    if "&" in text:
        text = _REFERENCE.sub(lambda reference: html.unescape(reference[0]), text)
    return text.replace(_NOTHING, "")


def _without_unread(text: str) -> str:
    """Cuts comments and the tags that hold no prose, with their content; what nowiki holds is text."""
    start, *comments = text.split("<!--")
    text = start + "".join([comment.partition("-->")[2] for comment in comments])
    text = " ".join(_SIMPLE_REF.split(text))
    kept: list[str] = []
    position = 0
    unclosed: set[str] = set()
    while found := _UNREAD.search(text, position):
        name = found[2].lower()
        kept += text[position : found.start()], _NOTHING if name == "nowiki" else " "
        position = found.end()
        if found[1] or found[3].endswith("/") or name in unclosed:
            continue
        close = _closing(name).search(text, position)
        if close is None:
            unclosed.add(name)
            continue
        if name == "nowiki":
            kept += text[position : close.start()].translate(_MARKUP_TO_SPACE), _NOTHING
        position = close.end()
    kept.append(text[position:])
    return "".join(kept)


@functools.cache
def _closing(name: str) -> re.Pattern[str]:
    return re.compile(rf"</{name}\s*>", re.IGNORECASE)


def _resolved(text: str, opening: str, closing: str, shown: Callable[[str], str]) -> str:
    """The text with every pair of marks and what stands between them replaced by what `shown` makes of the latter,
    from the inside out; marks without a partner become spaces. Pairs inside _MAX_LEVELS others are left to these: that
    bounds how often a text is copied."""
    start, *pieces = text.split(opening)
    kept = [start]
    opened: list[int] = []
    for piece in pieces:
        opened.append(len(kept))
        if closing not in piece:
            kept.append(piece)
            continue
        inner, *outer = piece.split(closing)
        kept.append(inner)
        for rest in outer:
            if not opened:
                kept.append(" ")
            elif len(opened) > _MAX_LEVELS:
                opened.pop()
            else:
                begin = opened.pop()
                kept[begin:] = [shown("".join(kept[begin:]))]
            kept.append(rest)
    for begin in opened:
        kept[begin] = " " + kept[begin]
    return "".join(kept)


def _without_tables(text: str) -> str:
    """Cuts {| tables |} and those of HTML; `text` begins with a line break."""
    text = _TABLE_CLOSE.sub("}}", _TABLE_OPEN.sub("{{", text))
    if "<" in text:
        text = _HTML_TABLE.sub(lambda tag: "}}" if tag[1] else "{{", text)
    return _resolved(text, "{{", "}}", _line_break)


def _line_break(_: str) -> str:
    """What stands in for a template or table, so that the words around it do not become neighbours."""
    return "\n"


def _shown(hidden_prefixes: frozenset[str], link: str) -> str:
    """What a link shows: the text behind its bar, else its target; nothing for files, categories, languages. Brackets
    around a line break are no link."""
    target, bar, text = link.partition("|")
    if "\n" in target:
        return link
    prefix, colon, rest = target.partition(":")
    prefix = prefix.strip()
    if colon and not prefix:
        target = rest
    elif colon and (prefix.lower().replace("_", " ") in hidden_prefixes or (not bar and _OTHER_LANGUAGE.match(prefix))):
        return " "
    return text if bar else target


def _without_quotes(text: str) -> str:
    """Cuts the marks of bold and italics; three quotes may be an apostrophe and a mark (''Iliad'''s)."""
    if _BOLD_IN_WORD.search(text):
        text = "\n".join([_with_apostrophe(line) if "'''" in line else line for line in text.split("\n")])
    return "".join(_MARK_OF_QUOTES.split(text))


def _with_apostrophe(line: str) -> str:
    """MediaWiki's rule: where both kinds of marks are odd in number, one bold mark behind a letter is an apostrophe
    before an italic one."""
    marks = [len(mark) for mark in _QUOTES.findall(line)]
    bold = sum(size > 2 for size in marks)
    italic = sum(size == 2 or size > 4 for size in marks)
    if bold % 2 and italic % 2:
        for pattern in _ODD_BOLD:
            line, changes = pattern.subn("'", line, count=1)
            if changes:
                break
    return line

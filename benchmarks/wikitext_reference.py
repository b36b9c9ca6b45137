"""The slow, careful reference for the text of an article: mwparserfromhell's tree, pruned by rule, then strip_code.

1. Cut whole: templates with their parameters, comments, {| tables |} and <table>, links to files and categories with
   their captions, links to other languages (a bare code before the colon), bare web addresses (links without a label
   show a number), <ref>, <references>, <gallery>, <math>, the other tags that strip_code leaves out (<timeline>,
   <imagemap> and so on), and behaviour switches (__TOC__).
2. Kept: text, headings, list items, what a link shows (the text behind its bar, else its target; of an external link
   its label), and program text in <source>, <pre> and <code>. Entities are decoded.
3. Faults of mwparserfromhell that are mended here: an odd number of bold or italic marks leaves references and tables
   around it unparsed, so these marks are not parsed (skip_style_tags) but cut afterwards by MediaWiki's own rule; and
   the words on both sides of a cut node, of <nowiki>, and of a block tag such as <br> are joined, so a space stands
   there.
"""

from __future__ import annotations

import re

import mwparserfromhell
from mwparserfromhell import nodes
from mwparserfromhell.wikicode import Wikicode

_HIDDEN_TAGS = frozenset({"ref", "references", "table", "gallery", "math"})
_INLINE_TAGS = frozenset(
    "a abbr b bdi bdo big cite code del dfn em font i ins kbd mark q s samp small span strike strong sub sup tt u var "
    "wbr".split()
)
_SWITCH = re.compile(r"__(NO|FORCE)?[A-Z]+__")
_LANGUAGE = re.compile(r"[a-z]{2,3}(-[a-z]+)*$")


def reference_text(wikitext: str, hidden_prefixes: frozenset[str]) -> str:
    """The text of an article by the rules above; `hidden_prefixes` names the wiki's namespaces of files and
    categories in lower case."""
    code = mwparserfromhell.parse(wikitext, skip_style_tags=True)
    _prune(code, hidden_prefixes)
    return "\n".join(_without_quotes(line) for line in _SWITCH.sub(" ", str(code.strip_code())).split("\n"))


def _without_quotes(line: str) -> str:
    """A line without bold and italic marks, as MediaWiki's doQuotes has it: where both kinds are odd in number, one
    bold mark is an apostrophe before an italic one."""
    parts = re.split("('{2,})", line)
    marks = [len(part) for part in parts[1::2]]
    extra = [1 if size == 4 else max(size - 5, 0) for size in marks]
    bold = [index for index, (size, more) in enumerate(zip(marks, extra, strict=True)) if size - more == 3]
    both = sum(size - more == 5 for size, more in zip(marks, extra, strict=True))
    if bold and (len(bold) + both) % 2 and (len(marks) - len(bold)) % 2:
        before = [parts[2 * index] for index in bold]
        ranks = [2 if text[-1:] == " " else 0 if text[-2:-1] == " " else 1 for text in before]
        extra[bold[ranks.index(min(ranks))]] += 1
    parts[1::2] = ["'" * more for more in extra]
    return "".join(parts)


def _prune(code: Wikicode, hidden_prefixes: frozenset[str]) -> None:
    kept: list[nodes.Node] = []
    for node in code.nodes:
        if _is_hidden(node, hidden_prefixes):
            kept.append(nodes.Text(" "))
        elif isinstance(node, nodes.Tag) and not node.wiki_markup and str(node.tag).strip().lower() not in _INLINE_TAGS:
            kept += [nodes.Text(" "), node, nodes.Text(" ")]
        else:
            kept.append(node)
        for name in ("contents", "text", "title"):
            inner = getattr(node, name, None)
            if isinstance(inner, Wikicode):
                _prune(inner, hidden_prefixes)
    code.nodes = kept


def _is_hidden(node: nodes.Node, hidden_prefixes: frozenset[str]) -> bool:
    if isinstance(node, nodes.Template | nodes.Argument | nodes.Comment):
        return True
    if isinstance(node, nodes.Tag):
        return str(node.tag).strip().lower() in _HIDDEN_TAGS
    if isinstance(node, nodes.ExternalLink):
        return not node.brackets
    if isinstance(node, nodes.Wikilink):
        prefix, colon, _ = str(node.title).partition(":")
        name = prefix.strip().lower().replace("_", " ")
        return bool(colon) and (
            name in hidden_prefixes or (node.text is None and bool(_LANGUAGE.match(prefix.strip())))
        )
    return False

"""Character references (&amp;, &#38;) in the texts of attributes, resolved by HTML's rule for attributes.

There a name without its semicolon counts only where neither a letter, a digit nor = follows, so that the text
"tea&notebook" and the address "?a&copy=1" stay as they are:
https://html.spec.whatwg.org/multipage/parsing.html#named-character-reference-state
"""

from __future__ import annotations

import html
import re
from html.entities import html5

import pyarrow as pa
import pyarrow.compute as pc

_REFERENCE = re.compile(r"&(?:#[0-9]+;?|#[xX][0-9A-Fa-f]+;?|[A-Za-z][A-Za-z0-9]*(?:;|(?![=A-Za-z0-9])))")
_NAMES = html5  # with their semicolons, and old ones without, too


def resolve_entities(text: str) -> str:
    """The text as a browser reads it in an attribute."""
    return _REFERENCE.sub(_meaning, text) if "&" in text else text


def _meaning(reference: re.Match[str]) -> str:
    text = reference[0]
    if text[1] == "#":
        return html.unescape(text)
    return _NAMES.get(text[1:], text)


def resolve_all_entities(texts: pa.Array) -> pa.Array:
    """The same of an array of strings; nulls stay."""
    mask = pc.fill_null(pc.match_substring(texts, "&"), False)
    if not pc.any(mask).as_py():
        return texts
    resolved = [resolve_entities(text) for text in texts.filter(mask).to_pylist()]
    return pc.replace_with_mask(texts, mask, pa.array(resolved, pa.string()))

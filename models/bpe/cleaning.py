"""A text as OpenAI's tokenizer sees it, before it is split into words."""

from __future__ import annotations

import html

import ftfy


def clean(text: str) -> str:
    """The text as the reference sees it: mojibake and entities mended, single spaces, lower case. A lone surrogate
    becomes U+FFFD."""
    if not (text.isascii() and text.isprintable() and "&" not in text):  # else the next two lines change nothing
        text = ftfy.fix_text(text)
        text = html.unescape(html.unescape(text))
    return " ".join(text.split()).lower()

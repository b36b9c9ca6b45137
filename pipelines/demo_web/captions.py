"""How the pages word an image: alt texts by several templates, in three rounds of pages."""

from __future__ import annotations

import re

from pipelines.demo_web.names import Motif

# An image stands on one page of the first round, one of the second, and every other one on one of the third, each
# time under a template of that round, so that its address comes with two or three different texts.
ROUNDS = (
    ("{name}", "Drawing of {a_name}", "a drawing of {name}."),
    ("{phrase}{with_tone}, emoji", "icon - {name}", "{a_tone_phrase}"),
    ("cartoon of {a_phrase}{with_tone}", "picture: {phrase}{comma_tone}", "{name} | OpenMoji"),
)
_NO_ARTICLE = re.compile(
    r"(?:[A-Z]|\d|(?:people|women|men|family|flag|kiss|couple|keycap)\b|\w+(?:s|ing|ed) |\w+[^s]s$)"
)


def caption(template: str, motif: Motif) -> str:
    """The alt text that a template makes of an image's name.

    >>> firefighter = Image("", "firefighter: dark skin tone", "firefighter", ("dark skin tone",))
    >>> caption("cartoon of {a_phrase}{with_tone}", firefighter)
    'cartoon of a firefighter with dark skin tone'
    """
    phrase = re.sub(r"^flag: ", "flag of ", motif.base).replace(": ", ", ")
    tones = " and ".join(motif.tones)
    return template.format(
        name=motif.name,
        a_name=_with_article(motif.name),
        phrase=phrase,
        a_phrase=_with_article(phrase),
        a_tone_phrase=_with_article(f"{tones} {phrase}", phrase) if tones else _with_article(phrase),
        with_tone=f" with {tones}" if tones else "",
        comma_tone=f", {tones}" if tones else "",
    )


def _with_article(text: str, noun: str | None = None) -> str:
    if _NO_ARTICLE.match(noun or text):
        return text
    return f"{'an' if text[0] in 'aeio' else 'a'} {text}"

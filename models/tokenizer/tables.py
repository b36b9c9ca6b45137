"""What each sign does in a text: for texts as they come, and for cleaned ones."""

from __future__ import annotations

import functools
import itertools
import unicodedata

import numpy as np

from models.bpe.cleaning import clean
from models.bpe.kernel import DIGIT, LETTER, OTHER, SPACE, UNSURE, SignTable

NUM_CLEANED = 0x20000  # signs up to the emoji
NUM_RAW = 0x2123
# Signs that say mojibake to ftfy only beside another one that is not ASCII: Latin letters, common punctuation, € and ™.
# Â, Ã, Œ and œ can do so by themselves; of c1 controls and marks that join a letter there is none.
QUIET = (*range(0xA0, 0x180), *range(0x2010, 0x2028), *range(0x2030, 0x203B), 0x20AC, 0x2122)
LOUD = frozenset("ÂÃŒœ")
# The pattern is matched without regard to case, which in lower-case text matters for two signs: the long s is an s
# behind an apostrophe, and U+0345 is an iota, then neither letter nor other.
ODD_CASE = frozenset("ſ\u0345")


def kind_of(sign: str) -> int:
    """What the reference's pattern takes a sign of a cleaned text for; UNSURE where tables of Unicode may differ."""
    category = unicodedata.category(sign)
    if sign == " ":
        return SPACE
    if category in ("Cn", "Cs", "Co") or sign in ODD_CASE or sign.isspace() or ord(sign) < 32:
        return UNSURE
    return LETTER if category[0] == "L" else DIGIT if category[0] == "N" else OTHER


@functools.cache
def cleaned_signs() -> SignTable:
    """For texts that went through `clean`."""
    kinds = np.array([kind_of(chr(code)) for code in range(NUM_CLEANED)], np.uint8)
    return kinds, np.arange(NUM_CLEANED, dtype=np.int32), True


@functools.cache
def raw_signs() -> SignTable:
    """For texts as they come: signs that `clean` treats one by one, where they stand between signs of ASCII."""
    kinds = np.full(NUM_RAW, UNSURE, np.uint8)
    becomes = np.arange(NUM_RAW, dtype=np.int32)
    for code in itertools.chain(range(32, 127), QUIET):
        sign = chr(code).lower() if code < 128 else clean(f"a{chr(code)}a")[1:-1]
        if len(sign) == 1 and chr(code) not in LOUD:
            kinds[code], becomes[code] = kind_of(sign), ord(sign)
    kinds[[ord(sign) for sign in "\t\n\r"]] = SPACE
    return kinds, becomes, False

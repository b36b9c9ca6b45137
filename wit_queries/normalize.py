"""The one normalisation, for the list of queries and for the captions that they are looked for in.

A word is a run of Unicode letters, digits and the marks on them, folded by NFKC and casefold. Everything else
separates words: spaces, punctuation, hyphens, underscores. An apostrophe between two letters belongs to the word
(don't, o'clock), and a closing 's is cut (the dog's bowl shows a dog), in every spelling of the apostrophe.
"""

from __future__ import annotations

import re
import unicodedata

import regex

# Characters that show nothing (soft hyphen, joiners, emoji variation selectors) must not split or mark a word;
# the zero-width space is a place to break a line, so it separates.
_INVISIBLE = regex.compile(r"(?V1)[\p{Default_Ignorable_Code_Point}--[\u200b]]+")
_APOSTROPHES = str.maketrans(dict.fromkeys("\u2019\u2018\u02bc", "'"))
_ASCII_WORD = re.compile(r"[a-z0-9]+(?:'[a-z0-9]+)*")
_WORD = regex.compile(r"[\p{L}\p{N}][\p{L}\p{M}\p{N}]*(?:'[\p{L}\p{N}][\p{L}\p{M}\p{N}]*)*")


def words(text: str) -> list[str]:
    """The normalised words of `text` in order; empty where it has none."""
    found = _ASCII_WORD.findall(text.lower()) if text.isascii() else _WORD.findall(_fold(text))
    return [_without_possessive(word) if "'" in word else word for word in found]


def normalize(text: str) -> str:
    """The words of `text` joined by one space; normalising again changes nothing."""
    return " ".join(words(text))


def _fold(text: str) -> str:
    """NFKC and casefold until stable: one can undo the other (U+0345 and others)."""
    while True:
        folded = unicodedata.normalize("NFKC", _INVISIBLE.sub("", text).casefold()).translate(_APOSTROPHES)
        if folded == text:
            return folded
        text = folded


def _without_possessive(word: str) -> str:
    while word.endswith("'s"):
        word = word[:-2]
    return word

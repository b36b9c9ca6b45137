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
INVISIBLE = regex.compile(r"(?V1)[\p{Default_Ignorable_Code_Point}--[\u200b]]+")
_APOSTROPHES = "\u2019\u2018\u02bc"
_ASCII_WORD = re.compile(r"[a-z0-9]+(?:'[a-z0-9]+)*")
LETTER = r"[\p{L}\p{N}]"
LETTER_OR_MARK = r"[\p{L}\p{M}\p{N}]"
_WORD = regex.compile(f"{LETTER}{LETTER_OR_MARK}*(?:'{LETTER}{LETTER_OR_MARK}*)*")


def words(text: str) -> list[str]:
    """The normalised words of `text` in order; empty where it has none."""
    found = _ASCII_WORD.findall(text.lower()) if text.isascii() else _WORD.findall(_fold(text))
    return [_without_possessive(word) if "'" in word else word for word in found]


def normalize(text: str) -> str:
    """The words of `text` joined by one space; normalising again changes nothing."""
    return " ".join(words(text))


def fold_once(text: str) -> str:
    """One step of folding: invisible characters removed, casefold, NFKC, one spelling of the apostrophe."""
    folded = unicodedata.normalize("NFKC", INVISIBLE.sub("", text).casefold())
    for apostrophe in _APOSTROPHES:
        folded = folded.replace(apostrophe, "'")
    return folded


def _fold(text: str) -> str:
    """Folded until stable: casefold can undo NFKC and the other way round (U+0345 and others)."""
    while True:
        folded = fold_once(text)
        if folded == text:
            return folded
        text = folded


def _without_possessive(word: str) -> str:
    while word.endswith("'s"):
        word = word[:-2]
    return word

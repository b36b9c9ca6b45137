"""What every code point folds to, as flat arrays for the compiled normalisation: made from normalize.py's own rules.

A text may be folded code point by code point where none acts on its neighbours. NFKC acts on neighbours in two ways:
it composes (the second part of any composition, Hangul's vowels and finals included, is UNSURE here), and it sorts
marks by their combining class (the kernel compares the `order` of neighbours). What takes more than one step of
folding is UNSURE too. Texts that hold anything UNSURE are left to the plain twin, normalize().
"""

from __future__ import annotations

import functools
import unicodedata
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import regex

from openwit.kernels.buffers import Bytes
from openwit.kernels.compiled import UNSURE
from wit_queries.text import normalize

TABLE_END = 0x34000  # above stand no letters that are in use, only planes of variants, tags and private use
BETWEEN = "\U0010ffff"  # stands outside the table, folds to itself, is no part of a word
HANGUL_SECONDS = (*range(0x1161, 0x1176), *range(0x11A8, 0x11C3))

# What a code point does; a number from 0 on is a place in `runs`.
INVISIBLE_SIGN, SEPARATOR, MARK, LETTER, APOSTROPHE = -2, -3, -4, -5, -6  # -1 is UNSURE


@dataclass(frozen=True, kw_only=True)
class FoldTable:
    """`action[c]` is what code point c does; LETTER and MARK stand for themselves. `order[c]` is the combining class
    at the end of what c folds to. `runs` holds, at the place that an action gives, the number of runs, the number of
    their bytes, and for each run minus its action, its number of bytes, and its UTF-8. `plain[b]` is the folded byte
    of an ASCII letter or digit, 39 for the apostrophe, 0 for what separates."""

    action: npt.NDArray[np.int32]
    order: Bytes
    runs: Bytes
    plain: Bytes

    @property
    def arrays(self) -> tuple[npt.NDArray[np.int32], Bytes, Bytes, Bytes]:
        """The four, as kernels take them."""
        return self.action, self.order, self.runs, self.plain


@functools.cache
def fold_table() -> FoldTable:
    """The table for the Unicode versions of this Python and of its regex library; made in a third of a second."""
    signs = list(map(chr, range(TABLE_END)))
    text = BETWEEN.join(signs)
    once = normalize.fold_once(text)
    steps = (once, normalize.fold_once(once), _decomposed(text), _decomposed(once))
    columns = [step.split(BETWEEN) for step in steps]
    kinds, seconds = _kinds(signs), _second_parts(signs)
    order = np.array(list(map(unicodedata.combining, signs)), dtype=np.uint8)
    action = kinds.copy()
    action[(order > 0) & (action != MARK)] = UNSURE
    action[[ord(sign) for sign in seconds]] = UNSURE
    runs = bytearray()
    changed = np.any([np.array(signs, dtype=object) != np.array(column, dtype=object) for column in columns], axis=0)
    for code in np.flatnonzero(changed).tolist():
        sign, (fold, again, first, last) = signs[code], (column[code] for column in columns)
        if not fold and not first:
            action[code] = INVISIBLE_SIGN
        elif fold != again or _acts_on_neighbours(sign, fold, first, last, seconds):
            action[code] = UNSURE
        else:
            order[code] = unicodedata.combining(first[-1])
            action[code] = kinds[code] if fold == sign else _add_runs(runs, fold, kinds)
    plain = [ord(fold) if kinds[ord(fold)] in (LETTER, APOSTROPHE) else 0 for fold in columns[0][:128]]
    return FoldTable(
        action=action, order=order, runs=np.frombuffer(bytes(runs), np.uint8), plain=np.array(plain, dtype=np.uint8)
    )


def _decomposed(text: str) -> str:
    """What one step of folding composes from."""
    return unicodedata.normalize("NFKD", normalize.INVISIBLE.sub("", text).casefold())


def _acts_on_neighbours(sign: str, fold: str, first: str, last: str, seconds: frozenset[str]) -> bool:
    """Whether `sign` may fold otherwise beside other code points than alone. `first` and `last` are its decompositions
    in the step that folds it and in the step that finds it stable."""
    if not fold or first[0] in seconds or last[0] in seconds:
        return True
    if unicodedata.combining(first[0]) or unicodedata.combining(last[0]):
        return True
    if unicodedata.combining(first[-1]) != unicodedata.combining(last[-1]):
        return True
    return fold != sign and fold.startswith(sign)  # else a text is stable only where each of its signs is


def _kinds(signs: list[str]) -> npt.NDArray[np.int32]:
    """SEPARATOR, MARK, LETTER or APOSTROPHE for each code point of the table."""
    kinds = np.full(TABLE_END, SEPARATOR, dtype=np.int32)
    for pattern, kind in ((normalize.LETTER_OR_MARK, MARK), (normalize.LETTER, LETTER)):
        for run in regex.finditer(f"{pattern}+", "".join(signs)):
            kinds[run.start() : run.end()] = kind
    kinds[ord("'")] = APOSTROPHE
    return kinds


def _second_parts(signs: list[str]) -> frozenset[str]:
    """The code points that compose with one before them."""
    found = set(map(chr, HANGUL_SECONDS))
    for sign, parts in zip(signs, map(unicodedata.decomposition, signs), strict=True):
        if " " in parts and not parts.startswith("<"):
            first, second = (chr(int(part, 16)) for part in parts.split())
            if unicodedata.normalize("NFC", first + second) == sign:
                found.add(second)
    return frozenset(found)


def _add_runs(runs: bytearray, fold: str, kinds: npt.NDArray[np.int32]) -> int:
    """Appends what `fold` consists of; returns its action."""
    merged: list[tuple[int, str]] = []
    for sign in fold:
        kind = int(kinds[ord(sign)])
        before = merged[-1][0] if merged else UNSURE
        if before == kind or (before == LETTER and kind == MARK):
            merged[-1] = (before, merged[-1][1] + sign)
        else:
            merged.append((kind, sign))
    if [kind for kind, _ in merged] in ([SEPARATOR], [APOSTROPHE]):
        return merged[0][0]
    place = len(runs)
    runs += bytes((len(merged), len(fold.encode())))
    for kind, part in merged:
        runs += bytes((-kind, len(part.encode()))) + part.encode()
    return place

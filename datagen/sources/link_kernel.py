"""Finds the image links in the JSON of WAT records without parsing the rest.

A link is a flat object of strings in the list "Links", its keys in any order:

    {"path":"IMG@/src","url":"/a.jpg","alt":"A cat","title":"A cat on a mat"}

A quote inside a JSON string is always escaped, so the bytes "IMG@/src" between bare quotes are a whole value. Where its
key is "path", the object is read back to its brace and forth to its end. A record that does not look like
this is UNSURE: wat.py then parses it whole.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from datagen.sources.json_kernel import string_end, string_start, unescape
from openwit.kernels.buffers import Bytes
from openwit.kernels.compiled import UNSURE, compiled

Numbers = npt.NDArray[np.int64]

_COLON, _COMMA, _OPEN, _CLOSE, _LIST = 0x3A, 0x2C, 0x7B, 0x7D, 0x5B
_IMAGE = np.frombuffer(b'"IMG@/src"', dtype=np.uint8)
_PATH = np.frombuffer(b'"path"', dtype=np.uint8)
_KEYS = tuple(np.frombuffer(key, dtype=np.uint8) for key in (b'"url"', b'"alt"', b'"title"'))
_URL, _ALT, _TITLE = 0, 1, 2
_QUOTE, _B, _E, _I, _G, _AT = (np.uint8(byte) for byte in b'"BeIG@')
_BLOCK = 256


@compiled
def scan_links(
    data: Bytes, record: int, urls: Bytes, captions: Bytes, columns: Numbers, links: int
) -> tuple[int, bool]:
    """Appends the image links of a record to the first `links` ones; returns their number then, or UNSURE, and
    whether it may hold a base element.

    urls, captions   the texts end to end, in UTF-8; a caption is the alt text, or the title where that is blank; where
                     both are, the caption is empty, and the URL too: nobody will ask for it
    columns          for link i: [0, i] its record, [1, i + 1] and [2, i + 1] where its URL and caption end, [3, i] 1
                     where the caption is a title
    """
    end = len(data)
    sure = _ends_in_brace(data)
    spans = np.zeros((3, 2), np.int64)
    pos = 0
    while sure:
        pos = _find_image(data, pos, end)
        if pos < 0:
            return links, _holds_base(data)
        start = _object_start(data, pos, 0)
        pos += len(_IMAGE)
        if start == -1:
            continue
        pos = _read_object(data, start, end, spans)
        sure = pos >= 0 and _append(data, spans, urls, captions, columns, links)
        columns[0, links] = record
        links += 1
    return UNSURE, False


@compiled
def _append(data: Bytes, spans: Numbers, urls: Bytes, captions: Bytes, columns: Numbers, link: int) -> bool:
    """Writes the caption, and the URL where there is one; False where an escape means nothing."""
    start, url_end = columns[2, link], columns[1, link]
    end = unescape(data, spans[_ALT, 0], spans[_ALT, 1], captions, start)
    from_title = end >= 0 and _is_blank(captions, start, end)
    if from_title:
        end = unescape(data, spans[_TITLE, 0], spans[_TITLE, 1], captions, start)
    if end >= 0 and _is_blank(captions, start, end):
        end, from_title = start, False
    elif end >= 0:
        url_end = unescape(data, spans[_URL, 0], spans[_URL, 1], urls, url_end)
    columns[1, link + 1] = url_end
    columns[2, link + 1] = end
    columns[3, link] = from_title
    return url_end >= 0 and end >= 0


@compiled
def _find_image(data: Bytes, pos: int, end: int) -> int:
    """Where _IMAGE stands next, or -1. A block is looked through to its end, byte by byte without a branch: that
    becomes wide machine code, and most blocks hold nothing."""
    while pos < end:
        block = data[pos : min(pos + _BLOCK + len(_IMAGE), end)]
        least = np.uint8(255)
        for i in range(len(block) - 4):
            least = min(least, (block[i] ^ _QUOTE) | (block[i + 1] ^ _I) | (block[i + 3] ^ _G) | (block[i + 4] ^ _AT))
        if least == 0:
            for i in range(pos, min(pos + _BLOCK, end)):
                if data[i] == _QUOTE and _stands(data, i, end, _IMAGE):
                    return i
        pos += _BLOCK
    return -1


@compiled
def _stands(data: Bytes, pos: int, end: int, word: Bytes) -> bool:
    """Whether the word stands at `pos`."""
    if pos < 0 or pos + len(word) > end:
        return False
    for i in range(len(word)):  # noqa: SIM110 (compiled)
        if data[pos + i] != word[i]:
            return False
    return True


@compiled
def _object_start(data: Bytes, value: int, begin: int) -> int:
    """The brace that opens the link whose path stands at `value`; -1 where it is no path of a link, -2 where that
    cannot be said."""
    colon = _back(data, value, begin)
    if colon < 0 or data[colon] != _COLON:
        return -1
    key = _back(data, colon, begin) + 1 - len(_PATH)
    if key <= begin or not _stands(data, key, value, _PATH) or string_start(data, key + len(_PATH) - 1, begin) != key:
        return -1
    pos = _back(data, key, begin)
    while data[pos] == _COMMA:  # a key before this one, and its value
        pos = string_start(data, _back(data, pos, begin), begin)
        colon = _back(data, pos, begin) if pos >= 0 else -1
        if colon < 0 or data[colon] != _COLON:
            return -2
        pos = string_start(data, _back(data, colon, begin), begin)
        if pos < 0:
            return -2
        pos = _back(data, pos, begin)
    if data[pos] != _OPEN:
        return -2
    before = _back(data, pos, begin)
    return pos if before >= 0 and data[before] in (_LIST, _COMMA) else -1


@compiled
def _read_object(data: Bytes, start: int, end: int, spans: Numbers) -> int:
    """Puts where url, alt and title stand into `spans` (0, 0: absent); returns the object's end, or -1."""
    spans[:] = 0
    pos = start
    while start >= 0 and data[pos] != _CLOSE:
        key = _forth(data, pos + 1, end)
        key_end = string_end(data, key, end)
        colon = _forth(data, key_end + 1, end)
        if key_end < 0 or colon >= end or data[colon] != _COLON:
            return -1
        value = _forth(data, colon + 1, end)
        value_end = string_end(data, value, end)
        if value_end < 0:
            return -1
        for name in range(3):
            if key_end + 1 - key == len(_KEYS[name]) and _stands(data, key, end, _KEYS[name]):
                spans[name, 0] = value + 1
                spans[name, 1] = value_end
        pos = _forth(data, value_end + 1, end)
        if pos >= end or (data[pos] != _COMMA and data[pos] != _CLOSE):
            return -1
    return pos + 1 if start >= 0 else -1


@compiled
def _back(data: Bytes, pos: int, begin: int) -> int:
    """The last place before `pos` that is no white space; begin - 1 where there is none before it."""
    pos -= 1
    while pos > begin and (data[pos] == 0x20 or 0x09 <= data[pos] <= 0x0D):
        pos -= 1
    return pos


@compiled
def _forth(data: Bytes, pos: int, end: int) -> int:
    """The next place from `pos` on that is no white space."""
    while pos < end and (data[pos] == 0x20 or 0x09 <= data[pos] <= 0x0D):
        pos += 1
    return pos


@compiled
def _is_blank(text: Bytes, start: int, end: int) -> bool:
    """Whether it holds nothing but ASCII white space."""
    for i in range(start, end):  # noqa: SIM110 (compiled)
        if text[i] != 0x20 and not 0x09 <= text[i] <= 0x0D:
            return False
    return True


@compiled
def _ends_in_brace(data: Bytes) -> bool:
    end = len(data)
    while end > 0 and data[end - 1] <= 0x20:
        end -= 1
    return end > 0 and data[end - 1] == _CLOSE


@compiled
def _holds_base(data: Bytes) -> bool:
    """Whether "Base", with its quotes, may stand in it, by blocks as in _find_image."""
    for start in range(0, len(data), _BLOCK):
        block = data[start : start + _BLOCK + 5]
        least = np.uint8(255)
        for i in range(len(block) - 5):
            least = min(
                least, (block[i] ^ _QUOTE) | (block[i + 1] ^ _B) | (block[i + 4] ^ _E) | (block[i + 5] ^ _QUOTE)
            )
        if least == 0:
            return True
    return False

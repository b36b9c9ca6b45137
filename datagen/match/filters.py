"""Which pairs are worth matching: what is cleaned, and every reason for which a pair is dropped.

The lists below are what `candidates.drop_boilerplate` and `candidates.drop_trackers` turn on and off. Patterns are of
RE2, case is ignored. Whoever changes one raises the version of the stages in candidates.py.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from datagen.config import CandidatesConfig
from openwit.stage import Counts

# A caption of such words alone, in any number and order, says nothing.
EMPTY_WORDS = (
    "image|images|img|photo|photos|picture|pictures|pic|logo|icon|banner|avatar|thumbnail|thumb|spacer|pixel|blank|"
    "placeholder|advertisement|ad|ads|loading|untitled|default|no image|image not found|null|undefined|alt|alt text"
)
_NO_LETTER = r"[ -@\[-`{-~]"  # of ASCII; Unicode's classes would take longer to compile than to look for
# Nor does a caption that is one of these as a whole.
EMPTY_CAPTIONS = (
    rf"(?:(?:{EMPTY_WORDS})(?:{_NO_LETTER}+|$))+",
    r"\S+\.(?:jpe?g|png|gif|webp|svg|bmp|tiff?|avif|heic)",  # a file's name
    rf"(?:img|dscn?|dscf|dji|pxl|vid|pict?|image|photo|screenshot){_NO_LETTER}*[0-9]{_NO_LETTER}*",  # a camera's number
    rf"{_NO_LETTER}+",
    r"https?://\S+",
)
# Addresses of images that are there to count visits.
TRACKERS = (
    r"//(?:[\w-]+\.)*(?:doubleclick\.net|scorecardresearch\.com|google-analytics\.com|googleadservices\.com)/",
    r"//(?:pixel|px|counter|stats?|pixel-[\w-]+)\.[\w.-]+/",
    r"//(?:www\.)?facebook\.com/tr\b",
    r"/(?:1x1|pixel|spacer|blank|clear|transparent|tracking|trackingpixel)\.(?:gif|png)\b",
)

_UNCLEAN = r"  |^ | $|[\x00-\x09\x0a-\x1f\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}]"
_BOILERPLATE = rf"(?i)^{_NO_LETTER}*(?:{'|'.join(EMPTY_CAPTIONS)})$"
_TRACKER = rf"(?i){'|'.join(TRACKERS)}"
_DATA_URI = r"(?i)^\s*data:"
_HTTP = r"(?i)^https?://"

Mask = npt.NDArray[np.bool_]


def clean_captions(captions: pa.Array) -> pa.Array:
    """The captions with every run of white space made one space, none at the ends."""
    unclean = pc.match_substring_regex(captions, _UNCLEAN)
    if not pc.any(unclean).as_py():
        return captions
    texts = [" ".join(text.split()) for text in captions.filter(unclean).to_pylist()]
    return pc.replace_with_mask(captions, unclean, pa.array(texts, pa.string()))


def missing_captions(pairs: pa.Table) -> dict[str, Mask]:
    """Which pairs have no caption to begin with: on the web it is half of all, and quickly told."""
    return {"no_alt": _mask(pc.equal(pc.binary_length(pairs["caption"]), 0))}


def caption_faults(config: CandidatesConfig, pairs: pa.Table) -> dict[str, Mask]:
    """By reason, which pairs with clean captions have that fault. Words are what stands between spaces. A URL that
    holds the image itself stands in pages where a script will load the real one."""
    captions = pairs["caption"]
    chars, words = pc.utf8_length(captions), pc.add(pc.count_substring(captions, " "), 1)
    too_short = pc.or_(pc.less(chars, config.min_caption_chars), pc.less(words, config.min_caption_words))
    too_long = pc.or_(pc.greater(chars, config.max_caption_chars), pc.greater(words, config.max_caption_words))
    missing = pc.equal(chars, 0)
    if not config.title_without_alt:
        missing = pc.or_(missing, pc.equal(pairs["caption_from"].cast(pa.string()), "title"))
    faults = {
        "no_alt": missing,
        "data_uri": pc.match_substring_regex(pairs["url"], _DATA_URI),
        "caption_too_short": too_short,
        "caption_too_long": too_long,
    }
    if config.drop_boilerplate:
        faults["boilerplate"] = pc.match_substring_regex(captions, _BOILERPLATE)
    return {reason: _mask(found) for reason, found in faults.items()}


def url_faults(config: CandidatesConfig, urls: pa.ChunkedArray) -> dict[str, Mask]:
    """By reason, which absolute URLs (null: there is none) have that fault."""
    known = pc.fill_null(urls, "")
    faults = {
        "bad_url": pc.is_null(urls),
        "not_http": pc.invert(pc.match_substring_regex(known, _HTTP)),
    }
    if config.drop_trackers:
        faults["tracking_pixel"] = pc.match_substring_regex(known, _TRACKER)
    return {reason: _mask(found) for reason, found in faults.items()}


def without(table: pa.Table, faults: Mapping[str, Mask], counts: Counts) -> pa.Table:
    """The rows without any fault; the others are counted under the first reason that they have."""
    good = np.ones(len(table), dtype=np.bool_)
    for reason, found in faults.items():
        counts[f"dropped.{reason}"] += int(np.count_nonzero(found & good))
        good &= ~found
    return table if good.all() else table.filter(good)


def _mask(found: pa.ChunkedArray) -> Mask:
    mask: Mask = found.to_numpy()
    return mask

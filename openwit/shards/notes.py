"""What is told of a sample: its URL, captions and their uids, from key.json and key.txt or from the shard's table.

Only what is needed is read, and as far as it can be: data sets that others made hold numbers, nulls, lists and much
else where we write texts. A sample whose caption is fine is never lost for what stands beside it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from openwit.shards.tar import Encoded

UID_BYTES = 16
FIELDS = ("uid", "url", "caption", "captions", "sha256")
_UID = re.compile(r"[0-9a-f]{32}")


def pair_uid(url: str, caption: str) -> str:
    """32 hex digits that identify a pair: blake2b-128 of `url \\0 caption`."""
    return _digest(f"{url}\0{caption}")


def place_uid(shard: str, key: str, caption: str) -> str:
    """The uid of a pair whose URL nobody knows, by the shard's name (00000), the sample's key and the caption."""
    return _digest(f"{shard}\0{key}\0{caption}")


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=UID_BYTES).hexdigest()


@dataclass(frozen=True, slots=True)
class Caption:
    """One of an image's captions; `told` is its whole entry, where there is one."""

    uid: str
    caption: str
    told: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class SampleRecord:
    """What is known of an image: at least one caption, which may be empty; URL and sha256 (of the bytes as fetched)
    are empty where they are not known."""

    url: str
    sha256: str
    captions: tuple[Caption, ...]

    @property
    def uids(self) -> list[str]:
        """Of all pairs that show this image, the first caption's first."""
        return list(dict.fromkeys(caption.uid for caption in self.captions))


def read_record(members: Mapping[str, Encoded], shard: str, key: str) -> SampleRecord:
    """The record of a sample of these members, by its key.json and key.txt."""
    fields: Mapping[str, object] = {}
    if "json" in members:
        try:
            notes = _DECODER.decode(members["json"])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            fields = salvaged_fields(bytes(members["json"]))
        else:
            if notes.is_ours():
                own = (Caption(entry.uid, _text(entry.caption)) for entry in notes.captions or ())
                return SampleRecord(_text(notes.url), notes.sha256 or "", tuple(own))
            fields = msgspec.to_builtins(notes)
    text = str(members["txt"], "utf-8-sig", "replace") if "txt" in members else ""
    return record_of(fields, shard, key, text)


def record_of(fields: Mapping[str, object], shard: str, key: str, text: str = "") -> SampleRecord:
    """The record of a key.json or of a table's row; `text` is the caption where they hold none.

    A uid is taken as it stands where it is one (32 hex digits). Else it is worked out from URL and caption, or where
    there is no URL from the shard's name, the key and the caption."""
    url = _text(fields.get("url"))
    captions: dict[str, Caption] = {}  # of two with one uid, the first
    for known, caption, told in _captions(fields, text):
        uid = known or (pair_uid(url, caption) if url else place_uid(shard, key, caption))
        captions.setdefault(uid, Caption(uid, caption, told))
    return SampleRecord(url, _text(fields.get("sha256")), tuple(captions.values()))


def caption_texts(fields: Mapping[str, object]) -> list[str]:
    """The captions of a table's row, in order, without their uids; none where all are empty."""
    return [caption for _, caption, _ in _captions(fields, "") if caption]


def _captions(fields: Mapping[str, object], text: str) -> list[tuple[str, str, Mapping[str, Any] | None]]:
    """(uid, caption, entry) of each; the uid is empty where there is none."""
    first, uid = _text(fields.get("caption")), _uid(fields.get("uid"))
    first = first if first.strip() else ""
    told = [entry for entry in map(_entry, _listed(fields.get("captions"))) if entry is not None]
    found = [entry for entry in told if entry[1].strip()]
    if not found and told and not first:
        return [(told[0][0] or uid, text, told[0][2] if not text else None)]
    if not found:
        return [(uid, first or text, None)]
    if first and all(caption != first for _, caption, _ in found):
        found.insert(0, (uid, first, None))  # img2dataset's caption beside a column `captions` of its user
    if uid and not found[0][0] and uid not in {known for known, _, _ in found}:
        found[0] = (uid, *found[0][1:])
    return found


def _listed(captions: object) -> list[object]:
    """The entries of whatever stands under `captions`."""
    if isinstance(captions, Mapping):
        return [captions] if isinstance(captions.get("caption"), str) else list(captions.values())
    if isinstance(captions, list | tuple):
        return list(captions)
    return [captions] if isinstance(captions, str) else []


def _entry(entry: object) -> tuple[str, str, Mapping[str, Any] | None] | None:
    if isinstance(entry, Mapping):
        uid, caption = _uid(entry.get("uid")), entry.get("caption")
        if isinstance(caption, str) or (uid and caption is None):
            return uid, _text(caption), entry
    return ("", _text(entry), None) if isinstance(entry, str) else None


def _uid(value: object) -> str:
    return value if isinstance(value, str) and _UID.fullmatch(value) else ""


def _text(value: object) -> str:
    """A text as every file can hold it: without halves of UTF-16 pairs."""
    if not isinstance(value, str):
        return ""
    return value if value.isascii() else value.encode("utf-8", "replace").decode("utf-8")


class _CaptionEntry(msgspec.Struct):
    uid: str
    caption: str | None = None


class _Notes(msgspec.Struct):
    """A key.json as we and img2dataset write it."""

    uid: str = ""
    url: str | None = None
    caption: str | None = None
    captions: list[_CaptionEntry] | None = None
    sha256: str | None = None

    def is_ours(self) -> bool:
        """Whether the captions are complete as they stand: `record_of` would say the same, at four times the time."""
        if not self.captions or self.caption != self.captions[0].caption:
            return False
        if len({entry.uid for entry in self.captions}) < len(self.captions):
            return False
        return all(entry.caption and entry.caption.strip() and _UID.fullmatch(entry.uid) for entry in self.captions)


_DECODER = msgspec.json.Decoder(_Notes)


# A string, also one that never ends; or a sign between values. Nothing is looked at twice.
_TOKEN = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)|[{}\[\]:,]', re.DOTALL)


def salvaged_fields(data: bytes) -> dict[str, object]:
    """Of FIELDS those that can be read of a JSON object, whatever else is in it: NaN, a BOM, values nested without
    end, a part that is no JSON. Nothing where it is no object."""
    text = data.decode(json.detect_encoding(data), "replace").lstrip("\ufeff")
    found: dict[str, object] = {}
    depth, name, last, begin = 0, "", "", 0
    for token in _TOKEN.finditer(text):
        sign = token[0]
        if depth == 1 and sign in ",}":
            if name in FIELDS:
                _put(found, name, text[begin : token.start()])
            name = ""
        if sign in "{[":
            depth += 1
            if depth == 1 and sign == "[":
                break
        elif sign in "}]":
            depth -= 1
            if depth <= 0:
                break
        elif depth == 1 and sign == ":" and not name:
            name, begin = last.strip('"'), token.end()
        else:
            last = sign
    return found


def _put(found: dict[str, object], name: str, value: str) -> None:
    try:
        found[name] = json.loads(value, strict=False)
    except (ValueError, RecursionError):
        return  # as if it were not there

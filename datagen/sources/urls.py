"""Absolute URLs of links as they stand in pages: exactly urllib's, most of them without its cost."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import urldefrag, urljoin

import pyarrow as pa
import pyarrow.compute as pc

# What urllib leaves as it is: printable ASCII without fragments, parameters and empty queries; in the path of a base
# or a relative URL beside that no empty and no dot segments; in a relative URL no colon, which could end a scheme.
_HOST = r"//[A-Za-z0-9.-]+(?::[0-9]+)?"
_PATH = r'(?:/[!"$-:<->@-~]*)?'
_SEGMENT = r'[!"$-\-0-:<->@-~][!"$-.0-:<->@-~]*'
_NO_COLON = r'[!"$-\-0-9<->@-~][!"$-.0-9<->@-~]*'
_QUERY = r'(?:\?[!"$-~]+)?'
_BASE = re.compile(rf"(https?:)({_HOST})((?:/{_SEGMENT})*/?)(?:[?#][!-~]*)?")


class _Base(NamedTuple):
    """What a base address puts before a URL that begins with its host, its path, or a name in the base's folder."""

    host: str = ""
    path: str = ""
    name: str = ""


_WHOLE = rf"^https?:{_HOST}{_PATH}{_QUERY}$"
_KINDS = {
    "host": rf"^{_HOST}{_PATH}{_QUERY}$",
    "path": rf"^(?:/{_SEGMENT})+/?{_QUERY}$",
    "name": rf"^{_NO_COLON}(?:/{_NO_COLON})*{_QUERY}$",
}


def resolve_all(bases: pa.DictionaryArray, urls: pa.Array) -> pa.Array:
    """What `resolve` gives for each base and URL; null where that is None."""
    parts = [_base(base) for base in bases.dictionary.to_pylist()]
    plain = pa.array([part is not None for part in parts], pa.bool_()).take(bases.indices)
    done = pc.and_(plain, pc.match_substring_regex(urls, _WHOLE))
    found = urls
    for kind, pattern in _KINDS.items():
        mask = pc.and_(plain, pc.match_substring_regex(urls, pattern))
        before = pa.array([getattr(part, kind) if part else "" for part in parts], pa.string())
        joined = pc.binary_join_element_wise(before.take(bases.indices.filter(mask)), urls.filter(mask), "")
        found = pc.replace_with_mask(found, mask, joined)
        done = pc.or_(done, mask)
    rest = pc.invert(done)
    pairs = zip(bases.filter(rest).to_pylist(), urls.filter(rest).to_pylist(), strict=True)
    return pc.replace_with_mask(found, rest, pa.array([resolve(base, url) for base, url in pairs], pa.string()))


def resolve(base: str, url: str) -> str | None:
    """The absolute URL without its fragment; None where urllib finds none."""
    try:
        return urldefrag(urljoin(base, url.strip())).url
    except ValueError:
        return None


def _base(url: str) -> _Base | None:
    """What a base address puts before URLs, nothing where it is empty; None where its joins are not plain."""
    if not url:
        return _Base()
    found = _BASE.fullmatch(url)
    if found is None:
        return None
    scheme, host, path = found.groups()
    return _Base(scheme, scheme + host, scheme + host + (path[: path.rfind("/") + 1] or "/"))

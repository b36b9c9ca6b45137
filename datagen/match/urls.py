"""Absolute URLs of links as they stand in pages: exactly urllib's, most of them without its cost."""

from __future__ import annotations

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
_BASE = rf"^(?:(?P<scheme>https?:)(?P<host>{_HOST})(?:(?P<folder>/(?:{_SEGMENT}/)*)(?:{_SEGMENT})?)?(?:[?#][!-~]*)?)?$"
_WHOLE = rf"^https?:{_HOST}{_PATH}{_QUERY}$"
_KINDS = {
    "host": rf"^{_HOST}{_PATH}{_QUERY}$",
    "path": rf"^(?:/{_SEGMENT})+/?{_QUERY}$",
    "name": rf"^{_NO_COLON}(?:/{_NO_COLON})*{_QUERY}$",
}


def resolve_all(bases: pa.DictionaryArray, urls: pa.Array) -> pa.Array:
    """What `resolve` gives for each base and URL; null where that is None."""
    parts = _parts(bases.dictionary)
    plain = pc.is_valid(parts["host"]).take(bases.indices)
    done = pc.and_(plain, pc.match_substring_regex(urls, _WHOLE))
    found = urls
    for kind, pattern in _KINDS.items():
        mask = pc.and_(plain, pc.match_substring_regex(urls, pattern))
        joined = pc.binary_join_element_wise(parts[kind].take(bases.indices.filter(mask)), urls.filter(mask), "")
        found = pc.replace_with_mask(found, mask, joined)
        done = pc.or_(done, mask)
    rest = pc.invert(done)
    pairs = zip(bases.filter(rest).to_pylist(), urls.filter(rest).to_pylist(), strict=True)
    return pc.replace_with_mask(found, rest, pa.array([resolve(base, url) for base, url in pairs], pa.string()))


def _parts(bases: pa.Array) -> dict[str, pa.Array]:
    """What each base puts before a URL that begins with its host, its path, or a name in the base's folder: nothing
    where the base is empty; null where its joins are not plain."""
    found = pc.extract_regex(bases, _BASE)
    scheme, host, folder = (pc.struct_field(found, name) for name in ("scheme", "host", "folder"))
    origin = pc.binary_join_element_wise(scheme, host, "")
    only_host = pc.and_(pc.equal(folder, ""), pc.not_equal(host, ""))
    folder = pc.binary_join_element_wise(origin, pc.if_else(only_host, "/", folder), "")
    return {"host": scheme, "path": origin, "name": folder}


def resolve(base: str, url: str) -> str | None:
    """The absolute URL without its fragment; None where urllib finds none."""
    try:
        return urldefrag(urljoin(base, url.strip())).url
    except ValueError:
        return None

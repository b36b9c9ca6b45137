"""Terms that are not wanted in the list, whatever they come from."""

from __future__ import annotations

from openwit import storage
from openwit.errors import InputError
from wit_queries.normalize import normalize


def read_block_list(url: str) -> dict[str, str]:
    """Each blocked term, normalised as all terms are, with its line as written. Lines are terms; empty ones and those
    that begin with # say nothing. Raises InputError where the file is missing or no UTF-8 text, or where a line has no
    word that could match a term."""
    try:
        text = storage.read_bytes(url).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{url}: is no UTF-8 text (byte {error.start}); expected one term a line") from None
    blocked: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        term = line.strip()
        if not term or term.startswith("#"):
            continue
        query = normalize(term)
        if not query:
            raise InputError(f"{url}: line {number}, {term[:60]!r}, has no word; write one term a line, # for comments")
        blocked.setdefault(query, term)
    return blocked

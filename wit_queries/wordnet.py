"""Names of WordNet's synsets from its database files (https://wordnet.princeton.edu/documentation/wndb5wn)."""

from __future__ import annotations

import re

from openwit.errors import InputError
from wit_queries.normalize import normalize
from wit_queries.streams import InputStream

_SYNSET = re.compile(r"\d{8} \d\d [nvasr] [0-9a-f]{2} ")
_ADJECTIVE_MARK = re.compile(r"\((?:a|p|ip)\)$")


def synset_queries(stream: InputStream, *, only_first: bool) -> list[str]:
    """The normalised lemmas of a file's synsets, sorted, each once; of each synset its first lemma, or all. Raises
    InputError where the file is none of WordNet's data files."""
    text = b"".join(stream.chunks()).decode("utf-8", "replace")
    found: set[str] = set()
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("  ") or not line:
            continue  # the licence
        if not _SYNSET.match(line):
            raise InputError(
                f"{stream.url}: line {number} is {line[:40]!r}; expected WordNet's data file: offset, file, kind, words"
            )
        fields = line.split(" ")
        num_lemmas = 1 if only_first else int(fields[3], 16)
        found.update(fields[4 : 4 + 2 * num_lemmas : 2])
    if not found:
        raise InputError(f"{stream.url}: holds no synset; expected one of WordNet's data files")
    queries = {normalize(_ADJECTIVE_MARK.sub("", lemma).replace("_", " ")) for lemma in found}
    return sorted(queries - {""})

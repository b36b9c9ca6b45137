"""Which queries stand in a caption: all whose words follow each other in it."""

from __future__ import annotations

from collections.abc import Sequence

from openwit.errors import ConfigError
from wit_queries.normalize import words

MODES = ("words",)


class _Node:
    """A place in the trie of words: the queries that end here and the words that go on."""

    __slots__ = ("ends", "then")

    def __init__(self) -> None:
        self.ends: list[int] = []
        self.then: dict[str, _Node] = {}


class QueryMatcher:
    """A trie of the queries' words; a query's id is its place in the sequence. A query without any word matches
    nothing. Raises ConfigError for an unknown mode."""

    def __init__(self, queries: Sequence[str], mode: str = "words") -> None:
        if mode not in MODES:
            raise ConfigError(f"mode={mode}: unknown way of matching; write one of {', '.join(MODES)}")
        self.mode = mode
        self.num_queries = len(queries)
        self._root = _Node()
        for query_id, query in enumerate(queries):
            node = self._root
            for word in words(query):
                node = node.then.setdefault(word, _Node())
            if node is not self._root:
                node.ends.append(query_id)

    def match(self, captions: Sequence[str]) -> list[list[int]]:
        """For each caption the ids of its queries, ascending, each once."""
        return [self._match(words(caption)) for caption in captions]

    def _match(self, found: list[str]) -> list[int]:
        matched: set[int] = set()
        first = self._root.then
        for start, word in enumerate(found):
            node = first.get(word)
            end = start + 1
            while node is not None:
                matched.update(node.ends)
                node = node.then.get(found[end]) if end < len(found) else None
                end += 1
        return sorted(matched)

"""The plain twin of the compiled loop: any cleaned text to ids, by the Rust engine of `tokenizers`."""

from __future__ import annotations

import os
from collections.abc import Sequence

import tokenizers
from tokenizers import models, pre_tokenizers

from models.bpe.vocabulary import END_OF_WORD, Vocabulary

# The reference matches without regard to case, which in lower-case text matters for two signs: the long s (an s) and
# U+0345 (an iota, then neither letter nor other: dropped). Its special tokens are left out on purpose: a text from the
# web that spells one must not end itself. Signs that Unicode gained after the Rust engine's tables (version 16) count
# as "other", as they did for the released tokenizer.
WORD_PATTERN = r"'[sſ]|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}\x{345}]+"

# Loader processes give the parallelism, and Rust threads that were alive at a fork are lost.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def word_splitter() -> pre_tokenizers.PreTokenizer:
    """Cuts a cleaned text into words, each in the symbols of its bytes."""
    pattern = tokenizers.Regex(WORD_PATTERN)
    words = pre_tokenizers.Split(pattern, behavior="removed", invert=True)
    return pre_tokenizers.Sequence([words, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


class ExactEncoder:
    """Cleaned texts to ids, without start and end token."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        ids = {word: i for i, word in enumerate(vocabulary.words)}
        self._rust = tokenizers.Tokenizer(models.BPE(ids, list(vocabulary.merges), end_of_word_suffix=END_OF_WORD))
        self._rust.pre_tokenizer = word_splitter()

    def ids(self, cleaned: Sequence[str]) -> list[list[int]]:
        """The ids of each text, all of them."""
        return [e.ids for e in self._rust.encode_batch_fast(list(cleaned), add_special_tokens=False)]

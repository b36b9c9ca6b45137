"""The plain twin of the compiled loop: any cleaned text to ids, by the Rust engine of `tokenizers`.

A text as OpenAI's tokenizer sees it, before it is split into words.
"""

from __future__ import annotations

import html
import os
from collections.abc import Sequence

import ftfy
import tokenizers
from tokenizers import models, pre_tokenizers

from models.tokenizer.vocabulary import END_OF_WORD, Vocabulary

# The reference matches without regard to case, which in lower-case text matters for two letters: the long s (an s) and
# U+0345 (an iota, then neither letter nor other: dropped). Its special tokens are left out on purpose: a text from the
# web that spells one must not end itself. Characters that Unicode gained after the Rust engine's tables (version 16)
# count as "other", as they did for the released tokenizer.
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


def clean(text: str) -> str:
    """The text as the reference sees it: mojibake and entities mended, single spaces, lower case. A lone surrogate
    becomes U+FFFD."""
    if not (text.isascii() and text.isprintable() and "&" not in text):  # else the next two lines change nothing
        text = ftfy.fix_text(text)
        text = html.unescape(html.unescape(text))
    return " ".join(text.split()).lower()

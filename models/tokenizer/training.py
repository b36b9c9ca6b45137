"""Merges learned from captions: again and again the commonest two neighbours become one symbol.

The Rust trainer's own mark for the end of a word makes the outcome depend on the order of a hash map. Here the last
byte of a word is one of 256 further symbols instead: all symbols are known from the start, ties go to the symbols that
came first, and the same captions give the same merges in any order and at any number of threads.

What `openwit train-tokenizer` makes: light to import, for recipes and the command line's help.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import tokenizers
from tokenizers import models, pre_tokenizers, trainers

from models.tokenizer.exact import clean, word_splitter
from models.tokenizer.vocabulary import END_OF_WORD, Vocabulary, byte_symbols
from openwit.errors import ConfigError, InputError

NUM_BYTES_AND_MARKS = 514  # 256 bytes, the same at the end of a word, start and end token


@dataclass(frozen=True, kw_only=True)
class TokenizerConfig:
    """A vocabulary of one's own captions; the sizes are CLIP's (paper, section 2.4)."""

    captions: Literal["shards", "matched"] = "shards"  # whose: of fetched images, or of all matched pairs
    max_captions: int = 10_000_000  # read at the most, in the order of the files; more change little
    vocabulary_size: int = 49408  # ids at the most, bytes and start and end token included
    context_length: int = 77  # tokens of a text, start and end token included
    min_count: int = 2  # of neighbours in the captions; rarer ones are not merged

    def __post_init__(self) -> None:
        for name, value in (("max_captions", self.max_captions), ("min_count", self.min_count)):
            if value < 1:
                raise ConfigError(f"tokenizer.{name}={value}: must be at least 1")
        if self.vocabulary_size <= NUM_BYTES_AND_MARKS:
            raise ConfigError(
                f"tokenizer.vocabulary_size={self.vocabulary_size}: bytes, start and end token are "
                f"{NUM_BYTES_AND_MARKS} ids; write more (CLIP: 49408)"
            )
        if self.context_length < 3:
            raise ConfigError(
                f"tokenizer.context_length={self.context_length}: must hold the start token, the end token and at "
                "least one more; write 3 or more (CLIP: 77)"
            )


FIRST_END_SYMBOL = 0x4E00  # of the symbols that stand for a word's last byte


def train_vocabulary(captions: Iterable[str], config: TokenizerConfig) -> Vocabulary:
    """The vocabulary of the captions, as they come from the web; it is smaller than asked for where they hold too few
    neighbours. Raises InputError where they hold none."""
    symbols = byte_symbols()
    end_symbols = {symbol: chr(FIRST_END_SYMBOL + i) for i, symbol in enumerate(symbols)}
    trainer = trainers.BpeTrainer(
        vocab_size=config.vocabulary_size - 2,  # start and end token come on top
        min_frequency=config.min_count,
        initial_alphabet=[*symbols, *end_symbols.values()],
        show_progress=False,
    )
    learner = tokenizers.Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    learner.train_from_iterator(_spelled(captions, end_symbols), trainer)
    marked = str.maketrans({end: symbol + END_OF_WORD for symbol, end in end_symbols.items()})
    known, merges = {*symbols, *(symbol + END_OF_WORD for symbol in symbols)}, []
    for pair in json.loads(learner.to_str())["model"]["merges"]:
        left, right = (part.translate(marked) for part in pair)
        if left + right not in known:  # of two ways to one symbol the first is the one
            known.add(left + right)
            merges.append((left, right))
    if not merges:
        raise InputError(f"tokenizer: no two symbols stand together {config.min_count} times; give more captions")
    return Vocabulary(tuple(merges), config.context_length)


def missing_ids(vocabulary: Vocabulary, config: TokenizerConfig) -> int:
    """By how many ids the vocabulary is smaller than asked for."""
    return config.vocabulary_size - NUM_BYTES_AND_MARKS - len(vocabulary.merges)


def _spelled(captions: Iterable[str], end_symbols: dict[str, str]) -> Iterator[str]:
    """Each caption's words in bytes' symbols, parted by spaces, which no symbol is."""
    splitter = word_splitter()
    for caption in captions:
        words = splitter.pre_tokenize_str(clean(caption))
        yield " ".join(word[:-1] + end_symbols[word[-1]] for word, _ in words)

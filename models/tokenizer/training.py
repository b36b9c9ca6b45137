"""Merges learned from captions: again and again the commonest two neighbours become one symbol.

The Rust trainer's own mark for the end of a word makes the outcome depend on the order of a hash map. Here the last
byte of a word is one of 256 further signs instead: all symbols are known from the start, ties go to the symbols that
came first, and the same captions give the same merges in any order and at any number of threads.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

import tokenizers
from tokenizers import models, pre_tokenizers, trainers

from models.bpe.cleaning import clean
from models.bpe.config import NUM_BYTES_AND_MARKS, TokenizerConfig
from models.bpe.exact import word_splitter
from models.bpe.vocabulary import END_OF_WORD, Vocabulary, byte_symbols
from openwit.errors import InputError

FIRST_LAST_SIGN = 0x4E00  # of the signs that stand for a word's last byte


def train_vocabulary(captions: Iterable[str], config: TokenizerConfig) -> Vocabulary:
    """The vocabulary of the captions, as they come from the web; it is smaller than asked for where they hold too few
    neighbours. Raises InputError where they hold none."""
    symbols = byte_symbols()
    last_signs = {symbol: chr(FIRST_LAST_SIGN + i) for i, symbol in enumerate(symbols)}
    trainer = trainers.BpeTrainer(
        vocab_size=config.vocabulary_size - 2,  # start and end token come on top
        min_frequency=config.min_count,
        initial_alphabet=[*symbols, *last_signs.values()],
        show_progress=False,
    )
    learner = tokenizers.Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    learner.train_from_iterator(_spelled(captions, last_signs), trainer)
    marked = str.maketrans({sign: symbol + END_OF_WORD for symbol, sign in last_signs.items()})
    known, merges = {*symbols, *(symbol + END_OF_WORD for symbol in symbols)}, []
    for pair in json.loads(learner.to_str())["model"]["merges"]:
        left, right = (part.translate(marked) for part in pair)
        if left + right not in known:  # of two ways to one symbol the first is the one
            known.add(left + right)
            merges.append((left, right))
    if not merges:
        raise InputError(f"tokenizer: no two signs stand together {config.min_count} times; give more captions")
    return Vocabulary(tuple(merges), config.context_length)


def missing_ids(vocabulary: Vocabulary, config: TokenizerConfig) -> int:
    """By how many ids the vocabulary is smaller than asked for."""
    return config.vocabulary_size - NUM_BYTES_AND_MARKS - len(vocabulary.merges)


def _spelled(captions: Iterable[str], last_signs: dict[str, str]) -> Iterator[str]:
    """Each caption's words in bytes' symbols, parted by spaces, which no symbol is."""
    splitter = word_splitter()
    for caption in captions:
        words = splitter.pre_tokenize_str(clean(caption))
        yield " ".join(word[:-1] + last_signs[word[-1]] for word, _ in words)

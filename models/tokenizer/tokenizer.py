"""OpenAI's byte-level BPE: the same ids for the same text, from the merges that OpenAI published, or from merges
trained on one's own captions.

Order of work (facts of the released tokenizer): ftfy, HTML entities twice, white space, lower case, a pattern that
splits words, UTF-8 bytes, merges with a mark at the end of each word. A compiled loop does all of it for texts whose
characters are cleaned one by one, then again for those that had to be cleaned; the rest goes through the plain twin. No
step remembers anything, so threads and forked loaders may share a tokenizer.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from models.config import TextConfig
from models.tokenizer.exact import ExactEncoder, clean
from models.tokenizer.kernel import LEFT_TO_TWIN, CodePointTable, Ints, encode_texts
from models.tokenizer.tables import build_tables, cleaned_code_points, raw_code_points
from models.tokenizer.vocabulary import END_OF_WORD, byte_order, byte_symbols, find_merges, read_vocabulary
from openwit.errors import ConfigError


@dataclass(frozen=True)
class Encoded:
    """B texts as int64 ids [B, context_length]; how many of a row are in use, start and end token included, int64 [B];
    and which texts were longer than a row and lost their end, bool [B]."""

    ids: Tensor
    lengths: Tensor
    cut: Tensor

    @property
    def num_cut(self) -> int:
        """How many texts lost their end."""
        return int(self.cut.sum())


class Tokenizer:
    """Texts to ids and back; `start_token` and `end_token` are the two highest ids of `vocabulary_size`."""

    def __init__(self, context_length: int | None = None, merges_path: Path | None = None) -> None:
        """`merges_path`: of `openwit train-tokenizer`; None: OpenAI's, from the extra `clip`. `context_length` None:
        the one that goes with the merges, 77 for OpenAI's. Raises InputError where the merges are missing or damaged.
        """
        vocabulary = read_vocabulary(Path(merges_path) if merges_path else find_merges())
        context_length = vocabulary.context_length if context_length is None else context_length
        if context_length < 3:
            raise ValueError(f"context_length={context_length}: must be at least 3 (start, one token, end)")
        self.context_length = context_length
        self.start_token, self.end_token = vocabulary.start_token, vocabulary.end_token
        self.vocabulary_size = vocabulary.size
        self._words = vocabulary.words
        self._byte_of = dict(zip(byte_symbols(), byte_order(), strict=True))
        self._tables = build_tables(vocabulary)
        self._exact = ExactEncoder(vocabulary)

    @classmethod
    def of(cls, text: TextConfig, merges: str = "") -> Tokenizer:
        """The tokenizer of a text tower; `merges` names a file of `openwit train-tokenizer`, empty: OpenAI's.

        Raises ConfigError where the tower knows other ids than the vocabulary has, InputError as `Tokenizer` does.
        """
        tokenizer = cls(text.context_length, Path(merges) if merges else None)
        if tokenizer.vocabulary_size != text.vocabulary_size:
            raise ConfigError(
                f"model.text.vocabulary_size={text.vocabulary_size}: the vocabulary of {merges or 'OpenAI'} has "
                f"{tokenizer.vocabulary_size} ids; write {tokenizer.vocabulary_size}, or name the model's own merges"
            )
        return tokenizer

    def encode(self, texts: Sequence[str]) -> Tensor:
        """int64 [B, context_length]: start token, the text's ids, end token, zeros. A longer text is cut and still
        ends in the end token; `encode_batch` says which."""
        return self.encode_batch(texts).ids

    def encode_batch(self, texts: Sequence[str]) -> Encoded:
        """The ids of the texts, their lengths, and which were cut. Raises TypeError for what is not a list of texts."""
        if isinstance(texts, str):
            raise TypeError("texts is one string: write [text]")
        if wrong := [i for i, text in enumerate(texts) if not isinstance(text, str)]:
            raise TypeError(f"texts[{wrong[0]}] is {type(texts[wrong[0]]).__name__}, expected str")
        ids_BL = np.zeros((len(texts), self.context_length), dtype=np.int64)
        counts_B = self._encode_rows(texts, raw_code_points(), np.arange(len(texts)), ids_BL)
        left = np.flatnonzero(counts_B == LEFT_TO_TWIN)
        cleaned = [clean(texts[row]) for row in left.tolist()]
        counts_B[left] = self._encode_rows(cleaned, cleaned_code_points(), left, ids_BL)
        still_left = np.flatnonzero(counts_B[left] == LEFT_TO_TWIN)
        found = self._exact.ids([cleaned[i] for i in still_left.tolist()])
        num_fitting = self.context_length - 2
        for row, ids in zip(left[still_left], found, strict=True):
            counts_B[row] = len(ids)
            ids_BL[row, 1:-1] = 0
            ids_BL[row, 1 : min(len(ids), num_fitting) + 1] = ids[:num_fitting]
        lengths_B = np.minimum(counts_B, num_fitting) + 2
        ids_BL[:, 0] = self.start_token
        ids_BL[np.arange(len(texts)), lengths_B - 1] = self.end_token
        cut_B = counts_B > num_fitting
        return Encoded(torch.from_numpy(ids_BL), torch.from_numpy(lengths_B), torch.from_numpy(cut_B))

    def _encode_rows(self, texts: Sequence[str], code_points: CodePointTable, rows: Ints, ids_BL: Ints) -> Ints:
        """Writes ids_BL[rows] behind the start token; how many ids each text has, or LEFT_TO_TWIN."""
        ids_BL[rows] = 0
        try:
            spelled = [text.encode() for text in texts]
        except UnicodeEncodeError:  # lone surrogates, which the loop leaves to `clean`
            spelled = [text.encode("utf-8", "surrogatepass") for text in texts]
        offsets = np.zeros(len(spelled) + 1, dtype=np.int64)
        np.cumsum(np.fromiter(map(len, spelled), np.int64, len(spelled)), out=offsets[1:])
        data = np.frombuffer(b"".join(spelled), np.uint8)
        tables = self._tables
        counts: Ints = encode_texts((data, offsets), code_points, tables.words_S4, tables.merging, rows, ids_BL)
        return counts

    def decode(self, ids: Iterable[int] | Tensor) -> str:
        """The cleaned text of one row of ids, up to its end token, words parted by single spaces."""
        text = bytearray()
        for token in ids.tolist() if isinstance(ids, Tensor) else ids:
            if token == self.end_token:
                break
            if token != self.start_token:
                word = self._words[token]
                symbols = word.removesuffix(END_OF_WORD)
                text.extend(self._byte_of[symbol] for symbol in symbols)
                text.extend(b" " * (word != symbols))
        return text.decode("utf-8", errors="replace").strip()

"""OpenAI's byte-level BPE: the same ids for the same text, from the merges that open_clip_torch ships.

Order of work (facts of the released tokenizer): ftfy, HTML entities twice, white space, lower case, a pattern that
splits words, UTF-8 bytes, merges with a mark at the end of each word. Everything after lower case is done in Rust.
"""

from __future__ import annotations

import gzip
import html
import importlib.util
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import ftfy
import numpy as np
import tokenizers
import torch
from tokenizers import models, pre_tokenizers
from torch import Tensor

from openwit.errors import InputError

MERGES_FILE = "bpe_simple_vocab_16e6.txt.gz"
NUM_MERGES = 49152 - 256 - 2
END_OF_WORD = "</w>"
# The reference matches without regard to case, which in lower-case text matters for two signs: the long s (an s) and
# U+0345 (an iota, then neither letter nor other: dropped). Its special tokens are left out on purpose: a text from the
# web that spells one must not end itself. Signs that Unicode gained after the Rust engine's tables (version 16) count
# as "other", as they did for the released tokenizer.
WORD_PATTERN = r"'[sſ]|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}\x{345}]+"

# Loader processes give the parallelism, and Rust threads that were alive at a fork are lost.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def clean(text: str) -> str:
    """The text as the reference sees it: mojibake and entities mended, single spaces, lower case."""
    if not (text.isascii() and text.isprintable() and "&" not in text):  # else the next two lines change nothing
        text = ftfy.fix_text(text)
        text = html.unescape(html.unescape(text))
    return " ".join(text.split()).lower()


class Tokenizer:
    """Texts to ids and back; `start_token` and `end_token` are the two highest ids of `vocabulary_size`."""

    def __init__(self, context_length: int = 77, merges_path: Path | None = None) -> None:
        """Raises InputError where the merges are missing or not OpenAI's; `merges_path` None: open_clip_torch's."""
        if context_length < 3:
            raise ValueError(f"context_length={context_length}: must be at least 3 (start, one token, end)")
        merges = _read_merges(merges_path or find_merges())
        symbols = _byte_symbols()
        self._words = [*symbols, *(s + END_OF_WORD for s in symbols), *("".join(pair) for pair in merges)]
        self._byte_of = dict(zip(symbols, _byte_order(), strict=True))
        self.context_length = context_length
        self.start_token = len(self._words)
        self.end_token = self.start_token + 1
        self.vocabulary_size = self.end_token + 1
        vocabulary = {word: i for i, word in enumerate(self._words)}
        self._rust = tokenizers.Tokenizer(models.BPE(vocabulary, merges, end_of_word_suffix=END_OF_WORD))
        self._rust.pre_tokenizer = pre_tokenizers.Sequence([
            pre_tokenizers.Split(tokenizers.Regex(WORD_PATTERN), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ])  # fmt: skip

    def encode(self, texts: Sequence[str]) -> Tensor:
        """int64 [B, context_length]: start token, the text's ids, end token, zeros. A longer text is cut and still
        ends in the end token."""
        if isinstance(texts, str):
            raise TypeError("texts is one string: write [text]")
        ids_BL = np.zeros((len(texts), self.context_length), dtype=np.int64)
        ids_BL[:, 0] = self.start_token
        encodings = self._rust.encode_batch_fast([clean(text) for text in texts], add_special_tokens=False)
        for row, encoding in zip(ids_BL, encodings, strict=True):
            ids = encoding.ids[: self.context_length - 2]
            row[1 : len(ids) + 1] = ids
            row[len(ids) + 1] = self.end_token
        return torch.from_numpy(ids_BL)

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


def find_merges() -> Path:
    """The merges file inside the installed open_clip_torch, which is not imported. Raises InputError without it."""
    spec = importlib.util.find_spec("open_clip")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        if (path := Path(folder) / MERGES_FILE).is_file():
            return path
    raise InputError(f"tokenizer: {MERGES_FILE} is not installed; it comes with `pip install open_clip_torch`")


def _read_merges(path: Path) -> list[tuple[str, str]]:
    try:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            lines = file.read().split("\n")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise InputError(f"tokenizer: {path} cannot be read: {error}; reinstall open_clip_torch") from None
    pairs = [tuple(line.split()) for line in lines[1 : NUM_MERGES + 1]]
    merges = [(pair[0], pair[1]) for pair in pairs if len(pair) == 2]
    if len(merges) != NUM_MERGES:
        raise InputError(f"tokenizer: {path} holds {len(merges)} merges, expected {NUM_MERGES}; use {MERGES_FILE}")
    return merges


def _byte_order() -> list[int]:
    """The 256 bytes in the order of their ids: those that print as one Latin-1 sign, then the rest."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    return printable + [byte for byte in range(256) if byte not in printable]


def _byte_symbols() -> list[str]:
    """The sign that stands for each byte of `_byte_order`: itself, or one from U+0100 on."""
    num_printable = 188
    return [chr(b) if i < num_printable else chr(256 + i - num_printable) for i, b in enumerate(_byte_order())]

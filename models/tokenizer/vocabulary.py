"""The words that a tokenizer knows: 256 bytes, the same at the end of a word, then one for each merge.

A file of merges is gzipped text, a first line that says what it is and then one pair of symbols a line, earlier ones
merged first. OpenAI's file comes with open_clip_torch, the extra `clip`; `openwit train-tokenizer` writes others of the
same form.
"""

from __future__ import annotations

import gzip
import importlib.util
import itertools
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from openwit.errors import InputError

SHIPPED_BY = ("open_clip", "clip")  # packages with OpenAI's file: open_clip_torch, and OpenAI's own
MERGES_FILE = "bpe_simple_vocab_16e6.txt.gz"
NUM_MERGES = 49152 - 256 - 2  # of OpenAI's file, which holds more
CONTEXT_LENGTH = 77  # paper, section 2.4
END_OF_WORD = "</w>"
TRAINED_MARK = "#openwit-merges "  # then JSON: what a trained file says of itself


@dataclass(frozen=True)
class Vocabulary:
    """Merges in their order, and the context length that they are meant for."""

    merges: tuple[tuple[str, str], ...]
    context_length: int

    @cached_property
    def words(self) -> list[str]:
        """The word of every id, in bytes' symbols; start and end token, the two highest ids, have none."""
        symbols = byte_symbols()
        return [*symbols, *(s + END_OF_WORD for s in symbols), *("".join(pair) for pair in self.merges)]

    @property
    def start_token(self) -> int:
        """The highest id but one."""
        return len(self.merges) + 512

    @property
    def end_token(self) -> int:
        """The highest id."""
        return self.start_token + 1

    @property
    def size(self) -> int:
        """Ids in all; OpenAI's has 49,408."""
        return self.end_token + 1


def find_merges() -> Path:
    """OpenAI's merges file inside an installed package, which is not imported. Raises InputError where none has it."""
    for package in SHIPPED_BY:
        spec = importlib.util.find_spec(package)
        for folder in (spec.submodule_search_locations or []) if spec else []:
            if (path := Path(folder) / MERGES_FILE).is_file():
                return path
    raise InputError(
        f"tokenizer: OpenAI's merges ({MERGES_FILE}) are not installed; write pip install -e '.[clip]' (it installs "
        "open_clip_torch, which ships them), or name merges of your own, from openwit train-tokenizer"
    )


def read_vocabulary(path: Path) -> Vocabulary:
    """OpenAI's vocabulary or a trained one. Raises InputError where the file is damaged, or another kind of file."""
    try:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            head, *lines = file.read().split("\n")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise InputError(
            f"tokenizer: {path} cannot be read: {error}; reinstall the package that ships it, or train anew"
        ) from None
    num_merges, context_length = NUM_MERGES, CONTEXT_LENGTH
    if head.startswith(TRAINED_MARK):
        try:
            told = json.loads(head.removeprefix(TRAINED_MARK))
            num_merges, context_length = int(told["merges"]), int(told["context_length"])
        except (ValueError, KeyError, TypeError):
            raise InputError(f"tokenizer: {path}: its first line is damaged; run openwit train-tokenizer") from None
    pairs = [tuple(line.split(" ")) for line in lines[:num_merges]]
    merges = tuple((pair[0], pair[1]) for pair in pairs if len(pair) == 2)
    if len(merges) != num_merges:
        raise InputError(f"tokenizer: {path} holds {len(merges)} merges, expected {num_merges}; use {MERGES_FILE}")
    vocabulary = Vocabulary(merges, context_length)
    _check_order(vocabulary, path)
    return vocabulary


def _check_order(vocabulary: Vocabulary, path: Path) -> None:
    """Each merge joins words that exist by then, and makes a new one: what all ways to merge rely on."""
    known = set(vocabulary.words[:512])
    for line, (left, right) in enumerate(vocabulary.merges, 2):
        if left not in known or right not in known or left + right in known:
            raise InputError(f"tokenizer: {path}: line {line} joins unknown words, or makes a known one; train it anew")
        known.add(left + right)


def to_bytes(vocabulary: Vocabulary) -> bytes:
    """A trained vocabulary as the file that `read_vocabulary` reads; the same vocabulary always makes the same bytes,
    on any machine."""
    head = {"merges": len(vocabulary.merges), "context_length": vocabulary.context_length, "size": vocabulary.size}
    lines = [TRAINED_MARK + json.dumps(head), *(" ".join(pair) for pair in vocabulary.merges)]
    return gzip.compress("\n".join(lines).encode(), mtime=0)


def byte_order() -> list[int]:
    """The 256 bytes in the order of their ids: those that print as one Latin-1 character, then the rest."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    return printable + [byte for byte in range(256) if byte not in printable]


def byte_symbols() -> list[str]:
    """The symbol that stands for each byte of `byte_order`: itself, or one from U+0100 on."""
    beyond = itertools.count(256)
    num_printable = 188
    return [chr(byte if i < num_printable else next(beyond)) for i, byte in enumerate(byte_order())]

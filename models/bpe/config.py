"""What `openwit train-tokenizer` makes: light to import, for recipes and the command line's help."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from openwit.errors import ConfigError

NUM_BYTES_AND_MARKS = 514  # 256 bytes, the same at the end of a word, start and end token


@dataclass(frozen=True, kw_only=True)
class TokenizerConfig:
    """A vocabulary of one's own captions; the sizes are CLIP's (paper, section 2.4)."""

    captions: Literal["shards", "matched"] = "shards"  # whose: of fetched pictures, or of all matched pairs
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

from __future__ import annotations

import pytest

from models.bpe.config import TokenizerConfig
from openwit.errors import ConfigError


@pytest.mark.parametrize(
    ("name", "value", "part"),
    [
        ("vocabulary_size", 514, "are 514 ids; write more"),
        ("context_length", 2, "write 3 or more"),
        ("min_count", 0, "min_count=0: must be at least 1"),
        ("max_captions", 0, "max_captions=0: must be at least 1"),
    ],
)
def test_a_size_that_holds_no_word_is_refused(name: str, value: int, part: str) -> None:
    with pytest.raises(ConfigError, match=part):
        TokenizerConfig(**{name: value})

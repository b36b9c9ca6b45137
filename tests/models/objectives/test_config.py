from __future__ import annotations

import pytest

from models.objectives.config import BagOfWordsConfig, CaptionConfig
from openwit.errors import ConfigError


@pytest.mark.parametrize(
    ("field", "value", "part"),
    [
        ("heads", 7, "caption.heads=7: must divide the width 512; write 4"),
        ("layers", 0, "caption.layers=0: must be at least 1"),
        ("context_length", 2, "caption.context_length=2: .* write 3 or more"),
        ("vocabulary_size", 2, "caption.vocabulary_size=2: .* write the tokenizer's"),
    ],
)
def test_a_decoder_that_cannot_be_built_is_refused(field: str, value: int, part: str) -> None:
    with pytest.raises(ConfigError, match=part):
        CaptionConfig(**{field: value})


def test_a_bag_needs_a_vocabulary_larger_than_a_caption() -> None:
    with pytest.raises(ConfigError, match="must be more than 0 and fewer than the 10 tokens"):
        BagOfWordsConfig(vocabulary_size=10, expected_tokens=10.0)
    with pytest.raises(ConfigError, match=r"expected_tokens=0\.0: must be more than 0"):
        BagOfWordsConfig(expected_tokens=0.0)
    with pytest.raises(ConfigError, match="vocabulary_size=2"):
        BagOfWordsConfig(vocabulary_size=2, expected_tokens=1.0)

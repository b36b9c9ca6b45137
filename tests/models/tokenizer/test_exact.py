from __future__ import annotations

import pytest

from models.bpe.exact import ExactEncoder, word_splitter
from models.bpe.vocabulary import find_merges, read_vocabulary


def test_the_twin_gives_the_reference_ids_of_cleaned_texts() -> None:
    reference = pytest.importorskip("open_clip.tokenizer").SimpleTokenizer()
    texts = ["a photo of a cat", "naïve café's 10,000 🏳️‍🌈", "", "don't 'ſ x\u0345x ½", "mississippi" * 40]
    assert ExactEncoder(read_vocabulary(find_merges())).ids(texts) == [reference.encode(text) for text in texts]


def test_words_are_letters_single_numbers_others_and_the_ends_of_contractions() -> None:
    words = [word for word, _ in word_splitter().pre_tokenize_str("i've 12 dogs!'s x'sun")]
    assert words == ["i", "'ve", "1", "2", "dogs", "!'", "s", "x", "'s", "un"]

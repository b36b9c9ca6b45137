"""The ids of texts by CLIP's vocabulary."""

from __future__ import annotations

from collections.abc import Callable

from models.tokenizer.tokenizer import Tokenizer

TEXTS = [
    "", "a photo of a cat.", "A Photo of a CAT!", "don't", "it's we're I'll", "3d 1234 3.14", "naïve café",
    "cafe\u0301", "東京タワー", "👍🏽 family 👨‍👩‍👧", "&lt;b&gt; &amp;amp; fish", "â€™ mojibake â€œ",
    "  spaces\tand\nlines  ", "hello<|endoftext|>", "straße ﬁne", "İstanbul", "rock-'n'-roll_2", "ॐ नमस्ते",
    "\x00\x01", "lone \ud800", "supercalifragilisticexpialidocious", "#hashtag @name http://a.test/x?y=1",
    "word " * 90,
]  # fmt: skip


def test_the_ids_of_a_text_are_what_they_were(golden: Callable[[str, object], None]) -> None:
    tokenizer = Tokenizer()
    encoded = tokenizer.encode_batch(TEXTS)
    rows = zip(TEXTS, encoded.ids.tolist(), encoded.lengths.tolist(), encoded.cut.tolist(), strict=True)
    told = {ascii(text): {"ids": ids[:length], "cut": cut} for text, ids, length, cut in rows}
    golden("tokens", told)
    assert not any(
        any(ids[length:]) for ids, length in zip(encoded.ids.tolist(), encoded.lengths.tolist(), strict=True)
    )


def test_ids_read_back_are_the_texts_that_they_were(golden: Callable[[str, object], None]) -> None:
    tokenizer = Tokenizer()
    told = {ascii(text): tokenizer.decode(ids) for text, ids in zip(TEXTS, tokenizer.encode(TEXTS), strict=True)}
    golden("tokens_decoded", told)
    vocabulary = (tokenizer.vocabulary_size, tokenizer.context_length, tokenizer.start_token, tokenizer.end_token)
    assert vocabulary == (49408, 77, 49406, 49407)

from __future__ import annotations

import pytest

from datagen.crawl.reasons import reason


@pytest.mark.parametrize(
    ("message", "word"),
    [
        ("HTTP Error 404: Not Found", "http_404"),
        ("HTTP Error 503: image_truncated", "http_503"),
        ("timed out", "timeout"),
        ("<urlopen error timed out>", "timeout"),
        ("<urlopen error unknown url type: file>", "scheme"),
        ("refused_address: a.test is 10.0.0.1, which is not on the public internet", "refused_address"),
        ("too_large: the body passes the limit of 5 bytes", "too_large"),
        ("too_many_redirects: more than 5", "too_many_redirects"),
        ("Use of image disallowed by X-Robots-Tag directive", "disallowed"),
        ("<urlopen error [Errno -2] Name or service not known>", "dns"),
        ("<urlopen error [Errno 111] Connection refused>", "connection"),
        ("<urlopen error [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed>", "tls"),
        ("IncompleteRead(10 bytes read, 90 more expected)", "incomplete"),
        ("image_truncated: image file is truncated", "image_truncated"),
        ("image_too_large: 20000x20000, the limit is 5 pixels", "image_too_large"),
        ("something new", "other"),
    ],
)
def test_each_message_has_its_word(message: str, word: str) -> None:
    assert reason(message) == word

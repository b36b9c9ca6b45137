"""Names by hash: uids of pairs, hashes of URLs and words, keys of the cap and of bands, SplitMix64."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa

from datagen.duplicates.within.bands import PIXELS, SHA256, band_keys, digest_keys, partitions
from datagen.schemas import pair_uids
from datagen.select.cap_kernel import match_keys
from openwit.config import digest
from openwit.kernels.hashing import splitmix64, url_hashes
from openwit.kernels.uids import uid_halves, uid_texts
from openwit.shards.notes import pair_uid
from wit_queries.terms.count_kernel import mix  # type: ignore[attr-defined]
from wit_queries.terms.word_counts import Counted, TextCounts

Golden = Callable[[str, object], None]
PAIRS = [
    ("http://a.test/1.jpg", "a cat"),
    ("http://a.test/1.jpg", ""),
    ("", ""),
    ("https://ä.test/熊.png?x=1#y", "ein Bär\n"),
]
SEEDS = [0, 1, 2**63, 2**64 - 1, 0x9E3779B97F4A7C15]


def as_texts(values: np.ndarray) -> list[str]:
    """Numbers of 64 bits, which JSON's readers would round."""
    return [f"{int(value):016x}" for value in values.ravel()]


def test_the_uid_of_a_pair_is_what_it_was(golden: Golden) -> None:
    urls, captions = (pa.array(list(column)) for column in zip(*PAIRS, strict=True))
    uids = [pair_uid(url, caption) for url, caption in PAIRS]
    assert pair_uids(urls, captions).to_pylist() == uids
    high, low = uid_halves(pa.array(uids))
    assert uid_texts(high, low).to_pylist() == uids
    assert [f"{h:016x}{l:016x}" for h, l in zip(high.tolist(), low.tolist(), strict=True)] == uids  # noqa: E741
    golden("uids", [*uids, pair_uid("http://a.test/", "lone \ud800")])


def test_the_hash_of_a_url_is_what_it_was(golden: Golden) -> None:
    """FNV-1a, then MurmurHash3's finaliser."""
    golden("url_hashes", as_texts(url_hashes(pa.array([url for url, _ in PAIRS]))))


def test_the_hash_of_a_word_is_what_it_was(golden: Golden) -> None:
    """FNV-1a, then SplitMix64's finaliser."""
    found: list[Counted] = []
    counts = TextCounts(found.append, 1 << 20)
    counts.add("The cat and the naïve cat\nsaw 東京 and a cat")
    counts.finish()
    (counted,) = found
    words, hashes = counted.words["word"].to_pylist(), as_texts(counted.hashes)
    told = dict(sorted(zip(words, zip(hashes, counted.words["count"].to_pylist(), strict=True), strict=True)))
    golden("word_hashes", told)


def test_splitmix64_gives_the_numbers_that_it_gave(golden: Golden) -> None:
    seeds = np.array(SEEDS, np.uint64)
    drawn = splitmix64(seeds, 4)
    assert as_texts(drawn[0])[0] == "e220a8397b1dcdaf"  # Steele et al. 2014: the first number of seed 0
    finalised = [f"{int(mix(seed)):016x}" for seed in seeds]
    golden("splitmix64", {"drawn": [as_texts(row) for row in drawn], "finalised": finalised})


def test_the_cap_s_key_of_a_match_is_what_it_was(golden: Golden) -> None:
    high, low = uid_halves(pa.array([pair_uid(*pair) for pair in PAIRS]))
    query_ids = np.arange(len(PAIRS), dtype=np.int32) * 1000
    told = {str(seed): as_texts(match_keys(np.uint64(seed), high, low, query_ids)) for seed in SEEDS}
    golden("match_keys", told)


def test_the_keys_of_bands_and_digests_are_what_they_were(golden: Golden) -> None:
    words = splitmix64(np.arange(3, dtype=np.uint64), 8)
    keys = band_keys(words[:, :4].copy(), words[:, 4:].copy(), 4, 12)
    rows = words[:, :4].copy().view(np.uint8).reshape(3, 32)
    exact = [as_texts(digest_keys(rows, kind)) for kind in (SHA256, PIXELS)]
    golden("band_keys", {"bands": as_texts(keys), "digests": exact, "dealt": partitions(keys, 7).ravel().tolist()})


def test_the_digest_of_values_is_what_it_was(golden: Golden) -> None:
    golden("digests", [digest("a", 1, 2.0, None, {"b": [True, 0.1]}), digest(), digest({"b": 1, "a": 2})])

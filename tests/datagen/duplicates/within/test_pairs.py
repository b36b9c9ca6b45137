from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from datagen.duplicates.config import REASONS
from datagen.duplicates.within.bands import PIXELS, SHA256
from datagen.duplicates.within.config import WithinConfig
from datagen.duplicates.within.fingerprint import BANDED
from datagen.duplicates.within.pairs import process
from openwit.stage import Input, Source, Target
from openwit.storage.slices import writing_slices

RELIABLE = b"\xff" * 32
DEFAULT = WithinConfig()


def row(
    key: int,
    number: int,
    flipped: int = 0,
    colors: int = 128,
    vector: bytes = b"",
    kind: int = 0,
    reliable: bytes = RELIABLE,
) -> tuple[object, ...]:
    """An image whose hash has so many bits set."""
    bits = np.zeros(256, np.uint8)
    bits[:flipped] = 1
    return (kind << 56 | key, number, np.packbits(bits).tobytes(), reliable, bytes([colors]) * 32, vector)


def pairs_of(
    folder: Path, rows: list[tuple[object, ...]], config: WithinConfig = DEFAULT
) -> tuple[set[tuple[int, int, str]], Counter[str]]:
    """The pairs, and the counts; rows come from two files."""
    inputs = []
    for number, part in enumerate((rows[::2], rows[1::2])):
        path = folder / f"{number}.arrow"
        table = pa.table([list(column) for column in zip(*part, strict=True)] or [[]] * len(BANDED), schema=BANDED)
        with writing_slices(path, BANDED) as writer:
            writer.write_batch(
                (table.combine_chunks().to_batches() or [pa.RecordBatch.from_pylist([], schema=BANDED)])[0]
            )
        inputs.append(Input.outside(str(path)))
    counts = process(config, Source(index=0, inputs={"bands": tuple(inputs)}), Target(0, folder))
    table = pq.read_table(folder / "00000.parquet").to_pylist()
    return {(pair["a"], pair["b"], REASONS[pair["reason"]]) for pair in table}, counts


def test_images_of_a_band_are_copies_up_to_the_distance_and_others_are_never_compared(tmp_path: Path) -> None:
    rows = [row(1, 10), row(1, 11, 25), row(1, 12, 60), row(2, 13, 1), row(3, 14, 1)]
    found, counts = pairs_of(tmp_path, rows)
    assert found == {(10, 11, "phash")}
    assert (counts["in"], counts["kept"], counts["pairs.compared"], counts["pairs.phash"]) == (5, 5, 3, 1)


def test_another_colour_is_another_image(tmp_path: Path) -> None:
    assert pairs_of(tmp_path, [row(1, 1), row(1, 2, 1, 142), row(1, 3, 2, 158)])[0] == {(1, 2, "phash")}


def test_a_pair_that_shares_several_bands_and_its_bytes_is_one_pair_by_its_surest_reason(tmp_path: Path) -> None:
    rows = [row(band, number, 3) for band in (1, 2) for number in (5, 6)]
    rows += [row(9, number, 7, kind=kind) for kind in (SHA256, PIXELS) for number in (5, 6)]
    found, counts = pairs_of(tmp_path, rows)
    assert found == {(5, 6, "sha256")}
    assert counts["rows"] == 1


def test_digests_that_share_a_key_and_differ_are_no_copies(tmp_path: Path) -> None:
    assert pairs_of(tmp_path, [row(9, 1, 7, kind=SHA256), row(9, 2, 8, kind=SHA256)])[0] == set()


def test_a_thousand_equal_rows_are_999_pairs(tmp_path: Path) -> None:
    found, counts = pairs_of(tmp_path, [row(1, number) for number in range(1000)])
    assert len(found) == 999
    assert counts["pairs.compared"] == 0


@pytest.mark.parametrize(("most", "compared"), [(1, 19), (3, 54), (30, 190)])
def test_a_large_band_is_compared_with_so_many_neighbours_and_the_rest_is_counted(
    tmp_path: Path, most: int, compared: int
) -> None:
    rows = [row(1, number, 12 * number) for number in range(20)]
    found, counts = pairs_of(tmp_path, rows, WithinConfig(max_bucket=most))
    assert (counts["pairs.compared"], counts["pairs.not_compared"]) == (compared, 190 - compared)
    assert {(a, b) for a, b, _ in found} >= {(n, n + 1) for n in range(19)}


def test_with_vectors_the_detector_decides_on_what_the_hash_lets_through(tmp_path: Path) -> None:
    one, other = (np.array(v, np.float16).tobytes() for v in ((1, 0), (0, 1)))
    rows = [
        row(1, 1, 0, vector=one),
        row(1, 2, 50, vector=one),
        row(1, 3, 51, vector=other),
        row(1, 4, 150, vector=one),
    ]
    assert pairs_of(tmp_path, rows)[0] == {(1, 2, "detector")}
    assert pairs_of(tmp_path, [])[0] == set()


@pytest.mark.parametrize("swapped", [False, True])
def test_two_images_are_copies_only_where_both_masks_say_so(tmp_path: Path, swapped: bool) -> None:
    """By the mask that lacks the differing bits they are one image, by the other's they are two."""
    differing = bytes(8) + b"\xff" * 24
    masks = (RELIABLE, differing) if swapped else (differing, RELIABLE)
    rows = [row(1, 1, 0, reliable=masks[0]), row(1, 2, 64, reliable=masks[1])]
    assert pairs_of(tmp_path, rows)[0] == set()
    alike = [row(1, 1, 0, reliable=differing), row(1, 2, 64, reliable=differing)]
    assert pairs_of(tmp_path, alike)[0] == {(1, 2, "phash")}

# mypy: disable-error-code="attr-defined"
"""A tar holds the same samples for everyone who reads it: those that WebDataset finds, each image with its caption."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from datagen.duplicates.eval_sets.formats import read
from datagen.duplicates.within.config import PrintsConfig
from datagen.duplicates.within.fingerprint import process
from datagen.schemas import CAPTIONS
from datagen.shards.rewrite import ShardFiles, rewrite
from datagen.statistics.collect import collect_samples
from helpers.odd_tars import NUM_SAMPLES, Found, OddTar, expected, number_of, odd_tars
from openwit.manifest import Manifest, Part, PartFile, write
from openwit.shards import IMAGE_SUFFIXES, TarSample, Unusable, read_images, read_samples
from openwit.shards.notes import pair_uid
from openwit.shards.tar import BufferPool
from openwit.stage import Input, Source, Target
from openwit.storage.readahead import TarFiles
from train.data.dataset import open_data_set
from train.data.examples import usable_captions
from train.data.lanes import LaneRows

PICKED = 11  # the sample that is taken down
TEXTS = ("key", "url", "uid", "caption", "status", "error_message", "reason")
TABLE = pa.schema(
    [*((name, pa.string()) for name in TEXTS), ("captions", CAPTIONS), ("width", pa.int32()), ("height", pa.int32())]
)


def by_training(path: Path) -> list[Found]:
    """As the loader cuts a tar into samples."""
    return [as_found(sample) for sample in read_samples(str(path))]


def by_a_data_set(path: Path) -> list[Found]:
    """As training reads a folder of which a manifest tells."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    files = (PartFile(name=path.name, bytes=path.stat().st_size, sha256=digest),)
    part = Part(index=0, key="", rows=NUM_SAMPLES, files=files, counts={"in": NUM_SAMPLES, "kept": NUM_SAMPLES})
    write(str(path.parent), Manifest(stage="adopted", version=1, config={}, inputs={}, parts=(part,)))
    data_set = open_data_set((str(path.parent),))
    (lane,) = data_set.lanes(1, 0, 0)
    return [as_found(item) for item in LaneRows(data_set, lane, TarFiles(1, 0), BufferPool()).read(0)]


def as_found(item: TarSample | Unusable) -> Found:
    assert isinstance(item, TarSample), item
    images = [bytes(item.members[suffix]) for suffix in IMAGE_SUFFIXES if suffix in item.members]
    assert images, f"{item.key} has only {', '.join(item.members)}"
    captions = usable_captions(item, frozenset())
    assert isinstance(captions, list), captions
    return item.key, number_of(images[0]), captions[0]


def by_duplicates(path: Path) -> list[Found]:
    """As the search for overlap and copies reads a shard."""
    found = []
    for image in read_images(str(path)):
        captions = [entry.caption for entry in image.record.captions or ()] or [image.record.caption or ""]
        found.append((image.key, number_of(image.data), captions[0]))
    return found


def by_statistics(path: Path) -> list[Found]:
    """As the page of statistics shows a folder."""
    shown = collect_samples(str(path.parent), 2 * NUM_SAMPLES)
    return [(sample.key, number_of(sample.jpeg), sample.captions[0]) for sample in shown]


def by_eval_sets(path: Path) -> list[Found]:
    """As an evaluation set is read, whose label is the text."""
    return [(entry.key, number_of(entry.data), entry.label) for entry in read((Input.outside(str(path)),))]


READERS: dict[str, Callable[[Path], list[Found]]] = {
    "training": by_training,
    "a data set": by_a_data_set,
    "duplicates": by_duplicates,
    "statistics": by_statistics,
    "evaluation set": by_eval_sets,
}
RETARRED = {"plain", "dot_slash", "folder", "folder_with_a_dot"}  # the table beside it knows no folders
TARS = odd_tars()


def cases(*readers: str, only: Collection[str] = ()) -> list[object]:
    return [
        pytest.param(reader, tar, id=f"{reader}-{tar.name}")
        for reader in readers
        for tar in TARS
        if not only or tar.name in only
    ]


@pytest.mark.parametrize(("reader", "tar"), cases(*READERS))
def test_every_reader_finds_the_25_samples(tmp_path: Path, reader: str, tar: OddTar) -> None:
    path = tar.write(tmp_path / "00000.tar")
    right = expected(path)
    assert len(right) == NUM_SAMPLES
    assert all(caption == f"caption {number}" for _, number, caption in right)
    assert READERS[reader](path) == right


@pytest.mark.parametrize(("reader", "tar"), cases("remove"))
def test_a_takedown_takes_the_sample_of_the_tables_key_and_no_other(tmp_path: Path, reader: str, tar: OddTar) -> None:
    path = tar.write(tmp_path / "00000.tar")
    right = expected(path)
    (tmp_path / "made").mkdir()
    gone = right.pop(PICKED)
    rewrite(ShardFiles(str(path), table_of([*right, gone]), {gone[0]: []}), Target(0, tmp_path / "made"))
    assert expected(tmp_path / "made" / "00000.tar") == right


@pytest.mark.parametrize(("reader", "tar"), cases("remove, a caption"))
def test_a_takedown_of_a_caption_leaves_the_sample_with_the_other(tmp_path: Path, reader: str, tar: OddTar) -> None:
    path = tar.write(tmp_path / "00000.tar")
    right = expected(path)
    (tmp_path / "made").mkdir()
    edits = {right[PICKED][0]: [{"uid": "u", "caption": "another"}]}
    rewrite(ShardFiles(str(path), table_of(right), edits), Target(0, tmp_path / "made"))
    right[PICKED] = (*right[PICKED][:2], "another")
    assert expected(tmp_path / "made" / "00000.tar") == right


@pytest.mark.parametrize(("reader", "tar"), cases("copies within"))
def test_the_search_for_copies_knows_every_sample_of_the_table(tmp_path: Path, reader: str, tar: OddTar) -> None:
    right = expected(tar.write(tmp_path / "00000.tar"))
    assert by_copies_within(tmp_path, right) == [(key, text) for key, _, text in right]


@pytest.mark.parametrize(("reader", "tar"), cases("copies within, retarred", only=RETARRED))
def test_the_search_for_copies_finds_samples_that_were_put_into_a_folder(
    tmp_path: Path, reader: str, tar: OddTar
) -> None:
    right = expected(tar.write(tmp_path / "00000.tar"))
    found = by_copies_within(tmp_path, without_folders(right))
    assert [text for _, text in found] == [text for *_, text in right]


@pytest.mark.parametrize(("reader", "tar"), cases("remove, retarred", only=RETARRED))
def test_a_takedown_finds_a_sample_that_was_put_into_a_folder(tmp_path: Path, reader: str, tar: OddTar) -> None:
    path = tar.write(tmp_path / "00000.tar")
    right = expected(path)
    (tmp_path / "made").mkdir()
    named = without_folders(right)
    rewrite(ShardFiles(str(path), table_of(named), {named[PICKED][0]: []}), Target(0, tmp_path / "made"))
    assert expected(tmp_path / "made" / "00000.tar") == right[:PICKED] + right[PICKED + 1 :]


def by_copies_within(folder: Path, table: list[Found]) -> list[tuple[str, str]]:
    """Key and caption of what the search for copies takes up of a shard with that table."""
    pq.write_table(table_of(table), folder / "00000.parquet")
    inputs = {role: (Input.outside(str(folder / f"00000.{role}")),) for role in ("tar", "parquet")}
    (folder / "made").mkdir()
    counts = process(PrintsConfig(), Source(index=0, inputs=inputs), Target(0, folder / "made"))
    assert (counts["in"], counts["kept"]) == (NUM_SAMPLES, NUM_SAMPLES)
    nodes = pq.read_table(folder / "made" / "00000.nodes.parquet").to_pylist()
    return [(row["key"], row["captions"][0]["caption"]) for row in nodes]


def without_folders(found: list[Found]) -> list[Found]:
    return [(key.rpartition("/")[2], number, caption) for key, number, caption in found]


def table_of(found: list[Found]) -> pa.Table:
    """The table beside the tar, as img2dataset writes it."""
    rows = []
    for key, number, caption in found:
        url = f"http://a.test/{number}.jpg"
        uid = pair_uid(url, caption)
        own = {"key": key, "url": url, "uid": uid, "caption": caption, "captions": [{"uid": uid, "caption": caption}]}
        rows.append({**own, "status": "success", "width": 16, "height": 16})
    return pa.Table.from_pylist(rows, schema=TABLE)


def test_no_two_tars_have_one_name() -> None:
    assert {tar.name for tar in TARS} >= RETARRED
    assert len({tar.name for tar in TARS}) == len(TARS)

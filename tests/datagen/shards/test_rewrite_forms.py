"""Shards that others made, written anew in the forms in which they stood."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from datagen.shards.remove import RemoveConfig, process
from datagen.shards.rewrite import in_form_of
from datagen.shards.tombstones import Request, write_request
from helpers.adopted import write_adopted
from openwit.shards import read_samples
from openwit.shards.notes import pair_uid
from openwit.stage import Input, Source, Target

FIRST = "http://host.test/0/1.jpg"


def removed(work: Path, request: Request) -> Path:
    """The folder with the shard as a removal writes it."""
    (work / "made").mkdir()
    write_request(str(work), request)
    files = {role: (Input.outside(str(work / "shards" / f"00000.{role}")),) for role in ("tar", "parquet")}
    inputs = {**files, "request": (Input.outside(str(work / "request.parquet")),)}
    process(RemoveConfig(), Source(index=0, inputs=inputs), Target(0, work / "made"))
    return work / "made"


def test_of_captions_as_texts_one_goes_and_the_others_stay_texts(tmp_path: Path) -> None:
    write_adopted(tmp_path, [range(3)], lambda number: {"captions": [f"a {number}", f"b {number}"], "uid": number})
    made = removed(tmp_path, Request(uids=frozenset({pair_uid(FIRST, "image 0 1"), pair_uid(FIRST, "a 1")})))
    samples = {sample.key: sample for sample in read_samples(str(made / "00000.tar"))}
    notes = json.loads(bytes(samples["0000001"].members["json"]))
    row = pq.read_table(made / "00000.parquet").to_pylist()[1]
    assert (notes["caption"], notes["captions"]) == (row["caption"], row["captions"]) == ("b 1", ["b 1"])
    assert bytes(samples["0000001"].members["txt"]) == b"b 1"
    assert samples["0000001"].record.uids == [pair_uid(FIRST, "b 1")]
    assert len(samples) == 3


@pytest.mark.parametrize("uid", [7, "u", None])
def test_an_image_goes_by_its_url_from_a_table_with_any_uids_and_leaves_nothing(tmp_path: Path, uid: object) -> None:
    write_adopted(tmp_path, [range(3)], lambda number: {"captions": [f"a {number}"], "uid": uid})
    made = removed(tmp_path, Request(urls=frozenset({FIRST})))
    with tarfile.open(made / "00000.tar") as tar:
        assert not [name for name in tar.getnames() if name.startswith("0000001")]
    row = pq.read_table(made / "00000.parquet").to_pylist()[1]
    assert (row["status"], row["url"], row["caption"]) == ("failed_to_download", "removed:", "")
    assert "a 1" not in str(row)


def test_what_a_mac_keeps_beside_a_removed_file_goes_with_it(tmp_path: Path) -> None:
    write_adopted(tmp_path, [range(3)])
    path = tmp_path / "shards" / "00000.tar"
    with tarfile.open(path) as tar:
        members = [(member, tar.extractfile(member)) for member in tar.getmembers()]
        with tarfile.open(tmp_path / "new.tar", "w") as new:
            for member, file in members:
                new.addfile(tarfile.TarInfo(f"._{member.name}"))
                new.addfile(member, file)
    (tmp_path / "new.tar").rename(path)
    with tarfile.open(removed(tmp_path, Request(urls=frozenset({FIRST}))) / "00000.tar") as tar:
        names = tar.getnames()
    assert len(names) == 12
    assert not [name for name in names if "0000001" in name]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (["a", "b", "c"], ["b", "c"]),
        ({"en": "a", "de": "b"}, {"de": "b"}),
        ("a", "b"),
        (None, [{"uid": "1", "caption": "b"}, {"uid": "2", "caption": "c"}]),
    ],
)
def test_captions_keep_the_form_in_which_they_stood(before: object, after: object) -> None:
    assert in_form_of(before, [{"uid": "1", "caption": "b"}, {"uid": "2", "caption": "c"}]) == after

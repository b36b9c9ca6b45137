from __future__ import annotations

from pathlib import Path

from datagen.shards import swap as swaps
from openwit import manifest as manifests
from openwit.manifest import Manifest, Part, PartFile


def shard(folder: Path, content: str, counts: dict[str, int]) -> Manifest:
    """A folder with one shard, a text in the place of its tar and its table."""
    folder.mkdir(parents=True)
    for suffix in ("tar", "parquet"):
        (folder / f"00000.{suffix}").write_text(content)
    files = tuple(PartFile(name=f"00000.{suffix}", bytes=len(content), sha256=content) for suffix in ("tar", "parquet"))
    part = Part(index=0, key=f"key of {content}", rows=counts["kept"], files=files, counts=counts)
    made = Manifest(stage="crawl", version=1, config={}, inputs={}, parts=(part,))
    manifests.write(str(folder), made)
    return made


def plant(work: Path) -> tuple[str, str]:
    shard(work / "shards", "old", {"in": 5, "kept": 4, "dropped.http_404": 1})
    staged = shard(work / "merge" / "staged", "new", {"in": 4, "kept": 3, "dropped.removed": 1})
    swaps.decide(str(work / "shards"), str(work / "merge"), staged)
    return str(work / "shards"), str(work / "merge")


def test_what_was_decided_is_found_again_by_the_shards_alone_and_ended_once(tmp_path: Path) -> None:
    shards, folder = plant(tmp_path)
    assert swaps.pending(shards) == folder
    assert (tmp_path / "shards" / "00000.tar").read_text() == "old"
    swaps.finish(shards)
    assert swaps.pending(shards) == ""
    assert (tmp_path / "shards" / "00000.tar").read_text() == "new"
    assert not list((tmp_path / "merge" / "staged").glob("[0-9m]*"))
    after = (tmp_path / "shards" / "manifest.json").read_bytes()
    swaps.finish(shards)
    assert (tmp_path / "shards" / "manifest.json").read_bytes() == after


def test_a_shard_keeps_its_key_and_counts_what_went(tmp_path: Path) -> None:
    shards, _ = plant(tmp_path)
    swaps.finish(shards)
    part = manifests.read(shards).parts[0]
    assert part.key == "key of old"
    assert part.counts == {"in": 5, "kept": 3, "dropped.http_404": 1, "dropped.removed": 1}
    assert part.rows == 3


def test_a_swap_of_another_machine_s_path_is_ended_where_the_work_folder_lies_now(tmp_path: Path) -> None:
    plant(tmp_path / "there")
    (tmp_path / "there").rename(tmp_path / "here")
    swaps.finish(str(tmp_path / "here" / "shards"))
    assert (tmp_path / "here" / "shards" / "00000.tar").read_text() == "new"

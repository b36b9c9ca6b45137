from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from datagen.shards.remove import Removal, remove, settle
from datagen.shards.tombstones import Request
from helpers import crawl_run, s3_server, web
from helpers.crawled import Fetched, InThisProcess, jpeg, scene, write_shards
from helpers.processes import kill, start, wait_until
from openwit import manifest as manifests
from openwit import storage
from openwit.errors import InputError
from openwit.executors.executor import ExecutorConfig
from openwit.log.events import Log
from openwit.run import Run
from openwit.shards.notes import pair_uid


def url(name: object, host: str = "host") -> str:
    return f"http://{host}.test/{name}.jpg"


def run_in(work: Path | str, dry_run: bool = False) -> Run:
    """In this process, which spares the start of workers."""
    log = Log(stream=io.StringIO())
    return Run(str(work), "tiny", ExecutorConfig(), log, dry_run, _executor=InThisProcess())


def take_down(work: Path | str, request: Request, why: str = "asked by mail") -> Removal:
    with run_in(work) as run:
        return remove(run, request, why)


def plant(work: Path, num_shards: int = 3) -> None:
    """Four images a shard; the last has two captions, the second is of another host."""
    shards = []
    for shard in range(num_shards):
        names = [url(f"{shard}-{place}", "other" if place == 1 else "host") for place in range(4)]
        shards.append(
            [Fetched(name, jpeg(scene(shard * 4 + place), 60)) for place, name in enumerate(names[:3])]
            + [Fetched(names[3], jpeg(scene(shard * 4 + 3), 60), captions=("first", "second"))]
            + [Fetched(url(f"{shard}-gone"), None)]
        )
    write_shards(work / "shards", shards)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


def samples(folder: Path) -> dict[str, bytes]:
    """The contents of all tars, by member."""
    found = {}  # type: ignore[var-annotated]
    for path in sorted(folder.glob("*.tar")):
        with tarfile.open(path) as tar:
            found |= {m.name: tar.extractfile(m).read() for m in tar}  # type: ignore[union-attr]
    return found


REQUEST = Request(
    uids=frozenset({pair_uid(url("0-3"), "first"), pair_uid(url("2-0"), "an image")}),
    urls=frozenset({url("2-3"), url("nowhere")}),
)


def test_only_the_shards_that_hold_a_named_pair_are_written_anew(tmp_path: Path) -> None:
    plant(tmp_path)
    before, whole = samples(tmp_path / "shards"), files(tmp_path / "shards")
    assert take_down(tmp_path, REQUEST) == Removal(shards=2, samples=2, captions=4)
    after, now = samples(tmp_path / "shards"), files(tmp_path / "shards")
    assert {name for name in whole if whole[name] == now[name]} == {"00001.tar", "00001.parquet"}
    assert set(before) - set(after) == {
        f"{key}.{s}" for key in ("000020000", "000020003") for s in ("jpg", "json", "txt")
    }
    assert {name for name in after if before[name] != after[name]} == {"000000003.json", "000000003.txt"}
    assert after["000000003.txt"] == b"second"


def test_manifest_counts_and_tables_follow(tmp_path: Path) -> None:
    plant(tmp_path)
    old = manifests.read(str(tmp_path / "shards"))
    take_down(tmp_path, REQUEST)
    new = manifests.read(str(tmp_path / "shards"))
    assert new.digest != old.digest
    assert [part.key for part in new.parts] == [part.key for part in old.parts]
    assert [part.rows for part in new.parts] == [4, 4, 2]
    assert new.parts[1] == old.parts[1]
    counts = new.counts
    assert (counts["in"], counts["kept"], counts["dropped.removed"], counts["dropped.http_404"]) == (15, 10, 2, 3)
    assert counts["removed_captions"] == 1
    for part in new.parts:
        for file in part.files:
            path = tmp_path / "shards" / file.name
            assert (path.stat().st_size, storage.sha256(path)) == (file.bytes, file.sha256)
    statuses = pq.read_table(tmp_path / "shards" / "00002.parquet")["status"].to_pylist()
    assert statuses.count("success") == new.parts[2].rows


def test_a_domain_goes_with_all_its_images(tmp_path: Path) -> None:
    plant(tmp_path)
    assert take_down(tmp_path, Request(domains=frozenset({"other.test"}))).samples == 3
    urls = [u for n in range(3) for u in pq.read_table(tmp_path / "shards" / f"0000{n}.parquet")["url"].to_pylist()]
    assert not [name for name in urls if "other" in name]
    assert urls.count("removed:") == 3


def test_the_log_says_what_went_by_what_when_why_and_from_where(tmp_path: Path) -> None:
    plant(tmp_path)
    take_down(tmp_path, REQUEST, "asked by mail")
    take_down(tmp_path, Request(urls=frozenset({url("1-0")})), "again")
    folder = tmp_path / "removed"
    assert json.loads((folder / "0000" / "request.json").read_text())["why"] == "asked by mail"
    rows = pq.read_table(folder / "0000" / "removed.parquet").to_pylist()
    told = {(row["url"], row["by"], row["shard"], row["key"], row["sample_gone"]) for row in rows}
    assert told == {
        (url("0-3"), "uid", "00000", "000000003", False),
        (url("2-0"), "uid", "00002", "000020000", True),
        (url("2-3"), "url", "00002", "000020003", True),
    }
    done = json.loads((folder / "0001" / "done.json").read_text())
    assert (done["samples"], done["captions"], done["shards"]) == (1, 1, 1)
    assert done["data"] == manifests.read(str(tmp_path / "shards")).digest


def test_a_request_that_names_nothing_of_the_shards_changes_nothing_and_is_remembered(tmp_path: Path) -> None:
    plant(tmp_path)
    before = files(tmp_path / "shards")
    assert take_down(tmp_path, Request(urls=frozenset({url("nowhere")}))) == Removal(0, 0, 0)
    assert files(tmp_path / "shards") == before
    assert (tmp_path / "removed" / "0000" / "request.parquet").exists()


def test_a_dry_run_writes_nothing(tmp_path: Path) -> None:
    plant(tmp_path)
    with run_in(tmp_path, dry_run=True) as run:
        remove(run, REQUEST, "")
    assert not (tmp_path / "removed").exists()


def test_without_shards_it_says_what_makes_them(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="build-dataset makes the shards"):
        take_down(tmp_path, REQUEST)


class Killed(BaseException):
    """Ends the process as far as the code can tell: nothing catches it."""


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """The files of shards/ before and after an undisturbed removal."""
    work = tmp_path_factory.mktemp("undisturbed")
    plant(work, 1)
    before = files(work / "shards")
    take_down(work, REQUEST)
    return before, files(work / "shards")


def test_after_a_kill_at_any_write_readers_find_the_old_the_new_or_no_manifest_and_the_next_command_ends_it(
    tmp_path: Path, outcome: tuple[dict[str, bytes], dict[str, bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = outcome
    seen = set()
    for moment in range(100):
        work = tmp_path / f"{moment}"
        plant(work, 1)
        left = moment
        with monkeypatch.context() as patch:
            for name in ("publish", "delete", "move"):
                real = getattr(storage, name)

                def counted(*arguments: object, real: Any = real) -> object:
                    nonlocal left
                    left -= 1
                    if left < 0:
                        raise Killed
                    return real(*arguments)

                patch.setattr(storage, name, counted)
            try:
                take_down(work, REQUEST)
            except Killed:
                pass
            else:
                break
        found = files(work / "shards")
        if "manifest.json" in found:
            state = "old" if found == old else "new"
            assert found in (old, new), moment
        else:
            state = "underway"
        seen.add(state)
        if (work / "removed" / "0000" / "request.parquet").exists():
            with run_in(work) as run:
                settle(run)
            assert files(work / "shards") == new, moment
            assert not (work / "removed" / "0001").exists()
    else:
        pytest.fail("it never ended")
    assert seen == {"old", "underway", "new"}


@pytest.mark.slow  # the command starts twice
def test_the_same_command_after_a_kill_ends_what_was_begun_and_asks_no_second_time(tmp_path: Path) -> None:
    plant(tmp_path)
    (tmp_path / "uids").write_text("\n".join(sorted(REQUEST.uids)))
    plain = tmp_path / "plain"
    plant(plain)
    take_down(plain, Request(uids=REQUEST.uids))
    command = ["-m", "pipelines", "remove", "demo", "--work", str(tmp_path), "--uids", str(tmp_path / "uids")]
    process = start(command, tmp_path / "log")
    wait_until(lambda: (tmp_path / "removed" / "0000" / "request.parquet").exists() or process.poll() is not None)
    kill(process.pid)
    process.wait()
    assert start(command, tmp_path / "log").wait(60) == 0
    assert samples(tmp_path / "shards") == samples(plain / "shards")


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with web.running() as number:
        yield number


@pytest.mark.slow
def test_what_was_removed_is_not_crawled_again(tmp_path: Path, port: int) -> None:
    """Neither by the same build, which finds all done, nor by one with other settings, which fetches everything."""
    crawl_run.prepare(str(tmp_path), [f"ok/{n}" for n in range(12)] + ["status/404"])
    here = ExecutorConfig(workers=1)
    made = crawl_run.crawl(str(tmp_path), port, here)
    gone = [f"{crawl_run.HOST}/ok/{n}" for n in (3, 4)]
    request = Request(frozenset({pair_uid(gone[0], "a cat")}), frozenset({gone[1], f"{crawl_run.HOST}/status/404"}))
    assert take_down(tmp_path, request).samples == 2
    after = crawl_run.content(str(tmp_path))
    again = crawl_run.crawl(str(tmp_path), port, here)
    assert crawl_run.content(str(tmp_path)) == after
    assert again.digest != made.digest
    assert again.counts["kept"] == made.counts["kept"] - 2
    larger = crawl_run.crawl(str(tmp_path), port, here, image_px=96)
    assert larger.counts["dropped.removed"] == 3
    rows = crawl_run.rows(str(tmp_path))
    assert [row["url"] for row in rows].count("removed:") == 3
    assert not {row["url"] for row in rows} & {*gone, f"{crawl_run.HOST}/status/404"}


@pytest.mark.slow  # a server has to start
def test_it_works_on_an_object_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = s3_server.running()
    server.use(monkeypatch)
    work = server.new_bucket() + "/work"
    plant(tmp_path)
    for name, data in files(tmp_path / "shards").items():
        storage.write_bytes(f"{work}/shards/{name}", data)
    assert take_down(work, REQUEST) == take_down(tmp_path, REQUEST)
    for name, data in files(tmp_path / "shards").items():
        assert storage.read_bytes(f"{work}/shards/{name}") == data
    assert not any(storage.list_sizes(f"{work}/removed/0000/staged"))  # the folder itself may be listed, nameless

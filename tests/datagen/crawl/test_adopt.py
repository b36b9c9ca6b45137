from __future__ import annotations

import hashlib
import json
import urllib.request
from pathlib import Path

import pyarrow as pa
import pytest

from datagen.crawl import adopt
from datagen.crawl.img2dataset_seams import slim_import
from helpers import crawl_run, web
from helpers.patience import patience
from openwit import manifest
from openwit.errors import ConfigError, InputError, WorkError
from openwit.executors.executor import ExecutorConfig
from openwit.log.events import Log
from openwit.run import Run
from pipelines.cli import main
from train.data.dataset import open_data_set


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that img2dataset wrote with its own fetching and resizing: 20 images, four failures, three shards."""
    with slim_import("img2dataset", without="torch", forget="webdataset"):
        from img2dataset.downloader import Downloader
        from img2dataset.resizer import Resizer
        from img2dataset.writer import WebDatasetSampleWriter

    folder = tmp_path_factory.mktemp("stock")
    (folder / "shards").mkdir()
    stock_downloader = Downloader(
        WebDatasetSampleWriter,
        Resizer(64, "border", False),
        thread_count=4,
        save_caption=True,
        extract_exif=False,
        output_folder=str(folder / "shards"),
        column_list=["url", "caption"],
        timeout=patience(5),
        number_sample_per_shard=8,
        oom_shard_count=5,
        compute_hash="sha256",
        verify_hash_type=None,
        encode_format="jpg",
        retries=0,
        user_agent_token=None,
        disallowed_header_directives=None,
    )
    urllib.request.install_opener(urllib.request.build_opener())
    with web.running() as port:
        paths = [f"ok/{n}" for n in range(20)] + ["status/404", "status/503", "html", "reset"]
        urls = [f"http://127.0.0.1:{port}/{path}" for path in paths]
        for index in range(3):
            few = urls[8 * index : 8 * index + 8]
            listing = folder / f"{index}.feather"
            with pa.OSFile(str(listing), "wb") as file:
                table = pa.table({"url": few, "caption": [f"image {n}" for n in range(8)]})
                with pa.ipc.new_file(file, table.schema) as writer:
                    writer.write_table(table)
            assert stock_downloader((index, str(listing)))[0]
    return folder


def work_of(stock: Path, folder: Path) -> Path:
    """A work folder with img2dataset's files in shards/."""
    (folder / "shards").mkdir(parents=True)
    for path in (stock / "shards").iterdir():
        (folder / "shards" / path.name).write_bytes(path.read_bytes())
    return folder


def adopted(work: Path) -> manifest.Manifest:
    with Run(str(work), "laptop", ExecutorConfig(workers=1), Log()) as run:
        return adopt.adopt(run)


@pytest.mark.slow
def test_a_folder_that_img2dataset_wrote_becomes_a_data_set_by_its_command(
    stock: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    work = work_of(stock, tmp_path / "work")
    files = {path.name: path.read_bytes() for path in (work / "shards").iterdir()}
    main(["adopt", "laptop", "--work", str(work), "--executor.workers", "1"])
    assert "adopted: 20 images in 3 shards" in capsys.readouterr().err
    made = manifest.read(str(work / "shards"))
    assert (made.counts["in"], made.counts["kept"], [part.rows for part in made.parts]) == (24, 20, [8, 8, 4])
    assert {name: made.counts[f"dropped.{name}"] for name in ("http_404", "http_503")} == {"http_404": 1, "http_503": 1}
    for part in made.parts:
        for file in part.files:
            assert file.sha256 == hashlib.sha256(files[file.name]).hexdigest()
            assert file.bytes == len(files[file.name])
    assert {path.name: path.read_bytes() for path in (work / "shards").iterdir() if path.name in files} == files
    assert open_data_set((str(work / "shards"),)).num_samples == 20
    main(["stats", "laptop", "--work", str(work), "--json"])
    shown = json.loads(capsys.readouterr().out)
    assert (shown["images"], shown["shards"], shown["failures"]["http_404"]) == (20, 3, 1)


@pytest.mark.slow
def test_a_crawl_does_not_touch_what_was_adopted(stock: Path, tmp_path: Path) -> None:
    work = work_of(stock, tmp_path / "work")
    adopted(work)
    crawl_run.prepare(str(work), ["ok/1"])
    with pytest.raises(ConfigError, match="was adopted from img2dataset and stays as it is"):
        crawl_run.crawl(str(work), 1, ExecutorConfig(workers=1))
    assert len(list((work / "shards").glob("*.tar"))) == 3


@pytest.mark.slow
def test_unfinished_shards_are_left_out_and_damaged_ones_are_named(stock: Path, tmp_path: Path) -> None:
    work = work_of(stock, tmp_path / "work")
    (work / "shards" / "00001_stats.json").unlink()
    assert [part.index for part in adopted(work).parts] == [0, 2]
    (work / "shards" / "00002.parquet").write_bytes(b"damaged")
    with pytest.raises(WorkError, match=r"1 of 2 shards cannot be adopted; 00002: .*cannot be read as parquet"):
        adopted(work)
    stats = work / "shards" / "00000_stats.json"
    stats.write_text(stats.read_text().replace('"successes": 8', '"successes": 7'))
    with pytest.raises(WorkError, match=r"2 of 2 shards .*counts 7 images of 8, the table 8 of 8"):
        adopted(work)


def test_a_folder_without_shards_or_of_our_own_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no shard that img2dataset finished"):
        adopted(tmp_path)
    crawl_run.prepare(str(tmp_path), [])
    manifest.write(str(tmp_path / "shards"), manifest.read(str(tmp_path / "selected")))
    with pytest.raises(ConfigError, match="has the manifest of openwit's own crawl already"):
        adopted(tmp_path)

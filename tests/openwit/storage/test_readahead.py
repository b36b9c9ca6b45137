from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import http.server
import io
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
from fsspec.asyn import get_loop

from helpers import flaky_proxy, s3_server
from helpers.patience import patience
from helpers.shards import write_shards
from openwit import storage
from openwit.errors import InputError, WorkError
from openwit.shards.samples import scan_tar
from openwit.storage.readahead import TarFiles

KB = 1 << 10


@pytest.fixture(autouse=True)
def _waits_are_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("openwit.storage.readahead.FIRST_WAIT_S", 0.02)


@pytest.fixture(scope="module")
def tar(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("data")
    write_shards(folder, [60], image_px=64)
    return (folder / "00000.tar").read_bytes()


@pytest.fixture
def on_s3(tar: bytes, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, flaky_proxy.Proxy]]:
    """The tar's URL in a bucket, read through a proxy that does not falter yet."""
    server = s3_server.running()
    server.use(monkeypatch)
    url = f"{server.new_bucket()}/00000.tar"
    storage.write_bytes(url, tar)
    with flaky_proxy.before(server.endpoint) as proxy:
        proxy.every = 1 << 30
        server.use(monkeypatch, proxy.endpoint)
        yield url, proxy


def own_threads() -> set[str]:
    """Names of the threads that are not the proxy's."""
    return {thread.name for thread in threading.enumerate() if "process_request_thread" not in thread.name}


def requests() -> list[str]:
    """The requests under way."""
    tasks = asyncio.all_tasks(get_loop())
    return [task.get_name() for task in tasks if getattr(task.get_coro(), "__name__", "") == "_patiently"]


def in_memory(content: bytes) -> str:
    """The URL of a file of a store that has no coroutines."""
    url = f"memory://remote-{time.monotonic_ns()}/00000.tar"
    with fsspec.open(url, "wb") as file:
        file.write(content)
    return url


def test_a_local_file_is_read_plainly_by_any_spelling(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"content")
    for url in (str(tmp_path / "a"), f"file://{tmp_path}/a"):
        with TarFiles(4 * KB, 0).open(url) as file:
            assert (file.read(), file.seekable()) == (b"content", True)
    with pytest.raises(InputError, match="b: no such file"):
        TarFiles(4 * KB, 0).open(str(tmp_path / "b"))
    with pytest.raises(InputError, match="cannot be read"):
        TarFiles(4 * KB, 0).open(str(tmp_path))


def test_a_store_without_coroutines_is_read_the_same_and_sought_in() -> None:
    content = os.urandom(100 * KB + 7)
    with TarFiles(16 * KB, 0, 4 * KB).open(in_memory(content)) as file:
        assert file.read(10) == content[:10]
        file.seek(90 * KB)
        assert file.read(5 * KB) == content[90 * KB : 95 * KB]
        file.seek(3)
        assert file.read() == content[3:]
        assert file.read(1) == b""


@pytest.mark.parametrize("start", [0, 1, 37, 59, 60])
def test_a_faltering_store_gives_the_samples_that_a_local_file_gives(
    tar: bytes, on_s3: tuple[str, flaky_proxy.Proxy], start: int
) -> None:
    url, proxy = on_s3
    proxy.every, proxy.kinds = 2, ("503", "cut", "500", "hang up")  # type: ignore[assignment]
    with TarFiles(32 * KB, 30, 8 * KB).open(url) as file:
        assert list(scan_tar(file, start)) == list(scan_tar(io.BytesIO(tar), start))
    assert {"GET 503", "GET cut", "GET 500", "GET hang up"} <= set(proxy.refused)


def test_what_is_fetched_ahead_has_a_bound(on_s3: tuple[str, flaky_proxy.Proxy]) -> None:
    url, proxy = on_s3
    with TarFiles(32 * KB, 30, 8 * KB).open(url) as file:
        file.read(100)
        while proxy.number["GET"] < 4:
            time.sleep(0.01)
        file.read(100)
        time.sleep(0.2)
        assert proxy.number["GET"] == 4


def test_an_outage_longer_than_the_patience_ends_the_reading_and_names_the_file(
    on_s3: tuple[str, flaky_proxy.Proxy],
) -> None:
    url, proxy = on_s3
    with TarFiles(16 * KB, 0.3, 8 * KB).open(url) as file:
        file.read(8 * KB)
        proxy.every, proxy.kinds = 1, ("503",)  # type: ignore[assignment]
        with pytest.raises(WorkError, match=rf"{url}: cannot be read, tried for 0\.3 s \(.*the same command goes on"):
            file.read()
    with pytest.raises(WorkError, match=url):
        TarFiles(16 * KB, 0.3, 8 * KB).open(url)
    tries = proxy.refused["HEAD 503"]
    with pytest.raises(WorkError, match=url):
        TarFiles(16 * KB, 0, 8 * KB).open(url)
    assert 3 <= tries <= 6  # 0.3 s hold four pauses at most: they double from 10 ms, the shortest first one
    assert proxy.refused["HEAD 503"] == tries + 1


def test_a_store_that_is_not_there_at_all_is_an_outage_too(monkeypatch: pytest.MonkeyPatch) -> None:
    s3_server.S3Server("http://127.0.0.1:9").use(monkeypatch)
    with pytest.raises(WorkError, match=r"s3://bucket/a\.tar: cannot be read, tried for 0\.1 s"):
        TarFiles(16 * KB, 0.1).open("s3://bucket/a.tar")


def test_a_tar_that_the_store_does_not_have_is_missing_and_no_outage(on_s3: tuple[str, flaky_proxy.Proxy]) -> None:
    url, _ = on_s3
    with pytest.raises(InputError, match=r"gone\.tar: no such file"):
        TarFiles(16 * KB, 30).open(url.replace("00000", "gone"))
    with pytest.raises(InputError, match="is a folder, a tar is expected"):
        TarFiles(16 * KB, 30).open(url.rpartition("/")[0])


def test_a_tar_that_vanishes_while_it_is_read_is_missing(on_s3: tuple[str, flaky_proxy.Proxy]) -> None:
    url, _ = on_s3
    with TarFiles(16 * KB, 30, 8 * KB).open(url) as file:
        file.read(100)
        storage.delete(url)
        with pytest.raises(InputError, match="no such file"):
            file.read()


def test_refused_credentials_are_told_at_once_without_the_secret(
    on_s3: tuple[str, flaky_proxy.Proxy], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, proxy = on_s3
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong-and-secret")
    with pytest.raises(WorkError, match=rf"{url}: its store refuses access .*set credentials") as caught:
        TarFiles(16 * KB, 1e6).open(url)
    assert "wrong-and-secret" not in str(caught.value)
    assert proxy.number["HEAD"] == 1


class Web(http.server.BaseHTTPRequestHandler):
    """Answers every request with the status that its path names."""

    def do_GET(self) -> None:
        self.send_response(int(self.path.strip("/").removesuffix(".tar")))
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_HEAD = do_GET

    def log_message(self, *_: object) -> None:
        """Quiet."""


def test_over_http_too_missing_refused_and_failing_are_told_apart() -> None:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Web)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    files = TarFiles(16 * KB, 0.1)
    try:
        for status, kind, said in ((404, InputError, "no such file"), (410, InputError, "no such file"),
                                   (403, WorkError, "refuses access"), (503, WorkError, "tried for")):  # fmt: skip
            with pytest.raises(kind, match=said):
                files.open(f"http://127.0.0.1:{server.server_port}/{status}.tar")
    finally:
        server.shutdown()
        server.server_close()


def test_closing_ends_all_waiting_at_once_and_no_more_begins(on_s3: tuple[str, flaky_proxy.Proxy]) -> None:
    url, proxy = on_s3
    files = TarFiles(16 * KB, 1e6, 8 * KB)
    file = files.open(url)
    proxy.every, proxy.kinds = 1, ("503",)  # type: ignore[assignment]
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(file.read, 100), pool.submit(files.open, url)]
        while proxy.refused["GET 503"] < 2 or proxy.refused["HEAD 503"] < 2:
            time.sleep(0.01)
        files.close()
        for future in waiting:
            with pytest.raises(concurrent.futures.CancelledError):
                future.result(timeout=patience(20))  # type: ignore[attr-defined]
    with pytest.raises(concurrent.futures.CancelledError):
        files.open(url)


def test_a_reader_dropped_in_the_middle_leaves_no_request_and_no_thread(on_s3: tuple[str, flaky_proxy.Proxy]) -> None:
    url, proxy = on_s3
    files = TarFiles(64 * KB, 1e6, 8 * KB)
    before = own_threads()
    file = files.open(url)
    file.read(1)
    while requests():  # what is ahead has come
        time.sleep(0.01)
    proxy.every, proxy.kinds = 1, ("503",)  # type: ignore[assignment]
    while not requests():
        file.read(KB)  # of what has come; each block that is passed asks for another
        time.sleep(0.01)
    del file
    gc.collect()
    while requests():  # they would not end by themselves
        time.sleep(0.01)
    assert not files._waiting
    assert own_threads() - before <= {"fsspecIO"}

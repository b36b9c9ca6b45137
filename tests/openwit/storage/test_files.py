from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import subprocess
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fsspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers import flaky_proxy, s3_server
from helpers.processes import kill, start, wait_until
from openwit import storage
from openwit.errors import InputError, OpenwitError, WorkError

WRITER = """
import sys
from openwit import storage
url, size = sys.argv[1], int(sys.argv[2])
round = 0
while True:
    round += 1
    storage.write_bytes(url, bytes([round % 256]) * size)
"""


@pytest.fixture(params=["local", "file", "memory"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return {"local": str(tmp_path), "file": f"file://{tmp_path}", "memory": f"memory://{uuid.uuid4().hex}"}[
        request.param
    ]


def test_a_file_is_created_only_where_there_is_none(folder: str) -> None:
    url = storage.join(folder, "lock")
    assert storage.create(url, b"one")
    assert not storage.create(url, b"two")
    assert storage.read_bytes(url) == b"one"
    storage.delete(url)
    assert storage.create(url, b"three")


def test_of_many_who_create_an_object_at_once_one_succeeds(monkeypatch: pytest.MonkeyPatch) -> None:
    server = s3_server.running()
    server.use(monkeypatch)
    url = f"{server.new_bucket()}/deep/lock"
    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(lambda n: storage.create(url, f"{n}".encode()), range(24)))
    assert sum(made) == 1
    assert storage.read_bytes(url) == f"{made.index(True)}".encode()
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    with pytest.raises(WorkError, match="cannot be written"):
        storage.create(f"{url}-too", b"")


def test_what_is_written_is_read_listed_and_deleted_at_every_kind_of_url(folder: str) -> None:
    url = storage.join(folder, "deep", "a.bin")
    assert not storage.exists(url)
    assert storage.list_sizes(storage.join(folder, "deep")) == {}
    storage.write_bytes(url, b"one")
    storage.write_bytes(url, b"three")
    storage.write_json(storage.join(folder, "deep", "b.json"), {"b": 1, "a": "ü"})
    assert storage.read_bytes(url) == b"three"
    assert storage.read_json(storage.join(folder, "deep", "b.json")) == {"a": "ü", "b": 1}
    assert list(storage.list_sizes(storage.join(folder, "deep")).items()) == [("a.bin", 5), ("b.json", 26)]
    storage.delete(url)
    storage.delete(url)
    assert not storage.exists(url)


def test_a_tree_is_listed_with_marks_that_follow_the_content(folder: str) -> None:
    assert storage.list_tree(storage.join(folder, "tree")) == {}
    for name in ("b.bin", "deep/er/a.bin"):
        storage.write_bytes(storage.join(folder, "tree", name), b"12345")
    before = storage.list_tree(storage.join(folder, "tree"))
    assert list(before) == ["b.bin", "deep/er/a.bin"]
    storage.write_bytes(storage.join(folder, "tree", "b.bin"), b"123456")
    after = storage.list_tree(storage.join(folder, "tree"))
    assert [before[name] == after[name] for name in before] == [False, True]


def test_the_identity_of_an_outside_file_follows_its_content(folder: str) -> None:
    url = storage.join(folder, "x.bin")
    storage.write_bytes(url, b"one")
    before = storage.identity(url)
    assert storage.identity(url) == before
    storage.write_bytes(url, b"two")
    assert storage.identity(url) != before


def test_the_identity_of_a_large_file_follows_its_size_where_its_time_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage.files, "HASHED_BYTES", 1)  # as if larger than what is hashed
    path = tmp_path / "x.bin"
    found = []
    for data in (b"one", b"three"):
        path.write_bytes(data)
        os.utime(path, (7, 7))
        found.append(storage.identity(str(path)))
    assert found[0] != found[1]


@pytest.mark.parametrize("read", [storage.read_bytes, storage.read_json, storage.open_input, storage.identity])
def test_a_missing_file_is_one_line_that_names_it(folder: str, read: object) -> None:
    assert callable(read)
    with pytest.raises(InputError) as caught:
        read(storage.join(folder, "none.bin"))
    assert str(caught.value) == f"{storage.join(folder, 'none.bin')}: no such file"


def test_a_folder_in_a_files_place_is_named(tmp_path: Path) -> None:
    for read in (storage.read_bytes, storage.identity):
        with pytest.raises(InputError, match=f"^{tmp_path}: .*(folder|directory)"):
            read(str(tmp_path))


@pytest.mark.parametrize("url", ["nosuch://x/y", "s3//x/../\0", "gs://bucket/x"])
def test_a_url_that_cannot_be_opened_is_one_line(url: str) -> None:
    with pytest.raises(OpenwitError) as caught:
        storage.read_bytes(url)
    assert url.split("\0")[0] in str(caught.value)


@given(st.binary(max_size=40))
def test_what_is_no_json_is_refused_in_one_line(data: bytes) -> None:
    url = "memory://garbage.json"
    storage.write_bytes(url, data)
    with contextlib.suppress(ValueError):
        json.loads(data)
        return
    with pytest.raises(InputError) as caught:
        storage.read_json(url)
    assert str(caught.value).startswith(f"{url}: is not JSON")
    assert len(str(caught.value).splitlines()) == 1


def test_listing_sees_what_another_process_wrote_meanwhile(tmp_path: Path) -> None:
    assert storage.list_sizes(str(tmp_path)) == {}
    subprocess.run(["touch", str(tmp_path / "new")], check=True)
    assert storage.list_sizes(str(tmp_path)) == {"new": 0}


def test_relative_paths_are_made_absolute_and_other_urls_stay(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert storage.absolute("runs/demo") == str(tmp_path / "runs" / "demo")
    assert storage.absolute("s3://bucket/a") == "s3://bucket/a"


def test_a_scratch_folder_is_gone_afterwards_with_what_was_in_it(folder: str) -> None:
    with storage.scratch_folder(folder) as scratch:
        (scratch / "part").write_text("x")
        assert scratch.is_dir()
    assert not scratch.exists()


@pytest.mark.slow
def test_a_reader_never_sees_a_part_of_a_file_though_its_writer_is_killed(tmp_path: Path) -> None:
    url, size = str(tmp_path / "data.bin"), 1 << 22
    for _ in range(3):
        writer = start(["-c", WRITER, url, str(size)], tmp_path / "log.txt")
        wait_until(lambda: Path(url).exists())
        for _ in range(20):
            data = storage.read_bytes(url)
            assert len(data) == size
            assert len(set(data)) == 1
        kill(writer.pid)
        writer.wait()
        data = storage.read_bytes(url)
        assert len(data) == size
        assert len(set(data)) == 1
    assert list(storage.list_sizes(str(tmp_path))) == ["data.bin", "log.txt"]
    storage.clear_scratch(str(tmp_path))
    assert not (tmp_path / storage.SCRATCH).exists()


def test_publishing_moves_the_file(folder: str, tmp_path: Path) -> None:
    source = tmp_path / "source.bin"
    source.write_bytes(b"data")
    storage.publish(source, storage.join(folder, "there", "x.bin"))
    assert storage.read_bytes(storage.join(folder, "there", "x.bin")) == b"data"
    assert not source.exists()


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.ENOSPC, "no space left on the disk"),
        (errno.EDQUOT, "no space left on the disk"),
        *[
            (number, "cannot be written")
            for number in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR)
        ],
    ],
)
def test_what_only_the_user_can_help_is_a_work_error(number: int, message: str) -> None:
    with pytest.raises(WorkError, match=f"^x: {message}"), storage.writing("x"):
        raise OSError(number, os.strerror(number))


@pytest.mark.parametrize("number", sorted({errno.EIO, errno.EAGAIN, errno.ENOENT, errno.EMFILE, errno.ESTALE}))
def test_what_may_pass_is_tried_again(number: int) -> None:
    with pytest.raises(OSError, match=re.escape(os.strerror(number))), storage.writing("x"):
        raise OSError(number, os.strerror(number))


def test_a_folder_that_is_a_file_cannot_be_written_to_and_the_error_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(WorkError, match=r"^.*/file: cannot be written|^.*/file/a: cannot be written"):
        storage.write_bytes(str(tmp_path / "file" / "a"), b"")


def test_a_full_disk_is_one_line_and_the_old_content_stays(small_disk: Path) -> None:
    url = str(small_disk / "a.bin")
    storage.write_bytes(url, b"old")
    with pytest.raises(WorkError) as caught:
        storage.write_bytes(url, b"\1" * (2 << 20))
    assert str(caught.value) == f"{url}: no space left on the disk; free some and run the same command again"
    assert storage.read_bytes(url) == b"old"
    assert storage.list_sizes(str(small_disk)) == {"a.bin": 3}


def test_every_local_spelling_is_local_and_no_other_is() -> None:
    assert [storage.is_local(url) for url in ("a/b", "/a", "file:///a", "local:///a")] == [True] * 4
    assert not any(storage.is_local(url) for url in ("s3://a/b", "memory://a", "https://a/b"))
    assert isinstance(fsspec.filesystem("local"), fsspec.AbstractFileSystem)


@pytest.mark.slow
def test_an_object_store_that_falters_gets_every_file_whole_also_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    server = s3_server.running()
    large = bytes(range(256)) * 430_000  # sent in three parts
    with flaky_proxy.before(server.endpoint) as proxy:
        server.use(monkeypatch, proxy.endpoint)
        folder = f"{server.new_bucket()}/a"
        for number in range(8):
            storage.write_bytes(f"{folder}/{number}", b"%d" % number)
        storage.write_bytes(f"{folder}/large", large)
        assert storage.list_sizes(folder) == {**{str(number): 1 for number in range(8)}, "large": len(large)}
        assert storage.read_bytes(f"{folder}/large") == large
        assert [storage.read_bytes(f"{folder}/{number}") for number in range(8)] == [b"%d" % n for n in range(8)]
        assert sum(proxy.refused.values()) >= 3
        storage.delete(f"{folder}/3")
        assert not storage.exists(f"{folder}/3")


@pytest.mark.slow
def test_an_object_store_that_refuses_the_key_is_named_without_the_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    server = s3_server.running()
    folder = server.new_bucket()
    server.use(monkeypatch)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong-and-secret")
    with pytest.raises(WorkError, match=r"s3://.*/x: cannot be written \(.*\); give a folder that can") as caught:
        storage.write_bytes(f"{folder}/x", b"x")
    assert "wrong-and-secret" not in str(caught.value)


def test_a_moved_file_stands_at_the_other_url_alone(folder: str) -> None:
    source, target = storage.join(folder, "staged", "a.bin"), storage.join(folder, "deep", "b.bin")
    storage.write_bytes(source, b"new")
    storage.write_bytes(target, b"old")
    storage.move(source, target)
    assert storage.read_bytes(target) == b"new"
    assert not storage.exists(source)


def test_a_folder_is_copied_here_whole_and_the_copy_of_a_remote_one_goes(folder: str) -> None:
    storage.write_bytes(storage.join(folder, "model", "deep", "one"), b"1")
    storage.write_bytes(storage.join(folder, "model", "two"), b"2")
    with storage.local_copy(storage.join(folder, "model")) as copy:
        assert (copy.name, (copy / "deep" / "one").read_bytes(), (copy / "two").read_bytes()) == ("model", b"1", b"2")
    assert copy.exists() == storage.is_local(folder)
    with storage.local_copy(storage.join(folder, "model", "two")) as copy:
        assert copy.read_bytes() == b"2"


def test_a_missing_remote_file_is_named_when_it_is_to_be_copied() -> None:
    with (
        pytest.raises(InputError, match=r"memory://nothing/here: no such file"),
        storage.local_copy("memory://nothing/here"),
    ):
        pass


def test_a_deleted_folder_is_gone_with_all_in_it_and_may_be_missing(folder: str) -> None:
    storage.write_bytes(storage.join(folder, "doomed", "deep", "one"), b"1")
    storage.write_bytes(storage.join(folder, "other"), b"2")
    for _ in range(2):
        storage.delete_tree(storage.join(folder, "doomed"))
        assert not storage.exists(storage.join(folder, "doomed", "deep", "one"))
    assert storage.exists(storage.join(folder, "other"))

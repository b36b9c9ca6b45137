from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch

from helpers import flaky_proxy, s3_server
from helpers.shards import rewritten, write_exclusions, write_shards
from helpers.training import CONFIG, batch_loader
from openwit import storage
from openwit.config import override
from openwit.errors import ConfigError, WorkError
from train.data.batches import Cursor
from train.data.dataset import open_data_set
from train.mixture import Entry, parse_entry

NUM_STEPS = 12
START = Cursor()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_shards(folder, [9, 14, 12])
    with rewritten(folder / "00001.tar") as members:
        members["000010005.jpg"] = b"broken"
        del members["000010007.txt"], members["000010007.json"]
    return folder


@pytest.fixture
def mixture(data: Path, tmp_path: Path) -> Any:
    """The data one and a half times an epoch, with others a third of a time, all of it local."""
    write_shards(tmp_path / "other", [0, 0, 0, 8, 13])
    return f"{data}=1.5", f"{tmp_path / 'other'}=0.3333"


def parts(data: Any, num_ranks: int, start: Cursor = START, num_steps: int = NUM_STEPS, exclusions: Any = "") -> Any:
    """The batches of each rank."""
    data_set = open_data_set(data if isinstance(data, tuple) else (str(data),), exclusions)
    made = []
    for rank in range(num_ranks):
        with batch_loader(data_set, CONFIG, rank, num_ranks, start) as batches:
            made.append([next(batches) for _ in range(num_steps)])
    return made


def by_key(ranks: Any, step: int) -> Any:
    """All pairs of a global batch, sorted; a mixture may have a key twice."""
    return sorted(
        (key, batch.inputs[0][i].numpy().tobytes(), batch.inputs[1][i].tolist())
        for batch in (rank[step] for rank in ranks)
        for i, key in enumerate(batch.keys)
    )


def on_s3(entries: Any, bucket: Any) -> Any:
    """The entries with their folders copied to the bucket."""
    moved = []
    for number, entry in enumerate(map(parse_entry, entries)):
        for path in Path(entry.folder).iterdir():
            if path.is_file():
                storage.write_bytes(f"{bucket}/{number}/{path.name}", path.read_bytes())
        moved.append(str(Entry(f"{bucket}/{number}", entry.passes)))
    return tuple(moved)


def whole_cursor(ranks: Any, step: int) -> Any:
    lanes = {lane: at for rank in ranks for lane, at in rank[step].cursor.lanes.items()}
    return msgspec.json.decode(msgspec.json.encode(Cursor(ranks[0][step].cursor.step, lanes)), type=Cursor)


def test_a_batch_has_the_shapes_of_the_config_and_says_where_it_stands(data: Path) -> None:
    ((batch, *_),) = parts(data, 1, num_steps=1)
    assert batch.inputs[0].shape == (8, 3, 16, 16)
    assert batch.inputs[0].dtype == torch.uint8
    assert batch.inputs[1].shape == (8, 16)
    assert batch.cursor.step == 1
    assert sorted(batch.cursor.lanes) == [0, 1, 2, 3]


@pytest.mark.parametrize("num_ranks", [2, 4])
def test_any_number_of_ranks_sees_the_same_global_batches(data: Path, num_ranks: int) -> None:
    one, many = parts(data, 1), parts(data, num_ranks)
    for step in range(NUM_STEPS):
        assert by_key(one, step) == by_key(many, step)
        assert whole_cursor(one, step) == whole_cursor(many, step)


def test_the_order_of_one_data_set_never_moves(tmp_path: Path) -> None:
    write_shards(tmp_path, [9, 14, 12])
    (batches,) = parts(tmp_path, 1)
    first = "000010004 000010002 000010010 000010011 000000003 000000006 000020006 000020003"
    assert " ".join(batches[0].keys) == first
    keys = " ".join(key for batch in batches for key in batch.keys)
    assert [batch.epoch for batch in batches] == [0] * 4 + [1] * 4 + [2] * 4
    assert hashlib.sha256(keys.encode()).hexdigest()[:16] == "3ef073025e93b6d8"


def test_a_mixture_uses_each_data_set_as_often_as_it_says_and_copies_draw_anew(tmp_path: Path) -> None:
    write_shards(tmp_path / "one", [9, 14, 12])
    write_shards(tmp_path / "other", [0, 0, 0, 8, 13])
    (batches,) = parts((f"{tmp_path}/one=1.5", f"{tmp_path}/other=0.3333"), 1, num_steps=40)
    assert {batch.epoch for batch in batches} == set(range(6))
    uses, pairs = Counter(), {}  # type: ignore[var-annotated]
    for batch in batches[:35]:  # five epochs
        for key, pixels, tokens in by_key([[batch]], 0):
            uses[key[4] in "34"] += 1
            pairs.setdefault((batch.epoch, key), []).append((pixels, tokens))
    assert uses[True] / uses.total() == pytest.approx(21 / 3 / (35 * 1.5 + 21 / 3), abs=0.05)
    twice = [made for made in pairs.values() if len(made) > 1]
    assert {len(made) for made in pairs.values()} == {1, 2}
    assert sum(one != other for one, other in twice) > len(twice) / 2


@pytest.mark.slow
def test_a_mixture_on_a_faltering_store_goes_on_with_2_4_and_1_ranks_as_local_files_do(
    mixture: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = s3_server.running()
    server.use(monkeypatch)
    moved = on_s3(mixture, server.new_bucket())
    monkeypatch.setattr("openwit.storage.readahead.FIRST_WAIT_S", 0.02)
    whole = parts(mixture, 1, num_steps=8)
    with flaky_proxy.before(server.endpoint) as proxy:
        proxy.every, proxy.kinds = 5, (*flaky_proxy.KINDS, "cut")  # type: ignore[assignment]
        server.use(monkeypatch, proxy.endpoint)
        done, cursor = 0, START
        for num_ranks, num_steps in ((2, 3), (4, 2), (1, 3)):
            ranks = parts(moved, num_ranks, cursor, num_steps)
            for step in range(num_steps):
                assert by_key(ranks, step) == by_key(whole, done + step)
            done, cursor = done + num_steps, whole_cursor(ranks, num_steps - 1)
    assert cursor == whole_cursor(whole, 7)
    assert sum(proxy.refused.values()) >= 5


@contextmanager
def on_a_failing_store(data: Path, monkeypatch: pytest.MonkeyPatch, kind: Any) -> Iterator[Any]:
    """The data set, and the proxy that lets no request through."""
    server = s3_server.running()
    server.use(monkeypatch)
    data_set = open_data_set(on_s3((str(data),), server.new_bucket()))
    with flaky_proxy.before(server.endpoint) as proxy:
        proxy.every, proxy.kinds = 1, (kind,)  # type: ignore[assignment]
        server.use(monkeypatch, proxy.endpoint)
        yield data_set, proxy


def test_leaving_while_a_store_fails_does_not_wait_for_its_patience_to_end(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with on_a_failing_store(data, monkeypatch, "503") as (data_set, proxy):
        with batch_loader(data_set, override(CONFIG, {"stream.remote_patience_s": "1e6"}), 0, 1, Cursor()) as batches:
            while not proxy.refused:
                time.sleep(0.01)
        assert not batches._prefetcher.thread.is_alive()


def test_an_outage_ends_the_training_where_the_batch_is_wanted(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with on_a_failing_store(data, monkeypatch, "hang up") as (data_set, _):
        hasty = override(CONFIG, {"stream.remote_patience_s": "0.3"})
        with (
            batch_loader(data_set, hasty, 0, 1, Cursor()) as batches,
            pytest.raises(
                WorkError, match=r"s3://.*\.tar: cannot be read, tried for 0\.3 s .* the same command goes on"
            ),
        ):
            next(batches)


def test_a_sample_comes_at_most_once_an_epoch(tmp_path: Path) -> None:
    write_shards(tmp_path, [9, 14, 12])
    (batches,) = parts(tmp_path, 1)
    seen: dict[int, list[str]] = {}
    for batch in batches:
        seen.setdefault(batch.epoch, []).extend(batch.keys)
    assert len(seen) == 3
    for keys in seen.values():
        assert len(keys) == len(set(keys))


@pytest.mark.slow
def test_it_goes_on_from_any_step_on_another_number_of_ranks(data: Path) -> None:
    whole = parts(data, 2)
    for done in (3, 4, 9):
        rest = parts(data, 4, whole_cursor(whole, done - 1), NUM_STEPS - done)
        for step in range(NUM_STEPS - done):
            assert by_key(rest, step) == by_key(whole, done + step)


def test_damage_is_named_and_counted_and_exclusions_hold(data: Path, tmp_path: Path) -> None:
    excluded = {f"00000000{n}" for n in range(3)}
    uids = [f"{key}-{c}" for key in excluded for c in range(3)]
    (batches,) = parts(data, 1, exclusions=write_exclusions(tmp_path / "x.parquet", uids))
    assert not excluded & {key for batch in batches for key in batch.keys}
    notices = {notice.split(":")[0] for batch in batches for notice in batch.notices}
    assert notices == {"000010005", "000010007"}
    reasons = {reason for at in batches[-1].cursor.lanes.values() for reason in at.skipped}
    assert {"excluded", "image", "text"} <= reasons


def test_a_data_set_smaller_than_a_batch_is_refused(tmp_path: Path) -> None:
    write_shards(tmp_path, [7])
    with pytest.raises(ConfigError, match="write 4 or less"):
        parts(tmp_path, 1)


def test_what_goes_wrong_in_the_reading_thread_is_raised_where_the_batch_is_wanted(tmp_path: Path) -> None:
    write_shards(tmp_path, [8, 8])
    for name in ("00000.tar", "00001.tar"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(WorkError, match="none of the 4 samples"):
        parts(tmp_path, 1)


def test_more_threads_or_a_cache_change_nothing(data: Path) -> None:
    data_set = open_data_set((str(data),))
    changes = {"stream.threads": "1", "stream.read_ahead": "1", "stream.cache_decoded_mb": "5"}
    with batch_loader(data_set, override(CONFIG, changes), 0, 1, Cursor()) as batches:
        made = [[next(batches) for _ in range(NUM_STEPS)]]
    expected = parts(data, 1)
    assert all(by_key(made, step) == by_key(expected, step) for step in range(NUM_STEPS))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_what_a_gpu_fetches_lies_in_memory_that_it_can_fetch_from_beside_its_work(data: Path) -> None:
    with batch_loader(open_data_set((str(data),)), CONFIG, 0, 1, Cursor(), "cuda") as batches:
        batch = next(batches)
    assert all(part.is_pinned() for part in batch.inputs)
    assert by_key([[batch]], 0) == by_key(parts(data, 1, num_steps=1), 0)

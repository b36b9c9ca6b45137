from __future__ import annotations

import io
import json
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.floor import SIEVE, Bench, SieveConfig, contents, sieve
from helpers.in_process import InProcess
from openwit import manifest as manifests
from openwit import stage as stages
from openwit import storage
from openwit.config import Free
from openwit.errors import InputError, WorkError
from openwit.executors.executor import ExecutorConfig, Failure
from openwit.log import events as logs
from openwit.log.events import InFlight
from openwit.stage import Input, Source, Stage, Target, check_counts, partition_key

T = TypeVar("T")
R = TypeVar("R")
ALL = dict.fromkeys(range(5), 1)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "bench").prepare()


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def plan_of(bench: Bench, out: Path) -> stages.Plan[SieveConfig]:
    return stages.plan(SIEVE, bench.config(), bench.sources(), str(out))


def test_every_partition_is_published_with_a_sidecar_that_vouches_for_it(bench: Bench, out: Path) -> None:
    manifest = bench.run(out)
    assert manifest.counts == {"in": 250, "kept": manifest.rows, "dropped.multiple": 250 - manifest.rows}
    for part in manifest.parts:
        (file,) = part.files
        path = out / file.name
        assert path.stat().st_size == file.bytes
        assert storage.sha256(path) == file.sha256
        sidecar = json.loads((out / f"{part.index:05d}.json").read_text())
        assert sidecar["key"] == part.key
        assert sidecar["seconds"] >= 0
        assert (out / f"{part.index:05d}_times.txt").exists()
    assert manifests.read(str(out)) == manifest
    assert not (out / storage.SCRATCH).exists()


def test_what_is_done_is_not_redone(bench: Bench, out: Path) -> None:
    first = bench.run(out)
    assert bench.tries() == ALL
    assert bench.run(out) == first
    assert bench.tries() == {}


def test_a_changed_input_redoes_its_partition_only(bench: Bench, out: Path) -> None:
    before = bench.run(out)
    bench.tries()
    bench.write_input(2, range(1000, 1010))
    after = bench.run(out)
    assert bench.tries() == {2: 1}
    assert after.inputs != before.inputs
    assert [a == b for a, b in zip(after.parts, before.parts, strict=True)] == [True, True, False, True, True]
    assert contents(out) == fresh(bench, out)


def fresh(bench: Bench, out: Path) -> dict[str, bytes]:
    """What the bench gives in a folder that never held anything."""
    bench.run(out.parent / "fresh")
    return contents(out.parent / "fresh")


def test_a_changed_config_or_version_redoes_everything(bench: Bench, out: Path) -> None:
    bench.run(out)
    bench.tries()
    bench.run(out, bench.config(modulus=5))
    assert bench.tries() == ALL
    bench.run(out, bench.config(modulus=5), replace(SIEVE, version=2))
    assert bench.tries() == ALL
    bench.run(out)
    assert bench.tries() == ALL
    assert contents(out) == fresh(bench, out)


def test_partitions_that_no_longer_belong_are_removed(bench: Bench, out: Path) -> None:
    bench.run(out)
    (out / "README").write_text("of the user")
    for index in (1, 4):
        (bench.root / "in" / f"{index}.txt").unlink()
    assert [part.index for part in bench.run(out).parts] == [0, 2, 3]
    names = {path.name for path in out.iterdir() if path.is_file()}
    assert names == {f"0000{i}{suffix}" for i in (0, 2, 3) for suffix in (".txt", ".json", "_times.txt")} | {
        "manifest.json",
        "README",
    }


@pytest.mark.parametrize(
    "damage",
    [
        lambda out: (out / "00003.json").write_bytes(b""),
        lambda out: (out / "00003.json").write_bytes(b'{"index": 3, "key": "\xff'),
        lambda out: (out / "00003.json").write_bytes(b"[]"),
        lambda out: (out / "00003.json").write_bytes((out / "00002.json").read_bytes()),
        lambda out: (out / "00003.json").unlink(),
        lambda out: (out / "00003.txt").unlink(),
        lambda out: (out / "00003.txt").write_bytes(b"short"),
    ],
    ids=["empty", "torn", "other", "copied", "no sidecar", "no file", "another size"],
)
def test_a_damaged_partition_is_redone_and_no_other(bench: Bench, out: Path, damage: object) -> None:
    bench.run(out)
    whole = contents(out)
    bench.tries()
    assert callable(damage)
    damage(out)
    bench.run(out)
    assert bench.tries() == {3: 1}
    assert contents(out) == whole


def test_a_damaged_or_missing_manifest_is_written_anew_without_work(bench: Bench, out: Path) -> None:
    bench.run(out)
    whole = contents(out)
    bench.tries()
    for data in (b"", None):
        (out / "manifest.json").unlink() if data is None else (out / "manifest.json").write_bytes(data)
        assert not stages.is_complete(plan_of(bench, out))
        bench.run(out)
        assert contents(out) == whole
    assert stages.is_complete(plan_of(bench, out))
    assert bench.tries() == {}


def test_a_failing_partition_is_tried_again_then_named_after_the_rest_has_finished(bench: Bench, out: Path) -> None:
    with bench.signal("fail-1"), bench.signal("fail-3"), pytest.raises(WorkError) as caught:
        bench.run(out, executor=ExecutorConfig(attempts=2))
    assert str(caught.value) == (
        "sieve: 2 of 5 partitions failed (00001, 00003); 00001: RuntimeError: first line second line; "
        "the same command tries them again"
    )
    assert bench.tries() == {0: 1, 1: 2, 2: 1, 3: 2, 4: 1}
    events = [json.loads(line) for line in (bench.root / "log.jsonl").read_text().splitlines()]
    failed = [event for event in events if event["event"] == "partition_failed"]
    assert sorted(event["partition"] for event in failed) == [1, 3]
    assert all("in _obey" in event["traceback"] for event in failed)
    assert not (out / "manifest.json").exists()
    assert not (out / "00001.json").exists()
    bench.run(out)
    assert bench.tries() == {1: 1, 3: 1}
    assert contents(out) == fresh(bench, out)


def test_counts_that_do_not_add_up_fail_the_partition_and_publish_nothing(bench: Bench, out: Path) -> None:
    with bench.signal("miscount-0"), pytest.raises(WorkError, match=r"00000: counts do not add up: in=50, kept=\d+"):
        bench.run(out)
    assert bench.tries()[0] == 1
    assert not any(path.name.startswith("00000") for path in out.iterdir())


@given(st.dictionaries(st.sampled_from(["dropped.a", "dropped.b", "kept", "x"]), st.integers(0, 100)), st.integers())
def test_counts_add_up_exactly_when_in_is_kept_plus_dropped(counts: dict[str, int], difference: int) -> None:
    total = sum(number for name, number in counts.items() if name != "x")
    check_counts(Counter({**counts, "in": total}))
    if difference:
        with pytest.raises(WorkError):
            check_counts(Counter({**counts, "in": total + difference}))


def test_while_partitions_are_redone_no_manifest_and_no_stale_file_vouches_for_them(bench: Bench, out: Path) -> None:
    bench.run(out)
    with bench.signal("fail-2"), pytest.raises(WorkError):
        bench.run(out, bench.config(modulus=7), executor=ExecutorConfig(attempts=1))
    assert not (out / "manifest.json").exists()
    assert not (out / "00002.txt").exists()


def test_a_full_disk_is_one_line_and_with_more_space_the_same_command_ends_well(bench: Bench, small_disk: Path) -> None:
    config = bench.config(padding_bytes=300_000)
    with pytest.raises(WorkError) as caught:
        bench.run(small_disk / "out", config)
    message = str(caught.value)
    assert re.search(r"partitions failed \(.*\); 0000\d: .*no space left on the disk; free some", message)
    assert str(small_disk / "out") in message
    assert len(message.splitlines()) == 1
    done = stages.plan(SIEVE, config, bench.sources(), str(small_disk / "out")).done
    assert all((small_disk / "out" / part.files[0].name).stat().st_size > 300_000 for part in done)
    assert not (small_disk / "out" / "manifest.json").exists()
    bench.tries()
    for index in (3, 4):
        (bench.root / "in" / f"{index}.txt").unlink()
    assert len(bench.run(small_disk / "out", config).parts) == 3
    assert set(bench.tries()) == {0, 1, 2} - {part.index for part in done}


def test_partition_numbers_beyond_five_digits_are_done_once_too(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "bench").prepare(0)
    for index in (99_999, 100_000, 1_234_567):
        bench.write_input(index, range(9))
    bench.run(tmp_path / "out")
    bench.tries()
    assert len(bench.run(tmp_path / "out").parts) == 3
    assert bench.tries() == {}
    assert [part.index for part in plan_of(bench, tmp_path / "out").done] == [100_000, 1_234_567, 99_999]


def test_a_stage_without_partitions_has_an_empty_manifest(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "bench").prepare(0)
    assert bench.run(tmp_path / "out").parts == ()
    assert stages.is_complete(plan_of(bench, tmp_path / "out"))


def test_an_object_store_is_a_folder_like_any_other(bench: Bench, tmp_path: Path) -> None:
    """The store is a process's memory: the partitions run here, one after another, as the workers would run them."""
    folder = f"memory://{tmp_path.name}/out"
    plan = stages.plan(SIEVE, bench.config(), bench.sources(), folder)

    class Here:
        def map(self, function: Any, tasks: Any) -> Any:
            return ((task, function(task)) for task in tasks)

    from openwit.log.events import Log

    manifest = stages.run(plan, Here(), Log(None, (tmp_path / "log").open("w")))
    assert stages.is_complete(stages.plan(SIEVE, bench.config(), bench.sources(), folder))
    bench.run(tmp_path / "local")
    assert manifest == manifests.read(str(tmp_path / "local"))
    assert storage.read_bytes(f"{folder}/00001.txt") == (tmp_path / "local" / "00001.txt").read_bytes()


def test_the_key_follows_stage_version_config_number_and_inputs_but_not_where_they_lie() -> None:
    def source(index: int = 0, identity: str = "x", url: str = "a", role: str = "numbers") -> Source:
        return Source(index=index, inputs={role: (Input(url=url, identity=identity),)})

    key = partition_key(SIEVE, SieveConfig(), source())
    assert partition_key(SIEVE, SieveConfig(), source(url="moved")) == key
    others = [
        partition_key(replace(SIEVE, name="strainer"), SieveConfig(), source()),
        partition_key(replace(SIEVE, version=2), SieveConfig(), source()),
        partition_key(SIEVE, SieveConfig(modulus=4), source()),
        partition_key(SIEVE, SieveConfig(), source(index=1)),
        partition_key(SIEVE, SieveConfig(), source(identity="y")),
        partition_key(SIEVE, SieveConfig(), source(role="letters")),
    ]
    assert len({key, *others}) == 7


@dataclass(frozen=True, kw_only=True)
class WaterConfig:
    warmth: int = 1  # decides
    patience_s: Free[float] = 1.0  # does not


@dataclass(frozen=True, kw_only=True)
class RinseConfig:
    modulus: int = 3  # decides
    threads: Free[int] = 2  # does not
    names: Free[tuple[str, ...]] = ()  # does not
    water: WaterConfig = WaterConfig()  # decides in part


def test_a_free_field_of_the_config_makes_no_partition_anew_and_each_other_field_does() -> None:
    source = Source(index=0, inputs={})
    rinse: Stage[RinseConfig] = Stage("rinse", 1, lambda config, source, target: Counter())
    free = RinseConfig(threads=9, names=("a",), water=WaterConfig(patience_s=9.0))
    others = [RinseConfig(modulus=9), RinseConfig(water=WaterConfig(warmth=9))]
    keys = [partition_key(rinse, config, source) for config in (RinseConfig(), free, *others)]
    assert keys[0] == keys[1]
    assert len(set(keys)) == 3


def test_a_partition_that_is_done_is_no_longer_under_way_whatever_its_worker_told_last(
    bench: Bench, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = {index: InFlight(0.5, {"in": 1_000}) for index in range(9)}  # more than there are, and never taken back
    seen: list[InFlight] = []
    monkeypatch.setattr(logs, "_LOOK_S", 0.01)
    monkeypatch.setattr(logs.LineProgress, "look", lambda _, in_flight: seen.append(in_flight))

    class Slow(InProcess):
        def map(self, function: Callable[[T], R], tasks: Sequence[T]) -> Iterator[tuple[T, R | Failure]]:
            for found in super().map(function, tasks):
                time.sleep(0.1)
                yield found

    stages.run(plan_of(bench, out), Slow(), logs.Log(None, io.StringIO()), in_flight=lambda: told)
    steps = [entry.steps for entry in seen]
    assert {2.5, 0.5} <= set(steps)
    assert steps == sorted(steps, reverse=True)
    assert all(entry.counts.get("in", 0) == 2_000 * entry.steps for entry in seen)


def test_a_missing_input_is_an_input_error_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.txt: no such file"):
        Input.outside(str(tmp_path / "none.txt"))


def test_the_names_of_sidecar_and_manifest_are_not_given_to_steps(tmp_path: Path) -> None:
    target = Target(7, tmp_path)
    assert target.path(".tar").name == "00007.tar"
    with pytest.raises(AssertionError):
        target.path(".json")
    with pytest.raises(AssertionError):
        target.named("manifest.json")


def test_seconds_of_a_plan_is_the_median_of_its_finished_partitions(bench: Bench, out: Path) -> None:
    bench.run(out)
    for index, seconds in enumerate((1, 2, 30, 4, 50)):
        path = out / f"{index:05d}.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "seconds": seconds}))
    assert stages.seconds_of(plan_of(bench, out)) == 4
    assert stages.seconds_of(plan_of(bench, out.parent / "nothing")) == 0


def test_a_stage_names_its_process_so_that_workers_find_it() -> None:
    assert Stage("sieve", 1, sieve) == SIEVE


def test_a_part_of_a_file_is_an_input_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "dump").write_bytes(b"0123456789")
    whole = Input.outside(str(tmp_path / "dump"))
    first, second = whole.cut(0, 5), whole.cut(5, 10)
    assert first.url == second.url == whole.url
    assert (first.span, second.span, whole.span) == ((0, 5), (5, 10), None)
    assert len({whole.identity, first.identity, second.identity}) == 3
    assert first == whole.cut(0, 5)

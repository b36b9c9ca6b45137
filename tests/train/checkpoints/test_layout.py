from __future__ import annotations

import time

import pytest

from openwit import storage
from openwit.errors import WorkError
from train.checkpoints import layout


@pytest.fixture
def folder() -> str:
    """On a store where files appear in place."""
    return f"memory://checkpoints-{time.monotonic_ns()}"


def test_on_an_object_store_the_state_is_put_last_and_only_then_there_is_a_checkpoint(
    folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage.write_bytes(storage.join(layout.unfinished(folder, 3), "model.safetensors"), b"weights")
    put = storage.write_bytes
    seen: list[tuple[str, str | None]] = []

    def looking(url: str, data: bytes) -> None:
        seen.append((url.rpartition("/")[2], layout.latest(folder)))
        put(url, data)

    monkeypatch.setattr(storage, "write_bytes", looking)
    layout.commit(folder, 3, ["model.safetensors"], {layout.STATE: b"{}", "config.json": b"{}", "a.json": b"{}"})
    assert [name for name, _ in seen][-1] == layout.STATE
    assert sorted(name for name, _ in seen) == ["a.json", "config.json", layout.STATE]
    assert {latest for _, latest in seen} == {None}
    assert layout.latest(folder) == layout.folder_of(folder, 3)


def test_without_a_file_of_another_rank_nothing_is_committed(folder: str) -> None:
    storage.write_bytes(storage.join(layout.unfinished(folder, 3), "model.safetensors"), b"weights")
    with pytest.raises(WorkError, match=r"optimizer-00001\.safetensors, which another rank wrote, is not there"):
        layout.commit(folder, 3, ["model.safetensors", "optimizer-00001.safetensors"], {layout.STATE: b"{}"})
    assert layout.steps(folder) == []

"""What torch.distributed.checkpoint writes with: safetensors, each rank its own files. Nothing is pickled into them."""

from __future__ import annotations

import contextlib
import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from torch import Tensor
from torch.distributed.checkpoint.metadata import Metadata
from torch.distributed.checkpoint.planner import SavePlan, SavePlanner
from torch.distributed.checkpoint.storage import StorageWriter, WriteResult
from torch.futures import Future

from models.interchange.tensors import save_tensors
from openwit import storage
from openwit.errors import OpenwitError, WorkError


class SafetensorsWriter(StorageWriter):
    """Writes each tensor to the file of `place` that `file_of` says for its name. The first rank calls `begin` before
    any rank writes, and `commit` with the files' names when all have written."""

    def __init__(
        self,
        place: str,
        file_of: Callable[[str], str],
        begin: Callable[[], None],
        commit: Callable[[list[str]], None],
    ) -> None:
        super().__init__()
        self.place, self.file_of, self.begin, self.commit = place, file_of, begin, commit

    def reset(self, checkpoint_id: str | os.PathLike[str] | None = None) -> None:
        """Nothing: a writer is made for one checkpoint."""

    def set_up_storage_writer(self, is_coordinator: bool, *args: Any, **kwargs: Any) -> None:
        """Makes the place, once."""
        if is_coordinator:
            with _as_work_error(self.place):
                self.begin()

    def prepare_local_plan(self, plan: SavePlan) -> SavePlan:
        """The plan as it is."""
        return plan

    def prepare_global_plan(self, plans: list[SavePlan]) -> list[SavePlan]:
        """The plans as they are."""
        return plans

    def write_data(self, plan: SavePlan, planner: SavePlanner) -> Future[list[WriteResult]]:
        """This rank's tensors are in their files, and these on the disk or in the store, when it returns."""
        files: dict[str, dict[str, Tensor]] = defaultdict(dict)
        results = []
        for item in plan.items:
            tensor, file = planner.resolve_data(item), self.file_of(item.index.fqn)
            assert isinstance(tensor, Tensor)
            files[file][item.index.fqn] = tensor
            results.append(WriteResult(index=item.index, size_in_bytes=tensor.nbytes, storage_data=file))
        with _as_work_error(self.place):
            for name, tensors in files.items():
                write_tensors(storage.join(self.place, name), tensors)
        done: Future[list[WriteResult]] = Future()
        done.set_result(results)
        return done

    def finish(self, metadata: Metadata, results: list[list[WriteResult]]) -> None:
        """Commits. The planner's metadata are not kept: the files say all."""
        with _as_work_error(self.place):
            self.commit(sorted({result.storage_data for of_rank in results for result in of_rank}))

    @classmethod
    def validate_checkpoint_id(cls, checkpoint_id: str | os.PathLike[str]) -> bool:
        """Whether a checkpoint can be at this URL."""
        return True


def write_tensors(url: str, tensors: dict[str, Tensor]) -> None:
    """The file at the URL holds the tensors of the CPU. Raises WorkError where there is no space or no permission."""
    if storage.is_local(url):
        with storage.writing(url):
            _save(tensors, Path(storage.local_path(url)))
            storage.sync(Path(storage.local_path(url)))
        return
    with storage.scratch_folder(url) as scratch:
        part = scratch / "part"
        with storage.writing(str(part)):
            _save(tensors, part)
        storage.publish(part, url)


def _save(tensors: dict[str, Tensor], path: Path) -> None:
    """Raises OSError where safetensors says the system's error in words only."""
    try:
        save_tensors(tensors, path)
    except SafetensorError as error:
        if match := re.search(r"\(os error (\d+)\)", str(error)):
            raise OSError(int(match[1]), os.strerror(int(match[1])), str(path)) from error
        raise


@contextlib.contextmanager
def _as_work_error(place: str) -> Iterator[None]:
    """Errors go to all ranks, so they must survive pickling, as ours do."""
    try:
        yield
    except OpenwitError:
        raise
    except Exception as error:
        raise WorkError(f"{place}: cannot be written ({type(error).__name__}: {error})") from error

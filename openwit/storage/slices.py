"""Files of slices: an Arrow IPC file with one record batch for each partition, so that a later stage reads its own
batch out of every file and nothing else.

Why not parquet: its footer describes every column of every row group, 600 bytes a partition here. With 2,000
partitions that is 1.2 MB for each of 100 KB that are wanted; the footer of an IPC file takes 24 bytes a batch.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import pyarrow as pa

from openwit import storage
from openwit.errors import InputError
from openwit.storage.tables import RANGE_BYTES

P = TypeVar("P")
T = TypeVar("T")
READERS = 16  # requests at once: on an object store each takes 30 ms, of which the worker would only wait


@contextlib.contextmanager
def writing_slices(path: Path, schema: pa.Schema) -> Iterator[pa.RecordBatchFileWriter]:
    """A writer whose n-th batch is slice n; the file is complete when the block ends."""
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, schema, options=options) as writer:
        yield writer


def read_slice(url: str, index: int) -> pa.RecordBatch:
    """Slice `index` of the file. Raises InputError, naming the file, where it is missing or damaged or has fewer."""
    with storage.open_input(url, RANGE_BYTES) as file:
        try:
            return pa.ipc.open_file(file).get_batch(index)
        except (pa.ArrowException, OSError, ValueError, IndexError) as error:
            what = f"slice {index} cannot be read ({error}); delete it and run the step before"
            raise InputError(f"{url}: {what}") from None


def map_ordered(read: Callable[[P], T], places: Iterable[P]) -> Iterator[T]:
    """What `read` gives for each place, in order, by several threads that are never far ahead of the caller."""
    with ThreadPoolExecutor(READERS) as pool:
        ahead: deque[Future[T]] = deque()
        for place in places:
            ahead.append(pool.submit(read, place))
            if len(ahead) > READERS:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()

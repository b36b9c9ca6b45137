"""Parquet files by URL, read whole or by row group; what cannot be read is named."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from openwit import storage
from openwit.errors import InputError


def read_table(url: str, columns: Sequence[str] | None = None, row_group: int | None = None) -> pa.Table:
    """The table, of all columns or those named, of all row groups or one. Raises InputError, naming the file, where
    it is missing, damaged, or lacks a column."""
    with storage.open_input(url) as file:
        try:
            parquet = pq.ParquetFile(file)
            missing = set(columns or ()) - set(parquet.schema_arrow.names)
            if missing:
                raise InputError(
                    f"{url}: lacks the column {min(missing)}; it has {', '.join(parquet.schema_arrow.names)}"
                )
            names = list(columns) if columns is not None else None
            return parquet.read(names) if row_group is None else parquet.read_row_group(row_group, names)
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"{url}: cannot be read as parquet ({error}); delete it and run the step before") from None

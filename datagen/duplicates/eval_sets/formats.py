"""Evaluation sets of any form by one interface: cut into partitions by the driver, read by the workers.

Forms:
    FILE.parquet, FOLDER of them     columns image (encoded, or a struct with bytes), and perhaps key and label
    FOLDER of images               the first sub-folder is the label
    FOLDER with nshards.txt          CLIP_benchmark's layout: 0.tar …, classnames.txt in the folder or the one above
    A.tar, {000..012}.tar, *.tar     WebDataset, several joined by ::; key.jpg (png, webp …) with key.cls or key.txt
    torchvision:CLASS?root=DIR       with the other arguments of the class: &split=test, &train=false
"""

from __future__ import annotations

import contextlib
import fnmatch
import os
import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from datagen.duplicates.eval_sets import torchvision
from datagen.duplicates.eval_sets.torchvision import EvalExample
from openwit import storage
from openwit.config import digest
from openwit.errors import InputError
from openwit.shards.samples import IMAGE_SUFFIXES, MAX_SAMPLE_BYTES, TarSample, scan_samples
from openwit.shards.tar import Encoded
from openwit.stage import Input
from openwit.storage.tables import open_parquet

PART_IMAGES = 10_000  # at most in a partition
CLASS_NAMES = "classnames.txt"


def partitions(url: str) -> list[tuple[Input, ...]]:
    """The set's partitions: of each what is read, and perhaps the file with the names of its classes. Raises
    InputError where nothing is there, or nothing that is an evaluation set."""
    if url.startswith(torchvision.SCHEME):
        spec, identity, number = torchvision.describe(url)
        return _slices(Input(url=spec, identity=identity), number)
    names = storage.list_sizes(url) if "*" not in url and "{" not in url and "::" not in url else {}
    if "nshards.txt" in names:
        return _tars([storage.join(url, f"{index}.tar") for index in range(_num_shards(url))])
    for suffix in (".parquet", ".tar"):
        if any(name.endswith(suffix) for name in names):
            return partitions(storage.join(url, f"*{suffix}"))
    files = [file for pattern in url.split("::") for file in _expand(pattern)]
    if not names and files[0].endswith(".tar"):
        return _tars(files)
    tree = storage.list_tree(url) if len(files) == 1 else {}
    if tree:
        images = _images(tree)
        if not images:
            raise InputError(f"{url}: holds no images ({', '.join(IMAGE_SUFFIXES)}), tars or parquet files")
        return _slices(Input(url=storage.absolute(url), identity=digest(tree)), len(images))
    return [part for file in files for part in _slices(Input.outside(file), _num_rows(file))]


def read(inputs: Sequence[Input]) -> Iterator[EvalExample]:
    """The images of a partition, in order. Raises InputError, naming the file, where it cannot be read."""
    whole = inputs[0]
    if whole.url.startswith(torchvision.SCHEME):
        assert whole.span is not None
        return torchvision.read(whole.url, whole.span)
    if whole.url.endswith(".tar"):
        return _read_tar(whole.url, [entry.url for entry in inputs[1:]])
    if whole.url.endswith(".parquet") or not storage.list_tree(whole.url):
        return _read_parquet(whole)
    return _read_folder(whole)


def _slices(whole: Input, number: int) -> list[tuple[Input, ...]]:
    starts = range(0, max(number, 1), PART_IMAGES)
    return [(whole.cut(start, min(start + PART_IMAGES, number)),) for start in starts]


def _expand(pattern: str) -> list[str]:
    """The files that a pattern means: {00..12} in braces, or * in the file's name."""
    if braces := re.search(r"\{(\d+)\.\.(\d+)\}", pattern):
        first, last = braces[1], braces[2]
        numbers = [f"{n:0{len(first)}d}" for n in range(int(first), int(last) + 1)]
        return [file for n in numbers for file in _expand(pattern[: braces.start()] + n + pattern[braces.end() :])]
    folder, name = posixpath.split(pattern)
    if "*" not in name:
        return [pattern]
    found = [storage.join(folder, file) for file in storage.list_sizes(folder or ".") if fnmatch.fnmatch(file, name)]
    if not found:
        raise InputError(f"{pattern}: no such file")
    return sorted(found, key=lambda url: [int(t) if t.isdigit() else t for t in re.split(r"(\d+)", url)])


def _num_shards(folder: str) -> int:
    url = storage.join(folder, "nshards.txt")
    text = storage.read_bytes(url).decode(errors="replace").strip()
    if not text.isdigit() or text == "0":
        raise InputError(f"{url}: expected the number of tars, found {text[:40]!r}")
    return int(text)


def _tars(urls: Sequence[str]) -> list[tuple[Input, ...]]:
    folder = posixpath.dirname(storage.absolute(urls[0]))
    beside = [storage.join(place, CLASS_NAMES) for place in (folder, posixpath.dirname(folder))]
    names = [Input.outside(url) for url in beside if storage.exists(url)][:1]
    return [(entry, *names) for entry in Input.all_outside(urls)]


def _images(tree: dict[str, str]) -> list[str]:
    hidden = re.compile(r"(^|/)\.")
    return [
        path for path in tree if posixpath.splitext(path)[1].lower()[1:] in IMAGE_SUFFIXES and not hidden.search(path)
    ]


def _read_folder(part: Input) -> Iterator[EvalExample]:
    assert part.span is not None
    for path in _images(storage.list_tree(part.url))[slice(*part.span)]:
        label = path.split("/")[0] if "/" in path else ""
        yield EvalExample(path, _read_file(storage.join(part.url, path)), label)


def _read_file(url: str) -> bytes:
    """The bytes of an image file; none, which is no image, of one that is too large, or no file (a pipe, a device)."""
    if storage.is_local(url) and not os.path.isfile(storage.local_path(url)):
        return b""
    with storage.open_input(url) as file, storage.reading(url):
        data: bytes = file.read(MAX_SAMPLE_BYTES + 1)
    return data if len(data) <= MAX_SAMPLE_BYTES else b""


def _read_tar(url: str, names: Sequence[str]) -> Iterator[EvalExample]:
    classes = storage.read_bytes(names[0]).decode(errors="replace").splitlines() if names else []
    for item in scan_samples(url):
        if isinstance(item, TarSample):
            yield EvalExample(item.key, bytes(item.image or b""), _label(item.members, classes))
        elif item.reason != "no_image":
            yield EvalExample(item.key, b"", "")  # counted as an image that cannot be decoded


def _label(files: Mapping[str, Encoded], classes: Sequence[str]) -> str:
    text = str(files.get("cls", files.get("txt", b"")), "utf-8", "replace").strip()
    return classes[int(text)] if "cls" in files and text.isdigit() and int(text) < len(classes) else text


@contextlib.contextmanager
def _open_parquet(url: str) -> Iterator[pq.ParquetFile]:
    with open_parquet(url, advice="; expected a parquet file, a tar or a folder of images") as parquet:
        schema = parquet.schema_arrow
        if "image" not in schema.names:
            found = ", ".join(schema.names)
            raise InputError(f"{url}: an evaluation set has columns image, key, label; found only {found}")
        kind = schema.field("image").type
        kind = kind.field("bytes").type if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0 else kind
        if not (pa.types.is_binary(kind) or pa.types.is_large_binary(kind)):
            raise InputError(f"{url}: the column image must hold encoded images (binary), not {kind}")
        yield parquet


def _num_rows(url: str) -> int:
    with _open_parquet(url) as parquet:
        return int(parquet.metadata.num_rows)


def _read_parquet(part: Input) -> Iterator[EvalExample]:
    assert part.span is not None
    start, end = part.span
    with _open_parquet(part.url) as parquet:
        names = [name for name in ("image", "key", "label") if name in parquet.schema_arrow.names]
        row = 0
        for group in range(parquet.num_row_groups):
            size = parquet.metadata.row_group(group).num_rows
            if row >= end or row + size <= start:
                row += size
                continue
            for batch in parquet.iter_batches(64, row_groups=[group], columns=names):
                for record in batch.to_pylist():
                    if start <= row < end:
                        yield _example(record, f"{posixpath.basename(part.url)}/{row}")
                    row += 1


def _example(record: dict[str, Any], number: str) -> EvalExample:
    image = record["image"]
    data = image.get("bytes") if isinstance(image, dict) else image
    key = record.get("key", number)
    label = record.get("label")
    return EvalExample("" if key is None else str(key), data or b"", "" if label is None else str(label))

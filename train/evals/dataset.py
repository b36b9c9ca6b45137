"""An evaluation set on disk: a parquet file of key (string), image (encoded image) and label (the class's name)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from PIL import Image
from torch import Tensor

from models.preprocess import decode_image
from openwit.errors import InputError
from openwit.storage.tables import open_parquet

COLUMNS = ("key", "image", "label")


@dataclass(frozen=True)
class EvalSet:
    """Row i of keys, images and labels is one image; `names` are the distinct labels, sorted."""

    url: str
    keys: list[str]
    images: list[bytes]
    labels: list[str]
    names: list[str]

    def tensors(
        self, preprocess: Callable[[Image.Image], Tensor], places: Sequence[int] | None = None
    ) -> Iterator[Tensor]:
        """Each image, or those at `places`, as `preprocess` makes it, float32 [3, S, S], decoded as asked for. Raises
        InputError, naming the key, for one that is no image."""
        for place in range(len(self.keys)) if places is None else places:
            try:
                image = decode_image(self.images[place])
            except InputError as error:
                raise InputError(f"{self.url}: key {self.keys[place]!r}: {error}") from None
            yield preprocess(image)


def load_eval_set(url: str) -> EvalSet:
    """The whole set, images still encoded. Raises InputError where it is missing, of other columns, or empty."""
    with open_parquet(url, advice="") as parquet:
        missing = [name for name in COLUMNS if name not in parquet.schema_arrow.names]
        if missing:
            found = ", ".join(parquet.schema_arrow.names)
            raise InputError(f"{url}: no column {', '.join(missing)}; found {found}; expected {', '.join(COLUMNS)}")
        table = parquet.read(list(COLUMNS))
    for name in COLUMNS:
        if nulls := table.column(name).null_count:
            raise InputError(f"{url}: column {name} has {nulls} empty values; an evaluation set has none")
    if not table.num_rows:
        raise InputError(f"{url}: holds no images")
    keys, images, labels = (table.column(name).to_pylist() for name in COLUMNS)
    if not isinstance(images[0], bytes) or not isinstance(labels[0], str):
        types = ", ".join(f"{name} {table.schema.field(name).type}" for name in COLUMNS)
        raise InputError(f"{url}: columns are {types}; expected key string, image binary, label string")
    return EvalSet(url, keys, images, labels, sorted(set(labels)))

from __future__ import annotations

import io
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from models.preprocess import normalize_pixels, preprocess
from openwit.errors import InputError
from train.evals.dataset import load_eval_set


def png(colour: tuple[int, ...], mode: str = "RGB") -> bytes:
    file = io.BytesIO()
    Image.new(mode, (12, 8), colour).save(file, "PNG")
    return file.getvalue()


def write(folder: Path, columns: dict[str, list[object]]) -> str:
    pq.write_table(pa.table(columns), folder / "set.parquet")
    return str(folder / "set.parquet")


def test_rows_come_back_in_order_with_sorted_names_and_prepared_images(tmp_path: Path) -> None:
    columns = {
        "label": ["red", "clear", "red"],
        "extra": [1, 2, 3],
        "key": ["a", "b", "c"],
        "image": [png((255, 0, 0)), png((0, 0, 0, 0), "RGBA"), png((200, 0, 0))],
    }
    found = load_eval_set(write(tmp_path, columns))  # type: ignore[arg-type]
    assert (found.keys, found.labels, found.names) == (["a", "b", "c"], ["red", "clear", "red"], ["clear", "red"])
    red, clear, _ = found.tensors(partial(preprocess, image_px=4))
    for tensor, colour in ((red, (255, 0, 0)), (clear, (255, 255, 255))):
        flat = torch.tensor(colour, dtype=torch.uint8).view(3, 1, 1).expand(3, 4, 4)
        torch.testing.assert_close(tensor, normalize_pixels(flat))


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"key": ["a"], "image": [b"x"]}, "no column label; found key, image; expected key, image, label"),
        ({"key": ["a"], "image": [b"x"], "label": [None]}, "column label has 1 empty values"),
        ({"key": [], "image": [], "label": []}, "holds no images"),
        ({"key": ["a"], "image": ["x"], "label": [3]}, "image string, label int64; expected key string, image binary"),
    ],
)
def test_a_table_that_is_no_evaluation_set_is_refused(
    tmp_path: Path, columns: dict[str, list[object]], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        load_eval_set(write(tmp_path, columns))


def test_missing_and_damaged_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.parquet: no such file"):
        load_eval_set(str(tmp_path / "nowhere.parquet"))
    whole = Path(write(tmp_path, {"key": ["a"], "image": [b"x"], "label": ["l"]}))
    for damaged in (b"", whole.read_bytes()[:-20], b"not parquet at all"):
        whole.write_bytes(damaged)
        with pytest.raises(InputError, match=r"set\.parquet: cannot be read as parquet"):
            load_eval_set(str(whole))


def test_a_damaged_image_is_named_by_its_key(tmp_path: Path) -> None:
    columns = {"key": ["good", "bad"], "image": [png((1, 2, 3)), b"<html>"], "label": ["x", "y"]}
    tensors = load_eval_set(write(tmp_path, columns)).tensors(partial(preprocess, image_px=4))  # type: ignore[arg-type]
    next(tensors)
    with pytest.raises(InputError, match="key 'bad': not a readable image"):
        next(tensors)

from __future__ import annotations

import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from datagen.duplicates.overlap.accuracy import read_answers
from helpers.crawled import jpeg, scene
from models.clip import Clip
from models.config import ClipConfig, TextConfig, VisionTransformerConfig
from openwit.config import override
from openwit.errors import ConfigError
from openwit.log.events import Log
from pipelines import recipes
from pipelines.commands.duplicates import write_answers
from pipelines.session import Invocation

CONFIG = ClipConfig(
    embed_dim=16,
    vision=VisionTransformerConfig(image_px=32, patch_px=16, width=32, layers=1, heads=2),
    text=TextConfig(context_length=16, width=32, layers=1, heads=2),
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model as a folder of ours."""
    from safetensors.torch import save_file

    from models.interchange.openwit_folder import CONFIG as NAME
    from models.interchange.openwit_folder import config_json

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("model")
    save_file(
        {name: value.contiguous() for name, value in Clip(CONFIG).state_dict().items()}, folder / "model.safetensors"
    )
    (folder / NAME).write_bytes(config_json(CONFIG))
    return folder


def plant(work: Path) -> None:
    """Twelve images of three classes, of which one is damaged and one has no label; and a set of one class."""
    images = [jpeg(scene(n)) for n in range(12)]
    images[3] = images[3][:40]
    labels = [f"class {n % 3}" for n in range(11)] + [""]
    table = pa.table({"key": [f"k{n}" for n in range(12)], "image": images, "label": labels})
    pq.write_table(table, work / "things.parquet")
    pq.write_table(table.slice(0, 1), work / "one.parquet")


def ask(work: Path, model: str, prompts: str = "a {label}") -> list[str]:
    """What the log said."""
    fields = {
        "overlap.eval_sets": f"things={work}/things.parquet,one={work}/one.parquet",
        "overlap_model": model,
        "evaluate.zero_shot.prompts": prompts,
    }
    recipe = override(recipes.create("demo", str(work)), fields)
    said = io.StringIO()
    invocation = Invocation(
        recipe=recipe, work=str(work), log=Log(stream=said), dry_run=False, as_json=False, resume=False
    )
    write_answers(invocation)
    return said.getvalue().splitlines()


def test_every_image_with_a_label_that_can_be_decoded_is_answered(tmp_path: Path, model: Path) -> None:
    plant(tmp_path)
    said = ask(tmp_path, str(model))
    found = read_answers(str(tmp_path / "duplicates"), ["things", "one"])
    assert (found.model, found.learned_all) == (str(model), True)
    assert set(found.correct) == {"things"}
    assert set(found.correct["things"]) == {f"k{n}" for n in range(11)} - {"k3"}
    right = sum(found.correct["things"].values())
    assert said[0].endswith(f"zero-shot on things: {right / 10:.1%} of 10 right")
    assert "one: it has fewer than two classes" in said[1]


def test_what_was_asked_before_stays_and_another_prompt_asks_again(tmp_path: Path, model: Path) -> None:
    plant(tmp_path)
    ask(tmp_path, str(model))
    before = (tmp_path / "duplicates" / "correct" / "things.parquet").stat().st_mtime_ns
    assert ask(tmp_path, str(model)) == []
    assert (tmp_path / "duplicates" / "correct" / "things.parquet").stat().st_mtime_ns == before
    assert len(ask(tmp_path, str(model), "one {label}")) == 2


def test_without_a_model_no_answers_are_left(tmp_path: Path, model: Path) -> None:
    plant(tmp_path)
    ask(tmp_path, "latest")
    ask(tmp_path, str(model))
    ask(tmp_path, "none")
    assert read_answers(str(tmp_path / "duplicates"), ["things"]).model == ""


def test_a_model_that_is_not_there_is_named(tmp_path: Path) -> None:
    plant(tmp_path)
    with pytest.raises(ConfigError, match="overlap_model=nowhere: no such file or folder"):
        ask(tmp_path, "nowhere")

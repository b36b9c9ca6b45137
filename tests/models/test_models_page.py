"""docs/models.md against the code that it tells of."""

from __future__ import annotations

import re

import pytest

import models
from helpers.places import ROOT
from models.config import ResNetConfig
from models.interchange.convert import FORMATS, WRITERS
from models.interchange.sizes import empty_model

PAGE = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")


def rows(heading: str) -> dict[str, list[str]]:
    """The cells of the table whose first column has this heading, by first cell."""
    table = re.search(rf"^\| {re.escape(heading)} \|.*\n\|[-|]+\n((?:\|.*\n)+)", PAGE, re.MULTILINE)
    assert table is not None
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table[1].splitlines()]
    return {first: others for first, *others in cells}


def test_the_table_has_every_model_in_order() -> None:
    assert tuple(rows("name")) == models.list_models()


@pytest.mark.parametrize("name", models.list_models())
def test_the_table_says_of_each_model_what_the_code_makes(name: str) -> None:
    config = models.config_of(name)
    vision, text = config.vision, config.text
    if isinstance(vision, ResNetConfig):
        blocks = ",".join(map(str, vision.layers))
        tower, step_px = f"ResNet {blocks}, width {vision.width}, {vision.heads} heads", 32
    else:
        tower, step_px = f"ViT {vision.layers} layers, width {vision.width}, {vision.heads} heads", vision.patch_px
    model = empty_model(config)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    numbers = [vision.image_px, step_px, text.width, text.heads, config.embed_dim, f"{parameters:,}"]
    assert rows("name")[name] == [tower, *map(str, numbers), str(len(model.state_dict()))]
    assert (text.layers, text.context_length, text.vocabulary_size) == (12, 77, 49408)


def test_the_page_and_the_command_know_the_same_formats() -> None:
    assert tuple(rows("`--to`")) == FORMATS == tuple(WRITERS)
    assert f"[--to {'|'.join(FORMATS)}]" in PAGE

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers.clips import VIT, random_clip
from models.clip import Clip
from models.config import ClipConfig, TextConfig
from models.interchange.save import save
from openwit.errors import ConfigError, InputError
from pipelines.cli import main as openwit
from pipelines.segment import COLORS, draw, main

WHOLE = ClipConfig(embed_dim=48, vision=VIT.vision, text=TextConfig(width=64, layers=1, heads=1))


@pytest.fixture
def model(tmp_path: Path) -> str:
    save(random_clip(WHOLE), tmp_path / "model")
    return str(tmp_path / "model")


@pytest.fixture
def picture(tmp_path: Path) -> str:
    Image.effect_noise((90, 70), 80).convert("RGB").save(tmp_path / "picture.jpg")
    return str(tmp_path / "picture.jpg")


def test_the_drawing_is_the_picture_with_a_legend_below_and_the_shares_add_up(
    tmp_path: Path, model: str, picture: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "map.png"
    openwit(["segment", model, picture, "--labels", "cat, dog,grass", "--out", str(out)])
    lines = [line.split("%  ") for line in capsys.readouterr().out.splitlines()]
    assert [label for _, label in lines] == ["cat", "dog", "grass"]
    assert sum(float(share) for share, _ in lines) == pytest.approx(100, abs=0.2)
    with Image.open(out) as drawing:
        assert drawing.format == "PNG"
        assert drawing.width >= 90
        assert drawing.height > 70


def test_each_part_is_tinted_by_its_label_and_the_legend_shows_the_colours() -> None:
    found = np.zeros((40, 200), dtype=np.int64)
    found[:, 50:] = 1
    drawing = np.asarray(draw(Image.new("RGB", (200, 40), "black"), found, ["left", "right"])).astype(int)
    tint = drawing[5, 5], drawing[5, 150]
    for seen, color in zip(tint, COLORS, strict=False):
        np.testing.assert_allclose(seen, 0.55 * np.array(color), atol=1)
    legend = {tuple(pixel) for pixel in drawing[40:].reshape(-1, 3).tolist()}
    assert set(COLORS[:2]) <= legend
    assert COLORS[2] not in legend


def test_many_or_long_labels_widen_the_sheet_rather_than_being_cut() -> None:
    found = np.zeros((30, 20), dtype=np.int64)
    short = draw(Image.new("RGB", (20, 30)), found, ["a", "b"])
    long = draw(Image.new("RGB", (20, 30)), found, ["a", "a very long name of something in the picture"])
    assert long.width > short.width
    assert long.height == short.height
    assert (np.asarray(long)[:, -4:] == 255).all(axis=-1)[30:].all(), "white at the right of the longest text"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--labels", "cat", "--out", "a.png"], "--labels cat: expected 2 to 16 different names"),
        (["--labels", "cat,cat", "--out", "a.png"], "expected 2 to 16 different names"),
        (["--labels", "cat,dog", "--out", "a.jpg"], r"--out a\.jpg: is written as PNG"),
        (
            ["--labels", "cat,dog", "--out", "a.png", "--prompt", "a photo"],
            "lacks the place of the name; write {label}",
        ),
        (["--labels", "cat,dog"], "required: --out"),
    ],
)
def test_a_wrong_command_line_says_what_to_write(words: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        main(["model", "picture", *words])


def test_what_is_no_picture_and_a_model_of_another_vocabulary_are_named(
    tmp_path: Path, model: str, picture: str
) -> None:
    words = ["--labels", "cat,dog", "--out", str(tmp_path / "map.png")]
    with pytest.raises(InputError, match=r"nothing\.jpg: no such file"):
        main([model, str(tmp_path / "nothing.jpg"), *words])
    (tmp_path / "text.jpg").write_text("no picture")
    with pytest.raises(InputError, match=r"text\.jpg: not a readable picture"):
        main([model, str(tmp_path / "text.jpg"), *words])
    save(Clip(VIT), tmp_path / "small")
    with pytest.raises(InputError, match="small: knows 300 tokens, not OpenAI's vocabulary"):
        main([str(tmp_path / "small"), picture, *words])
    assert not (tmp_path / "map.png").exists()

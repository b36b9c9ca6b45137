from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from helpers.clips import RESNET, VIT, random_clip, same_weights
from models.clip import Clip
from models.config import ClipConfig, TextConfig
from models.interchange.convert import load, save
from openwit.errors import ConfigError, InputError
from pipelines.cli import main as openwit
from pipelines.commands.models import COLORS, draw, run_convert, run_segment


def test_a_model_is_converted_and_described_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = random_clip(VIT)
    torch.save(model.state_dict(), tmp_path / "theirs.pt")
    source, target = str(tmp_path / "theirs.pt"), str(tmp_path / "ours")
    openwit(["convert", source, target, "--activation", "gelu"])
    assert capsys.readouterr().out == f"{target}: openwit, 0.6 M parameters, gelu\n"
    found = load(target)
    assert same_weights(model, found)
    assert found.config.activation == "gelu"


def test_the_format_is_chosen_by_to(tmp_path: Path) -> None:
    save(random_clip(VIT), tmp_path / "ours")
    run_convert([str(tmp_path / "ours"), str(tmp_path / "theirs"), "--to", "huggingface"])
    assert (tmp_path / "theirs" / "preprocessor_config.json").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "required: SOURCE, TARGET; usage: openwit convert"),
        (["a", "b", "--to", "keras"], "invalid choice: 'keras'"),
        (["a", "b", "--activation", "relu"], "invalid choice: 'relu'"),
        (["a", "b", "c"], "unrecognized arguments: c"),
    ],
)
def test_a_wrong_command_line_says_how_to_write_it(words: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        run_convert(words)
    assert "\n" not in str(error.value)


def test_what_cannot_be_converted_leaves_nothing(tmp_path: Path) -> None:
    save(random_clip(RESNET), tmp_path / "ours")
    torch.save(random_clip(VIT).state_dict(), tmp_path / "a.pt")
    with pytest.raises(ConfigError, match="CLIPModel has no ResNets"):
        run_convert([str(tmp_path / "ours"), str(tmp_path / "target"), "--to", "huggingface"])
    with pytest.raises(ConfigError, match="does not say its activation"):
        run_convert([str(tmp_path / "a.pt"), str(tmp_path / "target")])
    with pytest.raises(InputError, match="ours: exists already"):
        run_convert([str(tmp_path / "ours"), str(tmp_path / "ours")])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.pt", "ours"]


def test_help_names_every_format(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        run_convert(["--help"])
    shown = capsys.readouterr().out
    assert shown.startswith("usage: openwit convert")
    assert all(name in shown for name in ("openwit", "openai", "open_clip", "huggingface", "onnx", "--activation"))


WHOLE = ClipConfig(embed_dim=48, vision=VIT.vision, text=TextConfig(width=64, layers=1, heads=1))


@pytest.fixture
def model(tmp_path: Path) -> str:
    save(random_clip(WHOLE), tmp_path / "model")
    return str(tmp_path / "model")


@pytest.fixture
def image(tmp_path: Path) -> str:
    Image.effect_noise((90, 70), 80).convert("RGB").save(tmp_path / "image.jpg")
    return str(tmp_path / "image.jpg")


def test_the_drawing_is_the_image_with_a_legend_below_and_the_shares_add_up(
    tmp_path: Path, model: str, image: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "map.png"
    openwit(["segment", model, image, "--labels", "cat, dog,grass", "--out", str(out)])
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
    long = draw(Image.new("RGB", (20, 30)), found, ["a", "a very long name of something in the image"])
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
        run_segment(["model", "image", *words])


def test_what_is_no_image_and_a_model_of_another_vocabulary_are_named(tmp_path: Path, model: str, image: str) -> None:
    words = ["--labels", "cat,dog", "--out", str(tmp_path / "map.png")]
    with pytest.raises(InputError, match=r"nothing\.jpg: no such file"):
        run_segment([model, str(tmp_path / "nothing.jpg"), *words])
    (tmp_path / "text.jpg").write_text("no image")
    with pytest.raises(InputError, match=r"text\.jpg: not a readable image"):
        run_segment([model, str(tmp_path / "text.jpg"), *words])
    save(Clip(VIT), tmp_path / "small")
    with pytest.raises(InputError, match="small: knows 300 tokens, not OpenAI's vocabulary"):
        run_segment([str(tmp_path / "small"), image, *words])
    assert not (tmp_path / "map.png").exists()

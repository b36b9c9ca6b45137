from __future__ import annotations

from pathlib import Path

import pytest
import torch

from helpers.clips import RESNET, VIT, random_clip, same_weights
from models.interchange.load import load
from models.interchange.save import save
from openwit.errors import ConfigError, InputError
from pipelines.cli import main as openwit
from pipelines.convert import main


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
    main([str(tmp_path / "ours"), str(tmp_path / "theirs"), "--to", "huggingface"])
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
        main(words)
    assert "\n" not in str(error.value)


def test_what_cannot_be_converted_leaves_nothing(tmp_path: Path) -> None:
    save(random_clip(RESNET), tmp_path / "ours")
    torch.save(random_clip(VIT).state_dict(), tmp_path / "a.pt")
    with pytest.raises(ConfigError, match="CLIPModel has no ResNets"):
        main([str(tmp_path / "ours"), str(tmp_path / "target"), "--to", "huggingface"])
    with pytest.raises(ConfigError, match="does not say its activation"):
        main([str(tmp_path / "a.pt"), str(tmp_path / "target")])
    with pytest.raises(InputError, match="ours: exists already"):
        main([str(tmp_path / "ours"), str(tmp_path / "ours")])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.pt", "ours"]


def test_help_names_every_format(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    shown = capsys.readouterr().out
    assert shown.startswith("usage: openwit convert")
    assert all(name in shown for name in ("openwit", "openai", "open_clip", "huggingface", "onnx", "--activation"))

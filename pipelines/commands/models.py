"""openwit convert: a model from one format to another."""

from __future__ import annotations

from collections.abc import Sequence

from models.interchange.formats import ACTIVATIONS, FORMATS, MEANING
from pipelines.arguments import Arguments

DESCRIPTION = """Reads a model, whatever its format: a folder or training checkpoint of openwit, OpenAI's TorchScript
archive or state dict, a file or folder of open_clip, a CLIPModel folder of Hugging Face. Writes it in another:
"""


def main(words: Sequence[str]) -> None:
    """Writes the model and says what it is. Raises ConfigError, InputError or WorkError."""
    formats = "".join(f"\n  {name:<12} {text}" for name, text in MEANING.items())
    parser = Arguments("convert", DESCRIPTION + formats)
    parser.add_argument("source", metavar="SOURCE", help="file or folder of the model")
    parser.add_argument("target", metavar="TARGET", help="file or folder to write; must not exist yet")
    parser.add_argument("--to", choices=FORMATS, default="openwit", help="format of TARGET; openwit by default")
    parser.add_argument(
        "--activation", choices=ACTIVATIONS,
        help="of SOURCE's networks, where its files don't say: quick_gelu (OpenAI's) or gelu",
    )  # fmt: skip
    given = parser.parse_args(words)

    from models.interchange.load import load
    from models.interchange.save import save

    model = load(given.source, activation=given.activation)
    save(model, given.target, given.to)
    millions = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    print(f"{given.target}: {given.to}, {millions:.1f} M parameters, {model.config.activation}")

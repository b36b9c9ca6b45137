"""openwit convert: a model from one format to another.

openwit segment: which part of an image a model sees as which label, drawn over the image (MaskCLIP).
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from models.interchange.convert import ACTIVATIONS, FORMATS, MEANING
from openwit import storage
from openwit.config import split_items
from openwit.errors import ConfigError, InputError
from openwit.log.text_table import text_table
from pipelines.session import Arguments

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from PIL import Image

    Labels = npt.NDArray[np.int64]


DESCRIPTION = """Reads a model, whatever its format: a folder or training checkpoint of openwit, OpenAI's TorchScript
archive or state dict, a file or folder of open_clip, a CLIPModel folder of Hugging Face. Writes it in another:
"""


def run_convert(words: Sequence[str]) -> None:
    """Writes the model and says what it is. Raises ConfigError, InputError or WorkError."""
    parser = Arguments("convert", f"{DESCRIPTION}\n{text_table((), list(MEANING.items()))}")
    parser.add_argument("source", metavar="SOURCE", help="file or folder of the model")
    parser.add_argument("target", metavar="TARGET", help="file or folder to write; must not exist yet")
    parser.add_argument("--to", choices=FORMATS, default="openwit", help="format of TARGET; openwit by default")
    parser.add_argument(
        "--activation", choices=ACTIVATIONS,
        help="of SOURCE's networks, where its files don't say: quick_gelu (OpenAI's) or gelu",
    )  # fmt: skip
    given = parser.parse_args(words)

    from models.interchange.convert import load, save

    model = load(given.source, activation=given.activation)
    save(model, given.target, given.to)
    millions = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    print(f"{given.target}: {given.to}, {millions:.1f} M parameters, {model.config.activation}")


SEGMENT_DESCRIPTION = "Draws over an image which of some labels each part of it is nearest to, in the eyes of a CLIP."
# Colours that differ in hue and in lightness, so that neighbours also differ in grey.
COLORS = (
    (230, 25, 75), (60, 180, 75), (0, 130, 200), (255, 225, 25), (145, 30, 180), (245, 130, 48), (70, 240, 240),
    (240, 50, 230), (128, 128, 0), (0, 0, 128), (210, 245, 60), (170, 110, 40), (128, 128, 128), (0, 128, 128),
    (250, 190, 190), (128, 0, 0),
)  # fmt: skip
OPACITY = 0.55


def run_segment(words: Sequence[str]) -> None:
    """Writes the drawing and prints each label's share. Raises ConfigError, InputError or WorkError."""
    parser = Arguments("segment", SEGMENT_DESCRIPTION)
    parser.add_argument("model", metavar="MODEL", help="file or folder of the model, in any format of openwit convert")
    parser.add_argument("image", metavar="IMAGE", help="the image")
    parser.add_argument("--labels", required=True, metavar='"cat,dog,…"', help="what to look for; two or more")
    parser.add_argument("--out", required=True, metavar="FILE.png", help="where the drawing goes")
    parser.add_argument(
        "--prompt", default="a photo of a {label}.", metavar="TEXT", help='around each label; "%(default)s" by default'
    )
    parser.add_argument("--merges", default="", metavar="FILE", help="the model's own vocabulary; OpenAI's by default")
    parser.add_argument("--activation", choices=ACTIVATIONS, help="where the model's files don't say it")
    given = parser.parse_args(words)
    labels = _labels(given.labels)
    if "{label}" not in given.prompt:
        raise ConfigError(f"--prompt {given.prompt!r}: lacks the place of the name; write {{label}} in it")
    if not given.out.lower().endswith(".png"):
        raise ConfigError(f"--out {given.out}: is written as PNG; give a name that ends in .png")

    from models.interchange.convert import load
    from models.maskclip import embed_labels, label_map
    from models.preprocess import decode_image
    from models.tokenizer.tokenizer import Tokenizer

    encoded = storage.read_bytes(given.image)
    try:
        image = decode_image(encoded)
    except InputError as error:
        raise InputError(f"{given.image}: {error}") from None
    model = load(given.model, activation=given.activation)
    tokenizer = Tokenizer(model.config.text.context_length, Path(given.merges) if given.merges else None)
    if tokenizer.vocabulary_size != model.config.text.vocabulary_size:
        known, other = model.config.text.vocabulary_size, f"{given.merges}'s" if given.merges else "OpenAI's"
        raise InputError(f"{given.model}: knows {known} tokens, not {other} vocabulary; give its own by --merges FILE")
    found_HW = label_map(model, image, embed_labels(model, tokenizer, labels, given.prompt)).numpy()
    drawing = io.BytesIO()
    draw(image, found_HW, labels).save(drawing, "PNG")
    storage.write_bytes(given.out, drawing.getvalue())
    for label, share in zip(labels, shares(found_HW, len(labels)), strict=True):
        print(f"{share:7.1%}  {label}")


def _labels(text: str) -> list[str]:
    labels = split_items(text, "labels")
    if not 2 <= len(labels) <= len(COLORS) or len(set(labels)) < len(labels):
        raise ConfigError(f"--labels {text}: expected 2 to {len(COLORS)} different names, parted by commas")
    return labels


def shares(found_HW: Labels, num_labels: int) -> list[float]:
    """The part of the image, 0 to 1, that is of each label."""
    import numpy as np

    return [float(part) for part in np.bincount(found_HW.ravel(), minlength=num_labels) / found_HW.size]


def draw(image: Image.Image, found_HW: Labels, labels: Sequence[str]) -> Image.Image:
    """The image under the labels' colours, and below it a legend with the share of each, RGB."""
    import numpy as np
    from PIL import Image, ImageDraw, ImageFont

    colors = np.array(COLORS, dtype=np.uint8)
    over = Image.blend(image, Image.fromarray(colors[found_HW]), OPACITY)
    line = max(14, over.height // 24)
    font = ImageFont.load_default(size=0.7 * line)
    texts = [f"{label}  {share:.1%}" for label, share in zip(labels, shares(found_HW, len(labels)), strict=True)]
    width = max(over.width, *(round(2.5 * line + font.getlength(text)) for text in texts))
    sheet = Image.new("RGB", (width, over.height + line * (len(labels) + 1)), "white")
    sheet.paste(over, (0, 0))
    pen = ImageDraw.Draw(sheet)
    for i, text in enumerate(texts):
        top = over.height + line // 2 + i * line
        pen.rectangle((line // 2, top + 2, line // 2 + line - 4, top + line - 2), fill=COLORS[i])
        pen.text((2 * line - line // 4, top + line / 2), text, fill="black", font=font, anchor="lm")
    return sheet

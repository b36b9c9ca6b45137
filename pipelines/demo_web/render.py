"""Drawings turned into image files: deterministic bytes for one drawing, size, shade and format."""

from __future__ import annotations

import io
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Literal

from pipelines.demo_web.names import drawings_folder

if TYPE_CHECKING:
    from PIL import Image

Format = Literal["jpg", "png", "webp"]


@dataclass(frozen=True)
class MotifDrawing:
    """What to draw and how to write it; `altered` asks for a copy that a near-duplicate check must still know."""

    key: str
    image_px: int
    seed: int
    format: Format = "png"
    altered: bool = False


def format_of(key: str, seed: int) -> Format:
    """The format in which the web serves a drawing: half JPEG, the others PNG and WebP."""
    return Random(f"{seed}/format/{key}").choices(("jpg", "png", "webp"), (5, 3, 2))[0]


def encode(drawing: MotifDrawing) -> bytes:
    """The image file: the drawing on a light shade of its own.

    An altered copy has another shade, loses 2-4% of its width at the edges, has another size, and is a poorer JPEG.
    """
    import resvg_py
    from PIL import Image

    random = Random(f"{drawing.seed}/render/{drawing.key}/{drawing.altered}")
    level = random.randint(226, 250)
    shade = "#" + "".join(f"{level + random.randint(-4, 4):02x}" for _ in range(3))  # pastel: drawings hold the colour
    svg = (drawings_folder() / f"{drawing.key}.svg").read_text(encoding="utf-8")
    px = drawing.image_px * (2 if drawing.altered else 1)
    png = resvg_py.svg_to_bytes(svg_string=svg, width=px, height=px, background=shade, skip_system_fonts=True)
    image = Image.open(io.BytesIO(png)).convert("RGB")
    if drawing.altered:
        left, top = (round(px * random.uniform(0.005, 0.02)) for _ in range(2))
        right, bottom = (px - max(1, round(px * random.uniform(0.015, 0.02))) for _ in range(2))
        size = round(drawing.image_px * random.choice((random.uniform(0.7, 0.9), random.uniform(1.1, 1.4))))
        image = image.crop((left, top, right, bottom)).resize((size, size), Image.Resampling.LANCZOS)
    return _write(image, drawing, random)


def _write(image: Image.Image, drawing: MotifDrawing, random: Random) -> bytes:
    file = io.BytesIO()
    if drawing.format == "jpg":
        image.save(file, "JPEG", quality=random.randint(50, 70) if drawing.altered else random.randint(82, 95))
    elif drawing.format == "webp":
        image.save(file, "WEBP", quality=random.randint(75, 92), method=2)
    else:
        image.save(file, "PNG", compress_level=4)
    return file.getvalue()


def encode_all(drawings: tuple[MotifDrawing, ...]) -> list[bytes]:
    """The files of several drawings, in their order: what one task of a process does."""
    return [encode(drawing) for drawing in drawings]


def logo() -> bytes:
    """The sites' logo, a PNG."""
    from PIL import Image, ImageDraw

    image = Image.new("RGB", (120, 40), "#3b6ea5")
    ImageDraw.Draw(image).ellipse((8, 8, 32, 32), fill="#ffd43b")
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


# A transparent GIF of one pixel, as layouts and trackers use it.
PIXEL_GIF = bytes.fromhex("47494638396101000100800000000000ffffff21f90401000000002c00000000010001000002024401003b")

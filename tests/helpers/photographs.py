"""Images with edges and gradients in all directions, and their files."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

ORIENTATION = 0x0112  # EXIF's tag of which side is up


def photograph(height: int, width: int, seed: int = 0) -> Image.Image:
    """The same for the same seed."""
    coarse = np.random.default_rng(seed).integers(0, 256, (max(2, height // 9), max(2, width // 9), 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def encoded(image: Image.Image, kind: str = "JPEG", **options: object) -> bytes:
    """The image's file, written by Pillow with these options of its own."""
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def turned(image: Image.Image, orientation: int) -> bytes:
    """A JPEG whose EXIF says which side is up."""
    notes = Image.Exif()
    notes[ORIENTATION] = orientation
    return encoded(image, exif=notes)

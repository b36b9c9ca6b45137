"""What is stored of a fetched picture: upright, RGB over white, reduced to a shorter side, as JPEG.

The callable takes the place of img2dataset's `Resizer` and answers as it does.
"""

from __future__ import annotations

import io
from typing import IO

from PIL import Image, ImageOps, UnidentifiedImageError

from datagen.config import CrawlConfig

Resized = tuple[bytes | None, int | None, int | None, int | None, int | None, str | None]


class ImageResizer:
    """img2dataset's `resizer` seam: (stream, boxes) → (JPEG, width, height, original width, original height, error).

    Sizes in pixels. An error starts with image_truncated, image_undecodable or image_too_large.
    """

    def __init__(self, config: CrawlConfig) -> None:
        self.config = config
        Image.MAX_IMAGE_PIXELS = None  # our own limit is checked below, before anything is decoded

    def __call__(self, img_stream: IO[bytes], blurring_bbox_list: object = None) -> Resized:
        try:
            image = Image.open(img_stream)
            width, height = image.size
            if width * height > self.config.max_image_pixels:
                limit = self.config.max_image_pixels
                return _failed(f"image_too_large: {width}x{height}, the limit is {limit} pixels")
            image.draft("RGB", (self.config.image_px, self.config.image_px))
            image.load()
        except UnidentifiedImageError:
            return _failed("image_undecodable: no picture format that is known")
        except (OSError, SyntaxError, ValueError) as error:
            word = "truncated" if "truncated" in str(error).lower() else "undecodable"
            return _failed(f"image_{word}: {error}")
        upright = to_rgb(ImageOps.exif_transpose(image))
        if upright.size != image.size and image.size[0] != image.size[1]:
            width, height = height, width
        stored = self._reduce(upright)
        data = io.BytesIO()
        stored.save(data, "JPEG", quality=self.config.jpeg_quality)
        return data.getvalue(), stored.width, stored.height, width, height, None

    def _reduce(self, image: Image.Image) -> Image.Image:
        short = min(image.size)
        if short <= self.config.image_px:
            return image
        size = tuple(max(1, round(side * self.config.image_px / short)) for side in image.size)
        return image.resize((size[0], size[1]), Image.Resampling.BICUBIC)


def to_rgb(image: Image.Image) -> Image.Image:
    """The picture in 8-bit RGB: 16 bits are scaled, transparency lies over white."""
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        image = image.point(lambda value: value / 256).convert("L")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        layer = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, (255, 255, 255, 255)), layer)
    return image.convert("RGB")


def _failed(error: str) -> Resized:
    return None, None, None, None, None, error

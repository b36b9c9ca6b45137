"""Images as a crawl stores them, and img2dataset by default: shorter side 256 pixels, JPEG of quality 95."""

from __future__ import annotations

import io

from PIL import Image

from datagen.config import CrawlConfig

STORED_PX = 256


def stored(image: Image.Image) -> bytes:
    """The JPEG that is kept of it; a smaller one is enlarged, where a crawl would keep its size."""
    scale = STORED_PX / min(image.size)
    size = round(image.width * scale), round(image.height * scale)
    resized = image.convert("RGB").resize(size, Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    resized.save(stream, "JPEG", quality=CrawlConfig().jpeg_quality)
    return stream.getvalue()

"""Images decoded, resized and kept on the device that learns from them: by nvJPEG and torch on a GPU.

The same functions run on a CPU, by libjpeg and torch. What they cannot decode is judged by the CPU's way, and an image
that this refuses is broken. The resize is bicubic and antialiased as there, but in float32: within a grey level of it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.io import ImageReadMode
from torchvision.io import decode_jpeg as decode_jpeg_on

from openwit.errors import ImageError
from openwit.images.color import transform_to_srgb
from openwit.images.jpeg import JpegHeader, decode_jpeg
from openwit.images.reading import read_header
from openwit.shards.tar import Encoded
from train.data.decode import decode_resized, resized

END_OF_IMAGE = b"\xff\xd9"
MODES = {1: "L", 3: "RGB"}  # components → mode; not the four colours of print
MAX_PIXELS = 1 << 24  # a larger image is cheaper to decode at reduced scale, which nvJPEG does not do


def decode_resized_on(device: torch.device, encoded: Encoded, resize_px: int, reduced: bool = True) -> Tensor:
    """uint8 [H, W, 3] on the device, the shorter side `resize_px`, ready for any stream. Raises InputError where it is
    no image. `reduced` is for those that the CPU decodes (see `decode_resized`)."""
    decoded_CHW = _decoded(device, encoded)
    if decoded_CHW is None:
        return torch.from_numpy(decode_resized(encoded, resize_px, reduced).copy()).to(device)
    size = resized(decoded_CHW.shape[1:], resize_px)
    image_CHW = decoded_CHW if size == decoded_CHW.shape[1:] else _resize(decoded_CHW, size)
    if device.type == "cuda":
        # nvJPEG writes in a stream of its own, which does not wait for ours: no memory may come back to the pool, for
        # it to write to, while our kernels still read there
        torch.cuda.current_stream(device).synchronize()
    return image_CHW.permute(1, 2, 0)


def plain_header(encoded: Encoded) -> JpegHeader | None:
    """The header of a JPEG of which any decoder makes the same pixels; None for other formats, the colours of print,
    images to be turned or converted from their profile, and what has no end or is no image."""
    try:
        header = read_header(encoded)
    except ImageError:
        return None
    if not isinstance(header, JpegHeader) or header.orientation != 1 or encoded[-2:] != END_OF_IMAGE:
        return None
    mode = MODES.get(len(header.components))
    return header if mode and transform_to_srgb(header.profile, mode) is None else None


def _decoded(device: torch.device, encoded: Encoded) -> Tensor | None:
    """uint8 [3, H, W] at full scale; None where the CPU must judge."""
    header = plain_header(encoded)
    if header is None or header.size[0] * header.size[1] > MAX_PIXELS:
        return None
    data = torch.frombuffer(bytearray(header.data), dtype=torch.uint8)
    try:
        decoded: Tensor = decode_jpeg_on(data, ImageReadMode.RGB, device)
    except torch.OutOfMemoryError:
        raise
    except RuntimeError:
        return None
    return decoded if _ends_whole(decoded, header) else None


def _ends_whole(decoded_CHW: Tensor, header: JpegHeader) -> bool:
    """Whether the file has data for the last row. nvJPEG fills in what a file lacks and says nothing, so where the last
    block is of one colour, the CPU's decoder is asked."""
    corner = decoded_CHW[:, -8:, -8:]
    if not bool((corner == corner[:, -1:, -1:]).all()):
        return True
    try:
        return decode_jpeg(header, factor=8) is not None
    except ImageError:
        return False


def _resize(image_CHW: Tensor, size: tuple[int, int]) -> Tensor:
    resized_BCHW = F.interpolate(image_CHW[None].float(), size, mode="bicubic", antialias=True)
    return resized_BCHW[0].round_().clamp_(0, 255).to(torch.uint8)

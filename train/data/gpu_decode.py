"""Images decoded, resized and kept on the device that learns from them: by nvJPEG and torch on a GPU.

The same functions run on a CPU, by libjpeg and torch. What they cannot decode is judged by the CPU's way, and an image
that this refuses is broken. The resize is bicubic and antialiased as there, but in float32: within a grey level of it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.io import ImageReadMode, decode_jpeg

from openwit.shards.tar import Encoded
from train.data.decode import decode_resized, plain_size, resized

END_OF_IMAGE = b"\xff\xd9"
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


def _decoded(device: torch.device, encoded: Encoded) -> Tensor | None:
    """uint8 [3, H, W] at full scale; None where the CPU must judge. nvJPEG fills in what a file lacks and says nothing,
    so a file must have its end."""
    size = plain_size(encoded)
    if size is None or size[0] * size[1] > MAX_PIXELS or encoded[-2:] != END_OF_IMAGE:
        return None
    data = torch.frombuffer(bytearray(encoded), dtype=torch.uint8)
    try:
        decoded: Tensor = decode_jpeg(data, ImageReadMode.RGB, device)
    except torch.OutOfMemoryError:
        raise
    except RuntimeError:
        return None
    return decoded


def _resize(image_CHW: Tensor, size: tuple[int, int]) -> Tensor:
    resized_BCHW = F.interpolate(image_CHW[None].float(), size, mode="bicubic", antialias=True)
    return resized_BCHW[0].round_().clamp_(0, 255).to(torch.uint8)

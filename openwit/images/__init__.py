"""Encoded bytes → pixels: one decoder for all."""

from openwit.errors import ImageError
from openwit.images.decode import decode, decode_reduced
from openwit.images.header import DecodingLimits

__all__ = ["DecodingLimits", "ImageError", "decode", "decode_reduced"]

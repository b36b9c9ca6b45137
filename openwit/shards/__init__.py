"""Shards: WebDataset tars and what their samples hold, read and written here alone."""

from openwit.shards.samples import IMAGE_SUFFIXES, StoredImage, TarSample, Unusable, read_images, read_samples

__all__ = ["IMAGE_SUFFIXES", "StoredImage", "TarSample", "Unusable", "read_images", "read_samples"]

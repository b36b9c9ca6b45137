# mypy: disable-error-code="arg-type, attr-defined, return-value"
from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image, ImageCms

from datagen.config import CrawlConfig
from datagen.crawl.img2dataset_seams import slim_import
from datagen.crawl.resizer import ImageResizer
from openwit.images.reading import read_header
from openwit.images.shrink import carefully_scaled

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)
KINDS = {"JPEG": {"quality": 98}, "PNG": {}, "WEBP": {"lossless": True}, "GIF": {}, "BMP": {}, "TIFF": {}}
KINDS["AVIF"] = {"quality": 95}


def quarters(size: int = 40) -> Image.Image:
    """Red and green above blue and white."""
    pixels = np.zeros((size, size, 3), np.uint8)
    half = size // 2
    pixels[:half, :half], pixels[:half, half:], pixels[half:, :half], pixels[half:, half:] = RED, GREEN, BLUE, WHITE
    return Image.fromarray(pixels)


def photograph(width: int, height: int) -> Image.Image:
    coarse = np.random.default_rng(1).integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def resize(data: bytes, **fields: object) -> tuple[object, ...]:
    return ImageResizer(CrawlConfig(**{"image_px": 64, "jpeg_quality": 100, **fields}))(io.BytesIO(data))


def stored(data: bytes, **fields: object) -> np.ndarray:
    """The stored pixels [H, W, 3]."""
    stored_data, width, height, *_, error = resize(data, **fields)
    assert error is None
    image = Image.open(io.BytesIO(stored_data))
    assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (width, height))
    return np.asarray(image).astype(int)


def refused(data: bytes, **fields: object) -> str:
    *nothing, error = resize(data, **fields)
    assert nothing == [None] * 5
    return error


def assert_close(pixels: np.ndarray, truth: object, tolerance: int = 8) -> None:
    """Away from edges, where JPEG blurs the colours."""
    middles = np.asarray(truth).astype(int)
    for row in (0.25, 0.75):
        for column in (0.25, 0.75):
            got = pixels[int(row * len(pixels)), int(column * pixels.shape[1])]
            want = middles[int(row * len(middles)), int(column * middles.shape[1])]
            assert np.abs(got - want).max() <= tolerance, (row, column, got, want)


@pytest.mark.parametrize("kind", KINDS)
def test_every_format_gives_its_pixels(kind: str) -> None:
    assert_close(stored(encoded(quarters(), kind, **KINDS[kind])), quarters())


@pytest.mark.parametrize("kind", KINDS)
def test_every_format_is_reduced_to_its_pixels(kind: str) -> None:
    assert_close(stored(encoded(quarters(400), kind, **KINDS[kind])), quarters(400), tolerance=10)


@pytest.mark.parametrize("kind", ["WEBP", "GIF", "PNG"])
def test_the_first_frame_of_an_animation_is_stored(kind: str) -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in (RED, BLUE)]
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:] * 500, duration=50)
    assert_close(stored(data), frames[0])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_truncated_image_is_refused(kind: str, share: float) -> None:
    data = encoded(photograph(320, 240), kind, **KINDS[kind])
    assert refused(data[: int(len(data) * share)]).startswith("image_truncated")
    assert resize(data)[5] is None  # whole, it is stored


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_an_image_is_stored_upright(kind: str, orientation: int) -> None:
    upright = quarters(160).resize((160, 320))
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # Image.Transpose that brings it into that orientation
    held = upright if orientation == 1 else upright.transpose(Image.Transpose(undo[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(held, kind, exif=exif, **KINDS[kind])
    assert resize(data)[1:] == (64, 128, 160, 320, None)
    assert_close(stored(data), upright, tolerance=10)


@given(st.lists(st.tuples(st.integers(6, 117), st.integers(0, 255)), max_size=12), st.integers(0, 118))
@example([(10, 255), (11, 255), (12, 255), (13, 255)], 0)
def test_a_damaged_note_of_the_camera_is_passed_over(damage: list[tuple[int, int]], missing: int) -> None:
    note = Image.Exif()
    note[0x0112], note[0x010F], note[0x011A], note[0x8769] = 1, "maker", 1.5, {0x9003: "2020", 0x829A: (1, 3)}
    damaged = bytearray(note.tobytes())
    assert len(damaged) == 118
    for place, value in damage:
        damaged[place] = value
    data = encoded(quarters(), "JPEG", exif=bytes(damaged[: len(damaged) - missing]), quality=98)
    assert resize(data)[5] is None


def test_an_image_with_more_images_behind_it_is_the_first_one() -> None:
    data = encoded(quarters(400), "MPO", save_all=True, append_images=[Image.new("RGB", (400, 400))], quality=98)
    assert Image.open(io.BytesIO(data)).format == "MPO"
    assert_close(stored(data), quarters(400), tolerance=10)


@pytest.mark.parametrize("mode", ["keep_ratio", "border", "center_crop"])
@pytest.mark.parametrize("kind", ["plain", "turned", "profile", "grey", "inks", "with warnings"])
def test_every_kind_of_jpeg_made_smaller_gives_its_pixels(kind: str, mode: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3 if kind == "turned" else 1
    options: dict[str, object] = {"exif": exif, "quality": 98}
    image = quarters(400).transpose(Image.Transpose.ROTATE_180) if kind == "turned" else quarters(400)
    if kind == "profile":
        options["icc_profile"] = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    truth = quarters(400).convert("L").convert("RGB") if kind == "grey" else quarters(400)
    data = encoded(image.convert({"grey": "L", "inks": "CMYK"}.get(kind, "RGB")), "JPEG", **options)
    if kind == "with warnings":
        scan = data.index(b"\xff\xda")
        data = data[:scan] + b"junk" + data[scan:]  # libjpeg passes over it, and says so
    assert_close(stored(data, resize_mode=mode), truth, tolerance=12)


def png16(values: np.ndarray, colour_type: int, transparency: bytes = b"") -> bytes:
    """A PNG of 16 bits, which Pillow reads but does not write in colours."""
    height, width = values.shape[:2]
    lines = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"tRNS", transparency), (b"IDAT", zlib.compress(lines)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*entry) for entry in chunks if entry[0] != b"tRNS" or transparency)


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def test_sixteen_bits_are_scaled_not_clipped() -> None:
    ramp = np.linspace(0, 65535, 64).astype(np.uint16)[None].repeat(8, 0)
    truth = np.round(ramp / 65535 * 255)[..., None]
    assert np.abs(stored(png16(ramp, 0)) - truth).max() <= 2
    assert np.abs(stored(encoded(Image.fromarray(ramp), "TIFF")) - truth).max() <= 2
    assert np.abs(stored(png16(ramp[..., None].repeat(3, 2), 2)) - truth).max() <= 3
    opaque = np.stack([ramp, np.full_like(ramp, 65535)], -1)
    assert np.abs(stored(png16(opaque, 4)) - truth).max() <= 3


def test_sixteen_bits_with_a_transparent_grey_lie_over_white() -> None:
    halves = np.full((32, 32), 0x4000, np.uint16)
    halves[:, 16:] = 0x8001
    pixels = stored(png16(halves, 0, struct.pack(">H", 0x4000)))
    assert pixels[16, 4].min() > 250
    assert np.abs(pixels[16, 28] - 128).max() <= 2
    colours = halves[..., None].repeat(3, 2)
    assert stored(png16(colours, 2, struct.pack(">HHH", *[0x4000] * 3)))[16, 4].min() > 250


def test_transparency_lies_over_white() -> None:
    layer = quarters().convert("RGBA")
    layer.putalpha(Image.fromarray(np.uint8([[0, 128], [255, 255]])).resize((40, 40), Image.Resampling.NEAREST))
    truth = Image.alpha_composite(Image.new("RGBA", (40, 40), (*WHITE, 255)), layer).convert("RGB")
    for kind in ("PNG", "WEBP", "AVIF", "TIFF"):
        assert_close(stored(encoded(layer, kind, **KINDS[kind])), truth)
    palette = quarters().quantize(4)
    palette.info["transparency"] = palette.getpixel((5, 5))
    for kind in ("PNG", "GIF"):
        pixels = stored(encoded(palette, kind, transparency=palette.getpixel((5, 5))))
        assert pixels[5, 5].min() > 250
        assert np.abs(pixels[5, 35] - GREEN).max() <= 8
    assert stored(encoded(Image.new("LA", (8, 8), (0, 0)))).min() > 250
    assert stored(encoded(Image.new("L", (8, 8), 7), transparency=7)).min() > 250
    assert stored(encoded(Image.new("RGB", (8, 8), RED), transparency=RED)).min() > 250


def test_a_transparent_edge_takes_no_colour_from_what_is_hidden() -> None:
    layer = Image.new("RGBA", (256, 256), (0, 0, 0, 0))
    layer.paste((*RED, 255), (0, 0, 128, 256))
    pixels = stored(encoded(layer))
    assert pixels[:, :, 0].min() > 200  # red to white: nothing dark between


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA"])
def test_every_colour_mode_becomes_rgb(mode: str) -> None:
    truth = Image.new("RGB", (16, 16), WHITE)
    truth.paste((0, 0, 0), (0, 0, 16, 8))
    assert_close(stored(encoded(truth.convert(mode))), truth)


def test_inks_become_colours() -> None:
    inks = Image.fromarray(np.uint8([[[0, 255, 255, 0], [255, 0, 255, 0]], [[255, 255, 0, 0], [0, 0, 0, 0]]]), "CMYK")
    inks = inks.resize((40, 40), Image.Resampling.NEAREST)
    assert_close(stored(encoded(inks, "TIFF")), quarters())
    assert_close(stored(encoded(inks, "JPEG", quality=98)), quarters(), tolerance=12)  # inverted, as Adobe writes it


def test_a_colour_profile_is_converted_to_srgb() -> None:
    linear = ImageCms.createProfile("XYZ")
    lab = ImageCms.ImageCmsProfile(linear).tobytes()
    grey = Image.new("RGB", (16, 16), (128, 128, 128))
    assert_close(stored(encoded(grey, icc_profile=lab)), grey)  # of another space: passed over
    assert_close(stored(encoded(grey, icc_profile=b"damaged")), grey)
    assert_close(stored(encoded(grey, icc_profile=wide_gamut())), grey)
    pure = stored(encoded(Image.new("RGB", (16, 16), (200, 60, 60)), icc_profile=wide_gamut()))
    truth = ImageCms.profileToProfile(
        Image.new("RGB", (16, 16), (200, 60, 60)), io.BytesIO(wide_gamut()), ImageCms.createProfile("sRGB")
    )
    assert_close(pure, truth)
    large = Image.new("RGB", (160, 160), (200, 60, 60))
    assert_close(stored(encoded(large, "JPEG", icc_profile=wide_gamut(), quality=98)), truth)
    assert pure[8, 8, 0] > 215  # the same red needs more of sRGB's


def wide_gamut() -> bytes:
    """sRGB's profile with the red primary of a wider space (Adobe RGB's), its curves kept, and another name."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    count = struct.unpack(">I", profile[128:132])[0]
    tags = {
        bytes(profile[132 + 12 * k : 136 + 12 * k]): struct.unpack(">II", profile[136 + 12 * k : 144 + 12 * k])
        for k in range(count)
    }
    adobe = {
        b"rXYZ": (0.60974, 0.31111, 0.01947),
        b"gXYZ": (0.20528, 0.62567, 0.06087),
        b"bXYZ": (0.14919, 0.06322, 0.74457),
    }
    for name, values in adobe.items():
        start = tags[name][0] + 8
        profile[start : start + 12] = struct.pack(">iii", *(round(value * 65536) for value in values))
    return bytes(profile).replace("sRGB".encode("utf-16-be"), "wide".encode("utf-16-be"))


def test_pixels_of_no_known_range_are_refused() -> None:
    assert refused(encoded(Image.fromarray(np.ones((8, 8), np.float32)), "TIFF")).startswith(
        "image_undecodable: pixels"
    )


def test_a_page_posing_as_an_image_is_undecodable() -> None:
    assert refused(b"<html>not found</html>") == "image_undecodable: no image format that is known"


def test_formats_that_run_programs_are_not_opened() -> None:
    assert refused(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\nshowpage\n").startswith("image_undecodable")


def test_a_huge_image_is_refused_by_its_header_alone() -> None:
    data = encoded(Image.new("1", (20_000, 20_000)))
    assert len(data) < 1_000_000
    assert refused(data) == "image_too_large: 20000x20000, the limit is 50000000 pixels"
    bare = (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)) + b"\0\0\0\0IDAT"
    )
    assert refused(bare).startswith("image_too_large: 20000x20000")


def test_small_and_long_images_are_refused_where_that_is_asked_for() -> None:
    data = encoded(Image.new("RGB", (90, 30)))
    assert refused(data, min_image_px=31) == "image_too_small: 90x30, the limit is 31 pixels a side"
    assert refused(data, max_aspect_ratio=2.5) == "image_aspect_ratio: 90x30, the limit is 2.5 to 1"
    assert resize(data, min_image_px=30, max_aspect_ratio=3.0)[5] is None
    assert refused(encoded(Image.new("1", (70_000, 2)))).startswith("image_aspect_ratio: 70000x2")


@pytest.mark.parametrize(
    ("mode", "only_if_bigger", "size", "expected"),
    [
        ("keep_ratio", True, (300, 200), (96, 64)), ("keep_ratio", True, (30, 20), (30, 20)),
        ("keep_ratio", False, (30, 20), (96, 64)), ("center_crop", True, (301, 200), (64, 64)),
        ("center_crop", True, (100, 20), (100, 20)), ("keep_ratio_largest", True, (300, 200), (64, 43)),
        ("border", True, (300, 200), (64, 64)), ("border", True, (30, 20), (30, 20)),
        ("border", False, (30, 20), (64, 64)), ("no", True, (300, 200), (300, 200)),
    ],
)  # fmt: skip
def test_resize_modes_mean_what_img2datasets_mean(
    mode: str, only_if_bigger: bool, size: tuple[int, int], expected: tuple[int, int]
) -> None:
    with slim_import("img2dataset", without="torch", forget="webdataset"):
        from img2dataset.resizer import Resizer

    data = encoded(quarters(400).resize(size))
    ours = resize(data, resize_mode=mode, resize_only_if_bigger=only_if_bigger)
    theirs = Resizer(64, mode, only_if_bigger, encode_quality=100)(io.BytesIO(data))
    assert ours[1:] == theirs[1:] == (*expected, *size, None)
    assert_close(
        np.asarray(Image.open(io.BytesIO(ours[0]))).astype(int), Image.open(io.BytesIO(theirs[0])), tolerance=12
    )


@pytest.mark.parametrize(("scene", "mean", "most"), [("blobs", 2.0, 10), ("stripes", 3.5, 30)])
def test_decoding_a_jpeg_at_reduced_scale_changes_little(scene: str, mean: float, most: int) -> None:
    source = photograph(1600, 1200)
    if scene == "stripes":
        pixels = np.zeros((1200, 1600, 3), np.uint8)
        pixels[::30] = pixels[:, ::37] = WHITE
        source = Image.fromarray(pixels)
    data = encoded(source, "JPEG", quality=90)
    for image_px in (256, 100):
        whole = Image.open(io.BytesIO(data))
        size = (round(whole.width * image_px / 1200), image_px)
        truth = np.asarray(whole.resize(size, Image.Resampling.BICUBIC)).astype(int)
        reduced = carefully_scaled(read_header(data), size)
        difference = np.abs(np.asarray(reduced).astype(int) - truth)
        assert difference.mean() <= mean
        assert np.percentile(difference, 99.9) <= most


@given(st.sampled_from(sorted(KINDS)), st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 255)), max_size=8))
def test_damage_anywhere_ends_in_an_image_or_a_reason(kind: str, damage: list[tuple[int, int]]) -> None:
    data = bytearray(encoded(photograph(64, 48), kind, **KINDS[kind]))
    for place, value in damage:
        data[place % len(data)] = value
    answer = resize(bytes(data), max_image_pixels=1_000_000, max_decoding_bytes=20_000_000)
    assert (answer[0] is None) == (answer[5] is not None)
    assert answer[5] is None or answer[5].startswith("image_")

"""Which side of an image is up, as its EXIF says. XMP may say it too, but browsers do not ask it."""

from __future__ import annotations

import cv2

from openwit.images.header import U8

_ORIENTATION = 0x0112
_SHORT = 3  # the type of a number of 16 bits
_MAX_ENTRIES = 1000  # of the first directory; cameras write 20


def orientation(note: bytes) -> int:
    """1 to 8: how the image lies, by its EXIF note; 1 where nothing readable says it: a damaged note about a whole
    image."""
    note = note.removeprefix(b"Exif\0\0")
    order: str = {b"II*\0": "little", b"MM\0*": "big"}.get(note[:4], "")
    if not order:
        return 1

    def number(place: int, length: int) -> int:
        return int.from_bytes(note[place : place + length], "little" if order == "little" else "big")

    start = number(4, 4)
    for place in range(start + 2, start + 2 + 12 * min(number(start, 2), _MAX_ENTRIES), 12):
        if number(place, 2) == _ORIENTATION and len(note) >= place + 12:
            turned = number(place + 8, 2)
            return turned if number(place + 2, 2) == _SHORT and 1 <= turned <= 8 else 1
    return 1


def turn_upright(pixels: U8, turned: int) -> U8:
    """The pixels [H, W, …] of an image that lies as `turned` says, upright."""
    if turned == 1:
        return pixels
    if turned in (5, 7):
        pixels = cv2.transpose(pixels).astype("uint8", copy=False)
    turn = {3: cv2.ROTATE_180, 6: cv2.ROTATE_90_CLOCKWISE, 7: cv2.ROTATE_180, 8: cv2.ROTATE_90_COUNTERCLOCKWISE}
    if turned in turn:
        return cv2.rotate(pixels, turn[turned]).astype("uint8", copy=False)
    return pixels if turned == 5 else cv2.flip(pixels, 1 if turned == 2 else 0).astype("uint8", copy=False)

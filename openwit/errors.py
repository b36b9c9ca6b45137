"""One small tree of errors for users. Each message says what, where, found, expected, and what to write."""

from __future__ import annotations

import re
from collections.abc import Iterable

# Controls (C0, DEL, C1), line separators, what turns the direction of writing, byte order marks, halves of a character.
_UNPRINTABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]"
)


def printable(text: str) -> str:
    """The text without characters that a terminal obeys instead of showing them, or that make a line look like another:
    white space among them becomes a space, others become U+FFFD. For whatever others wrote, before it is shown,
    logged or stored as a message."""
    return _UNPRINTABLE.sub(lambda found: " " if found[0].isspace() else "\ufffd", text)


def printable_lines(text: str) -> str:
    """As `printable`, but the text keeps its line breaks."""
    return "\n".join(map(printable, text.split("\n")))


def one_line(text: str) -> str:
    """The text with its line breaks made spaces, and printable: a message is one line, whatever it quotes."""
    return printable(" ".join(part for part in text.splitlines() if part))


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known name that a mistyped one is likely meant to be, if any is near."""
    import difflib

    return next(iter(difflib.get_close_matches(word, list(known), n=1)), None)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """What a message on an unknown name goes on with: the nearest known one; empty where none is near."""
    near = nearest(word, known)
    return f"; did you mean {near}?" if near else ""


class OpenwitError(Exception):
    """Something a user must read, in one line; `exit_code` is what the command returns."""

    exit_code = 1

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


class ConfigError(OpenwitError):
    """A recipe, field or command line that cannot be right."""

    exit_code = 2


class InputError(OpenwitError):
    """A file or address that is missing, unreadable or of another kind than expected."""

    exit_code = 2


class ImageError(InputError):
    """Bytes that are no image, or one that must not be decoded.

    `reason` is a word for counts: image_undecodable, image_truncated or image_too_large; `detail` says more, without
    signs that steer a terminal.
    """

    def __init__(self, reason: str, detail: str, num_bytes: int = 0) -> None:
        self.reason = reason
        self.detail = "".join(sign if sign.isprintable() else " " for sign in detail).strip()
        super().__init__(f"not a readable image ({num_bytes} bytes): {self.detail}")


class WorkError(OpenwitError):
    """Work that was tried and failed; what was finished stays, the same command goes on from there."""

    exit_code = 1

"""Lines of a text that comes in chunks; however long one is, no more of it is held than a limit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator


def _never() -> bool:
    return False


def split_lines(
    chunks: Iterable[bytes | None], max_bytes: int, is_cut: Callable[[], bool] = _never
) -> Iterator[bytes | None]:
    """The lines without their ends (\\n). None stands in the place of a line longer than `max_bytes`, and for each
    None among the chunks, around which the broken lines are left out. Where `is_cut` says at the end that the text
    breaks off, so is the last line."""
    held, is_lost = b"", False  # the beginning of a line; whether that was given up, so that its end is passed over
    for chunk in chunks:
        if chunk is None:
            yield None
            held, is_lost = b"", True
            continue
        if is_lost:
            begin = chunk.find(b"\n") + 1
            if not begin:
                continue
            chunk, is_lost = chunk[begin:], False
        *lines, held = (held + chunk).split(b"\n")
        if lines and len(max(lines, key=len)) > max_bytes:
            yield from [line if len(line) <= max_bytes else None for line in lines]
        else:
            yield from lines
        if len(held) > max_bytes:
            yield None
            held, is_lost = b"", True
    if held and not is_cut():
        yield held

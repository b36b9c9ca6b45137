"""Content codings: what a Content-Encoding header names, and the body without it, bounded."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from email.message import Message
from types import MappingProxyType

import brotli
import zstandard

from datagen.crawl.fetch.failures import FetchFailed

_MAX_CODINGS = 3
_MAX_MEMBERS = 64  # of a gzip file; each copies what is behind it
_CODINGS = ("gzip", "x-gzip", "deflate", "br", "zstd", "compress", "x-compress", "dcb", "dcz")


def codings(headers: Message) -> list[str]:
    """The content codings that a response names, in the order to undo them; words that are none (none, binary, utf-8,
    aws-chunked) are passed over, as browsers do."""
    words = ",".join(headers.get_all("Content-Encoding", [])).lower().split(",")
    return [word for part in reversed(words) if (word := part.strip()) in _CODINGS]


def decoded(body: bytes, names: list[str], limit: int, *, whole: bool = True) -> bytes:
    """The body without its content codings, or where it need not be whole, its first `limit` bytes. Raises FetchFailed
    (content_encoding) where it has more, ends early, or cannot be decoded."""
    if len(names) > _MAX_CODINGS:
        raise FetchFailed("content_encoding", f"{len(names)} codings, the limit is {_MAX_CODINGS}")
    for name in names:
        try:
            body, is_whole = _DECODERS[name](body, limit + 1)
        except (KeyError, zlib.error, brotli.error, zstandard.ZstdError):
            raise FetchFailed("content_encoding", f"{name}, which it is not or which cannot be undone") from None
        if whole and (len(body) > limit or not is_whole):
            raise FetchFailed("content_encoding", f"{name} that ends early or holds more than {limit} bytes")
    return body[:limit]


def _inflated(body: bytes, limit: int, wbits: int) -> tuple[bytes, bool]:
    parts: list[bytes] = []
    for _ in range(_MAX_MEMBERS):
        stream = zlib.decompressobj(wbits)
        parts.append(stream.decompress(body, limit))
        limit -= len(parts[-1])
        body = stream.unused_data
        if limit <= 0 or not body.startswith(b"\x1f\x8b"):  # else a further member of a gzip file
            return b"".join(parts), stream.eof
    return b"".join(parts), False


def _gzip(body: bytes, limit: int) -> tuple[bytes, bool]:
    return _inflated(body, limit, 16 + zlib.MAX_WBITS)


def _deflate(body: bytes, limit: int) -> tuple[bytes, bool]:
    try:
        return _inflated(body, limit, zlib.MAX_WBITS)
    except zlib.error:  # some servers leave zlib's header out
        return _inflated(body, limit, -zlib.MAX_WBITS)


def _brotli(body: bytes, limit: int) -> tuple[bytes, bool]:
    stream = brotli.Decompressor()
    return stream.process(body, output_buffer_limit=limit)[:limit], stream.is_finished()


def _zstd(body: bytes, limit: int) -> tuple[bytes, bool]:
    stream = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW_BYTES).stream_reader(body, read_across_frames=True)
    return stream.read(limit), True


_ZSTD_WINDOW_BYTES = 8 << 20  # RFC 9659
_DECODERS: Mapping[str, Callable[[bytes, int], tuple[bytes, bool]]] = MappingProxyType(
    {"gzip": _gzip, "x-gzip": _gzip, "deflate": _deflate, "br": _brotli, "zstd": _zstd}
)

"""An HTTP/1.1 response, read from a socket to which anybody may write: its head as browsers read it, and its body.

Where browsers read past a mistake, so do we; where a reservation or the length of the body could hide in what is read
past, the response is refused as `protocol`. http.client ends the headers at the first line that is none, takes a 103
for the response and a chunk of -1 bytes for all that comes: so it is not used.
"""

from __future__ import annotations

import contextlib
import io
import re
import socket
from collections.abc import Callable, Iterator
from email.message import Message
from typing import Any

from datagen.crawl.fetch.content_encoding import codings, decoded
from datagen.crawl.fetch.failures import FetchFailed, failure_of
from datagen.crawl.fetch.limits import Deadline

MAX_HEAD_BYTES = 65_536  # of all heads of a response, those of 1xx among them
MAX_HEADERS = 128
MAX_CHUNK_LINE_BYTES = 4_096  # a chunk's size with its extensions, or a line behind the last chunk
MAX_SKIPPED_BYTES = 65_536  # of a body nobody wants that are read to keep its connection
LINGER_S = 0.5  # that are waited for what only the connection's next use needs
_READ_BYTES = 65_536

_BEGIN = b"HTTP/"
_END = re.compile(rb"(?<=[^\r\n])\r?\n\r?\n")
_BREAK = re.compile(rb"\r\n|\n|\r")  # a bare CR ends a line in Chrome
_STATUS = re.compile(rb"HTTP/(\d(?:\.\d)?)[ \t]+(\d{3})(?!\d)[ \t]*(.*)", re.IGNORECASE | re.DOTALL)
_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CONTROLS = bytes(set(range(32)) - set(b"\t\r\n")) + b"\x7f"
# What a line that is read past must not hold: somebody may have meant it.
_RESERVES = re.compile(rb"robots|tdm.?res|noai|noimage|noindex|noml|content-length|transfer-encoding", re.IGNORECASE)
_CHUNK = re.compile(rb"[ \t]*0*([0-9A-Fa-f]{1,16})[ \t]*(?:;.*)?\r*\n", re.DOTALL)


class SocketReader(io.RawIOBase):
    """Reads a socket up to the deadline, however slowly the bytes drip, and no more bytes in all than `allow` allowed;
    closing it leaves the socket open. Raises TimeoutError, FetchFailed (too_large)."""

    def __init__(self, sock: socket.socket, deadline: Deadline) -> None:
        self.sock, self.deadline = sock, deadline
        self.is_ended = False  # nothing more is asked of the socket
        self._allowed = 0

    def allow(self, num_bytes: int) -> None:
        """So many more bytes may be read, and as many as are read ahead."""
        self._allowed = max(self._allowed, 0) + num_bytes + _READ_BYTES

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self.is_ended:
            return 0
        self.sock.settimeout(self.deadline.left())
        num_bytes = self.sock.recv_into(buffer)
        self._allowed -= num_bytes
        if self._allowed < 0:
            raise FetchFailed("too_large", "more bytes came than the limit allows")
        return num_bytes


class Head:
    """Status line and headers. `is_clean` where no line had to be read past. Raises FetchFailed (protocol)."""

    def __init__(self, text: bytes) -> None:
        if b"\0" in text:
            raise _malformed("a zero byte in the headers")
        first, *lines = _BREAK.split(text.translate(None, _CONTROLS).strip(b"\r\n"))
        if len(lines) > MAX_HEADERS:
            raise _malformed(f"more than {MAX_HEADERS} headers")
        if (status := _STATUS.fullmatch(first)) is None or status[2] < b"100":
            raise _malformed("the first line is no status")
        self.version, self.status, self.reason = status[1], int(status[2]), status[3].decode("latin-1")
        self.headers, self.is_clean = Message(), True
        for name, value in self._fields(lines):
            self.headers[name] = value

    def _fields(self, lines: list[bytes]) -> Iterator[tuple[str, str]]:
        name, value = b"", b""
        for line in lines:
            if line[:1] in (b" ", b"\t") and name and (name.lower() == b"x-robots-tag" or not _RESERVES.search(line)):
                value += (b", " if name.lower() == b"x-robots-tag" else b" ") + line.strip()
                continue
            found, colon, rest = line.partition(b":")
            found = found.rstrip(b" \t")
            if colon and _NAME.fullmatch(found):
                if name:
                    yield name.decode(), value.decode("latin-1")
                name, value = found, rest.strip(b" \t")
            elif line:
                self._read_past(line)
        if name:
            yield name.decode(), value.decode("latin-1")

    def _read_past(self, line: bytes) -> None:
        if _RESERVES.search(line):
            raise _malformed("a line that is no header, and may reserve or measure")
        self.is_clean = False

    def tokens(self, name: str) -> list[str]:
        """The comma-separated words of all headers of a name, in lower case."""
        return [
            token
            for value in self.headers.get_all(name, [])
            for part in value.split(",")
            if (token := part.strip().lower())
        ]


def _malformed(text: str) -> FetchFailed:
    return FetchFailed("protocol", text)


def _no_chunk() -> FetchFailed:
    return FetchFailed("incomplete", "no chunk stands where the next one should", again=True)


def _never(_body: bytes) -> bool:
    return False


class Response:
    """The final response on a socket; 1xx before it are read and forgotten.

    Raises FetchFailed, or what the socket raises; ConnectionResetError where the server hung up instead.
    """

    def __init__(self, sock: socket.socket, deadline: Deadline) -> None:
        self.sock, self.deadline = sock, deadline
        self._raw = SocketReader(sock, deadline)
        self._file = io.BufferedReader(self._raw, _READ_BYTES)
        self._raw.allow(MAX_HEAD_BYTES)
        left = MAX_HEAD_BYTES
        while True:
            text = self._head(left)
            head, left = Head(text), left - len(text)
            if head.status == 101:
                raise _malformed("it switches to another protocol")
            if head.status >= 200:
                break
        self.status, self.reason, self.headers = head.status, head.reason, head.headers
        self._body_bytes = self._framing_bytes = 0
        self._is_chunked, self._is_last_chunk = False, False
        self._closes = head.version != b"1.1" or "close" in head.tokens("Connection")
        self.may_keep = head.is_clean and not self._closes
        self._left = self._measure(head)  # bytes of the body, or of the chunk at hand; None: up to the end

    def _head(self, limit: int) -> bytes:
        seen = b""
        while True:
            ahead = self._file.peek()
            before = len(seen)
            seen = seen + ahead if seen else ahead
            if before < len(_BEGIN) and not _BEGIN.startswith(seen.lstrip(b"\r\n")[: len(_BEGIN)].upper()):
                raise _malformed("it does not begin with HTTP/")
            if end := _END.search(seen, max(0, before - 5)):
                self._file.read(end.end() - before)
                if end.end() > limit:
                    break
                return seen[: end.end()]
            if len(seen) > limit or b"\0" in ahead or b"\r\r" in seen[max(0, before - 1) :]:
                break  # it is past its headers, though they did not end
            if not ahead:
                raise self._hung_up(bool(seen))
            self._file.read(len(ahead))
        raise _malformed("the headers have no end")

    def _hung_up(self, has_begun: bool) -> Exception:
        if has_begun:
            return FetchFailed("incomplete", "the answer ends within its headers", again=True)
        return ConnectionResetError("the server hung up")

    def _measure(self, head: Head) -> int | None:
        """The length of the body by RFC 9112, section 6.3. A connection is not kept where any rule was bent."""
        lengths = head.tokens("Content-Length")
        transfers = [coding for coding in head.tokens("Transfer-Encoding") if coding != "identity"]
        if head.status in (204, 304):
            self.may_keep = False
            return 0
        if transfers:
            if set(transfers) != {"chunked"}:
                raise _malformed(f"Transfer-Encoding is {transfers[0][:40]}")
            self.may_keep = self.may_keep and len(transfers) == 1 and not lengths
            self._is_chunked = True
            return 0
        if len(set(lengths)) > 1:
            raise _malformed("it has two lengths")
        if lengths and lengths[0].isascii() and lengths[0].isdigit() and len(lengths[0]) < 20:
            return int(lengths[0])
        if not self._closes and (lengths or not head.is_clean):
            raise _malformed("nothing says where its body ends")
        self.may_keep = False
        return None

    def length(self) -> int | None:
        """The declared bytes of the body that are still to be read; None where they are not declared."""
        return None if self._is_chunked else self._left

    def read(self, limit: int, is_plain: Callable[[bytes], bool] = _never) -> bytes:
        """The whole body, without its content codings unless `is_plain` says that it only claims to have some.

        Raises FetchFailed: too_large above `limit` bytes, content_encoding, incomplete, timeout …"""
        length = self.length()
        if length is not None and length > limit:
            raise FetchFailed("too_large", f"{length} bytes, the limit is {limit}")
        body = self._take(limit + 1 if length is None else length)
        if len(body) > limit:
            raise FetchFailed("too_large", f"the body passes the limit of {limit} bytes")
        names = codings(self.headers)
        return body if not names or is_plain(body) else decoded(body, names, limit)

    def read_head(self, limit: int, is_plain: Callable[[bytes], bool] = _never) -> bytes:
        """The first `limit` bytes of the body, or all of it. Raises FetchFailed as `read` does."""
        body, names = self._take(limit), codings(self.headers)
        return body if not names or is_plain(body) else decoded(body, names, limit, whole=False)

    def skip(self) -> None:
        """Reads a short body that nobody wants, so that its connection can be kept; what it is, is known without."""
        if not self.may_keep or (self.length() or 0) > MAX_SKIPPED_BYTES:
            return
        try:
            with self._in_a_moment():
                self._take(MAX_SKIPPED_BYTES)
        except (OSError, FetchFailed):
            self.may_keep = False

    def _take(self, limit: int) -> bytes:
        self._raw.allow(limit + limit // 4 + MAX_HEAD_BYTES)
        try:
            return self._chunks(limit) if self._is_chunked else self._plain(limit)
        except Exception as error:
            self.may_keep = False
            raise failure_of(error, self.deadline.seconds) or error from None

    def is_read(self) -> bool:
        """Whether the body was proven to end where it was read to."""
        return self._left == 0 and self._is_last_chunk == self._is_chunked

    def surplus(self) -> bool:
        """Whether bytes came that belong to no response."""
        self._raw.is_ended = True
        return bool(self._file.peek(1))

    @contextlib.contextmanager
    def _in_a_moment(self) -> Iterator[None]:
        self._raw.deadline = self.deadline.at_most(LINGER_S)
        try:
            yield
        finally:
            self._raw.deadline = self.deadline

    def _plain(self, limit: int) -> bytes:
        if self._left is None:
            return self._file.read(limit)
        wanted = min(limit, self._left)
        body = self._file.read(wanted) if wanted else b""
        self._left -= len(body)
        if len(body) < wanted:
            raise FetchFailed("incomplete", "the body ends before its declared length", again=True)
        return body

    def _chunks(self, limit: int) -> bytes:
        parts, wanted = [], limit
        while wanted and not self._is_last_chunk:
            if not self._left:
                self._left = self._chunk_bytes()
                if not self._left:
                    self._is_last_chunk = True
                    self._trailers()
                    break
            part = self._plain(wanted)
            parts.append(part)
            wanted -= len(part)
            self._body_bytes += len(part)
            if not self._left and self._line().strip(b"\r\n"):
                raise _no_chunk()
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _chunk_bytes(self) -> int:
        if (size := _CHUNK.fullmatch(self._line())) is None:
            raise _no_chunk()
        return int(size[1], 16)

    def _line(self) -> bytes:
        """A line of the chunks' framing, which is not to be larger than the body."""
        line = self._file.readline(MAX_CHUNK_LINE_BYTES)
        self._framing_bytes += len(line)
        if not line.endswith(b"\n"):
            raise _no_chunk()
        if self._framing_bytes > MAX_HEAD_BYTES + self._body_bytes // 4:
            raise _malformed("more chunk sizes than body")
        return line

    def _trailers(self) -> None:
        """Headers behind the last chunk count like those before. That they end is of interest to the next request only:
        where they do not, in a moment, the body is whole, and its connection is not kept."""
        lines = []
        try:
            with self._in_a_moment():
                while line := self._line().strip(b"\r\n"):
                    lines.append(line)
        except (OSError, FetchFailed) as error:
            self.may_keep = False
            if isinstance(error, FetchFailed) and error.reason == "protocol":
                raise
        if lines:
            for name, value in Head(b"HTTP/1.1 200\n" + b"\n".join(lines)).headers.items():
                self.headers[name] = value

"""What may be fetched and how: the opener that img2dataset's fetches go through.

img2dataset fetches through `urllib.request.urlopen`, so installing a FetchPolicy as the opener puts every fetch under
it: scheme, addresses, redirects, one deadline, bytes, kind of content (connections, addresses, image_kinds); robots.txt
and reservations (robots, reservations); slots and pauses of hosts over all workers (limiter). A redirect passes the
same gate as the first address.
"""

from __future__ import annotations

import contextlib
import time
import urllib.request
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from email.message import Message
from types import TracebackType
from typing import TypeVar

from datagen.config import CrawlConfig
from datagen.crawl.fetch import limits
from datagen.crawl.fetch.addresses import LookUp, Resolver, system_look_up
from datagen.crawl.fetch.client import HttpClient
from datagen.crawl.fetch.content_encoding import codings
from datagen.crawl.fetch.failures import FetchFailed
from datagen.crawl.fetch.limits import BodyBudget, Deadline
from datagen.crawl.fetch.response import Response
from datagen.crawl.fetch.url import WebAddress
from datagen.crawl.politeness.client import LimiterClient, Slot
from datagen.crawl.politeness.reservations import check_headers
from datagen.crawl.politeness.robots import SiteRules
from datagen.shards.tombstones import REMOVED_URL
from openwit.images.header import has_image_signature, may_be_image

T = TypeVar("T")

_REDIRECTS = (301, 302, 303, 307, 308)
_BUSY = (429, 503)  # the whole host rests
_OF_TEXT = bytes(set(range(32, 256)) - {127}) + b"\t\r\n\f"  # bytes of a text in any of the usual encodings
_TEXT_BYTES = 512  # that show whether it is one
_FOR_NOW = (*_BUSY, 502, 504)  # worth another try


@dataclass
class FetchedImage:
    """A fetched body as `urlopen` returns it: a context with headers and `read()`."""

    headers: Message
    body: bytes

    def read(self) -> bytes:
        """The whole body, once."""
        body, self.body = self.body, b""
        return body

    def __enter__(self) -> FetchedImage:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is left open."""


@dataclass(frozen=True)
class _Elsewhere:
    url: str


class FetchPolicy:
    """The rules of one crawl in one worker, and the connections that keep them. Used by many threads at once."""

    def __init__(self, config: CrawlConfig, limiter: LimiterClient, look_up: LookUp = system_look_up) -> None:
        self.config, self.limiter = config, limiter
        self.agent = config.user_agent.partition("/")[0].strip().lower()
        self.resolver = Resolver(config.connect_to, look_up)
        self.client = HttpClient(self.resolver, config.user_agent, config.deadline_s)
        self.sites = SiteRules(config, self.agent, self._read_text)
        self.bodies = BodyBudget(config.max_held_bytes)

    def open(self, request: urllib.request.Request | str, data: object = None, timeout: object = None) -> FetchedImage:
        """The image at an address; its bytes are held against `bodies` until they are given back there.

        Raises FetchFailed, and LimiterGone. The deadline is the config's, whatever `timeout` says.
        """
        url = request if isinstance(request, str) else request.full_url
        if url == REMOVED_URL:
            raise FetchFailed("removed", "left out on request")
        return self._try(url, self._take_image, self._admit)

    def require_contact(self, urls: Iterable[str]) -> None:
        """Raises ConfigError where the agent names no contact and any URL's host is not under `connect_to`."""
        if self.config.has_contact:
            return
        for url in urls:
            with contextlib.suppress(FetchFailed):
                if self.resolver.exception(WebAddress.parse(url).host) is None:
                    self.config.require_contact()

    def _admit(self, address: WebAddress) -> float:
        self._admit_host(address)
        return self.sites.admit(address)

    def _admit_host(self, address: WebAddress) -> float:
        if not self.config.has_contact and self.resolver.exception(address.host) is None:
            raise FetchFailed("no_contact", f"{address.host}: crawl.user_agent names no contact")
        return 0.0

    def _read_text(self, url: str, limit: int) -> tuple[int, bytes]:
        def take(response: Response) -> tuple[int, bytes]:
            self._check_busy(response)
            if response.status >= 300:
                response.skip()
                return response.status, b""
            return response.status, response.read_head(limit, _is_text)

        return self._try(url, take, self._admit_host)

    def _try(self, url: str, take: Callable[[Response], T], admit: Callable[[WebAddress], float]) -> T:
        """What `take` makes of the answer, after as many tries as are worth it."""
        attempt = 0
        while True:
            try:
                return self._follow(url, take, admit, attempt)
            except FetchFailed as failure:
                if not failure.again or attempt >= self.config.retries:
                    raise
                if not failure.is_busy:  # else the host rests, for all
                    time.sleep(self._delay_s(attempt))
            attempt += 1

    def _follow(self, url: str, take: Callable[[Response], T], admit: Callable[[WebAddress], float], attempt: int) -> T:
        deadline = Deadline(self.config.deadline_s)
        for _ in range(self.config.max_redirects + 1):
            address = WebAddress.parse(url)
            with deadline.paused():
                interval_s = admit(address)
            with contextlib.ExitStack() as stack:
                with deadline.paused():
                    slot = stack.enter_context(self.limiter.slot(address.host, address.port, interval_s))
                try:
                    answer = self._ask(address, take, deadline)
                except FetchFailed as failure:
                    self._note(failure, slot, attempt)
                    raise
            if not isinstance(answer, _Elsewhere):
                return answer
            url = answer.url
        raise FetchFailed("redirect_limit", f"more than {self.config.max_redirects}")

    def _ask(self, address: WebAddress, take: Callable[[Response], T], deadline: Deadline) -> T | _Elsewhere:
        with self.client.get(address, deadline) as response:
            location = response.headers.get("Location")
            if response.status in _REDIRECTS and location:
                response.skip()
                return _Elsewhere(address.joined(location))
            return take(response)

    def _note(self, failure: FetchFailed, slot: Slot, attempt: int) -> None:
        """What the other fetches from this host must know of the failure."""
        if failure.host_failed or failure.is_busy:
            slot.failure = str(failure)
        if failure.is_busy:
            if failure.wait_s is None:
                slot.rest_s = self._delay_s(attempt)
            elif failure.again:
                slot.rest_s = failure.wait_s
            else:
                slot.shut_s = failure.wait_s

    def _delay_s(self, attempt: int) -> float:
        return limits.delay_s(attempt, self.config.backoff_s, self.config.max_backoff_s)

    def _check_busy(self, response: Response) -> None:
        """Raises FetchFailed where the server says that it cannot answer now."""
        if response.status not in _FOR_NOW:
            return
        is_busy = response.status in _BUSY
        wait_s = limits.retry_after_s(response.headers.get("Retry-After")) if is_busy else None
        again = wait_s is None or wait_s <= self.config.max_backoff_s
        response.skip()
        raise FetchFailed(f"http_{response.status}", response.reason, again=again, is_busy=is_busy, wait_s=wait_s)

    def _take_image(self, response: Response) -> FetchedImage:
        self._check_busy(response)
        if response.status not in (200, 203):
            response.skip()
            raise FetchFailed(f"http_{response.status}", response.reason)
        self._check_headers(response)
        kind = response.headers.get("Content-Type", "")
        if not may_be_image(kind):
            raise FetchFailed("not_an_image", f"Content-Type is {kind[:80]}")
        return FetchedImage(response.headers, self._read_image(response))

    def _check_headers(self, response: Response) -> None:
        check_headers(response.headers, self.agent, self.config.robots_tags, self.config.tdm_reservation)

    def _read_image(self, response: Response) -> bytes:
        limit, length = self.config.max_body_bytes, response.length()
        held = limit if length is None else min(length, limit)
        if codings(response.headers):  # as it came and as it is decoded
            held = min(held + limit, self.config.max_held_bytes)
        with response.deadline.paused():
            self.bodies.take(held)
        kept = 0
        try:
            body = response.read(limit, has_image_signature)
            self._check_headers(response)  # those behind the body
            if not has_image_signature(body):
                raise FetchFailed("not_an_image", "its first bytes are those of no image")
            kept = len(body)
            return body
        finally:
            self.bodies.give_back(held - kept)


def _is_text(body: bytes) -> bool:
    """Whether it begins as a text in any of the usual encodings does, and as no compressed one does."""
    return not body[:_TEXT_BYTES].translate(None, _OF_TEXT)

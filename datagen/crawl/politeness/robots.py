"""What a site asks of crawlers: its robots.txt and tdmrep.json, read once a site and cached."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass

from protego import Protego

from datagen.config import CrawlConfig
from datagen.crawl.fetch.addresses import SingleFlightCache, settle
from datagen.crawl.fetch.failures import FetchFailed
from datagen.crawl.fetch.url import WebAddress
from datagen.crawl.politeness.reservations import TDMREP_PATH, TdmRules

ReadText = Callable[[str, int], tuple[int, bytes]]  # (URL, limit in bytes) → status and the first bytes of the body

_MAX_TEXT_BYTES = 512 * 1024  # RFC 9309 wants at least 500 KiB to be read
_MAX_SITES = 4_000  # cached in a worker
_KEEP_S = 24 * 3600.0  # RFC 9309, section 2.4
_KEEP_ERROR_S = 600.0
_MAX_RATE = 10**9  # requests, or seconds, of a Request-rate; sites may write any number


@dataclass(frozen=True)
class SitePolicy:
    """The rules of one scheme, host and port."""

    robots: Protego | None
    tdm: TdmRules


class SiteRules:
    """The rules of all sites, for one agent."""

    def __init__(self, config: CrawlConfig, agent: str, read_text: ReadText) -> None:
        self.config, self.agent, self._read_text = config, agent, read_text
        self._known: SingleFlightCache[str, SitePolicy] = SingleFlightCache(_MAX_SITES, _KEEP_S, _KEEP_ERROR_S)

    def admit(self, address: WebAddress) -> float:
        """The seconds that the site wants between two requests.

        Raises FetchFailed: robots_disallow, tdm_reservation, robots_unreachable (its server fails: refused for now),
        or what kept us from reading robots.txt, such as dns.
        """
        if not (self.config.robots_txt or self.config.tdm_reservation):
            return 0.0
        future = self._known.future(address.origin, lambda made: self._load(address.origin, made))
        error = future.exception()
        if isinstance(error, FetchFailed):
            raise error.copy()
        site = future.result()
        site.tdm.check(address.target)
        if site.robots is None:
            return 0.0
        if not site.robots.can_fetch(address.url, self.agent):
            raise FetchFailed("robots_disallow", f"{address.origin}/robots.txt forbids it")
        return self._interval_s(site.robots)

    def _interval_s(self, robots: Protego) -> float:
        delay = robots.crawl_delay(self.agent) or 0.0
        if rate := robots.request_rate(self.agent):
            delay = max(delay, min(rate.seconds, _MAX_RATE) / min(rate.requests, _MAX_RATE))
        return min(delay, self.config.max_crawl_delay_s)

    def _load(self, origin: str, future: Future[SitePolicy]) -> None:
        settle(future, lambda: SitePolicy(self._robots(origin), self._tdm(origin)))

    def _robots(self, origin: str) -> Protego | None:
        """RFC 9309, section 2.3.1: 2xx is obeyed, 4xx allows all, 5xx (and 429) forbids all for now."""
        if not self.config.robots_txt:
            return None
        try:
            status, text = self._read_text(f"{origin}/robots.txt", _MAX_TEXT_BYTES)
        except FetchFailed as failure:
            if failure.reason == "redirect_limit":
                return None
            if failure.reason.startswith("http_"):
                raise FetchFailed("robots_unreachable", f"{origin}/robots.txt: {failure.reason}") from None
            raise
        if status >= 500:
            raise FetchFailed("robots_unreachable", f"{origin}/robots.txt: http_{status}")
        if not 200 <= status < 300:
            return None
        if len(text) == _MAX_TEXT_BYTES:
            text = text[: text.rfind(b"\n") + 1]  # not half a rule
        return Protego.parse(text.decode("utf-8-sig", errors="replace"))

    def _tdm(self, origin: str) -> TdmRules:
        """No file that can be read: no reservation, says the specification."""
        if not self.config.tdm_reservation:
            return TdmRules()
        try:
            status, text = self._read_text(origin + TDMREP_PATH, _MAX_TEXT_BYTES)
        except FetchFailed:
            return TdmRules()
        return TdmRules.parse(text) if status == 200 else TdmRules()

from __future__ import annotations

import pytest

from datagen.crawl.fetch.failures import FetchFailed
from datagen.crawl.fetch.url import WebAddress
from datagen.crawl.politeness.robots import SiteRules
from helpers import web
from helpers.fetching import crawl_config, failure, fetch, fetching

AGENT = "openwit"
Answer = tuple[int, bytes] | FetchFailed


class Site:
    """Answers for robots.txt and tdmrep.json, which counts what it is asked."""

    def __init__(self, robots: Answer, tdm: Answer = (404, b"")) -> None:
        self.answers = {"/robots.txt": robots, "/.well-known/tdmrep.json": tdm}
        self.asked: list[str] = []

    def read(self, url: str, limit: int) -> tuple[int, bytes]:
        self.asked.append(url)
        answer = self.answers[WebAddress.parse(url).target]
        if isinstance(answer, FetchFailed):
            raise answer
        return answer[0], answer[1][:limit]


def admit(site: Site, url: str = "http://a.test/x.jpg", **fields: object) -> float:
    return SiteRules(crawl_config(1, **fields), AGENT, site.read).admit(WebAddress.parse(url))


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 304])
def test_a_site_without_robots_txt_allows_all(status: int) -> None:
    assert admit(Site((status, b"User-agent: *\nDisallow: /"))) == 0


@pytest.mark.parametrize("answer", [(500, b""), (503, b""), FetchFailed("http_503", "x"), FetchFailed("http_429", "x")])
def test_a_site_whose_server_fails_is_refused_for_now(answer: tuple[int, bytes] | FetchFailed) -> None:
    with pytest.raises(FetchFailed, match=r"robots_unreachable: http://a.test/robots.txt: http_"):
        admit(Site(answer))


def test_what_kept_us_from_robots_txt_is_the_reason() -> None:
    with pytest.raises(FetchFailed, match="dns: no such name"):
        admit(Site(FetchFailed("dns", "no such name", again=True)))
    assert admit(Site(FetchFailed("redirect_limit", "more than 5"))) == 0


def test_the_group_of_our_name_goes_before_that_of_all() -> None:
    text = b"User-agent: *\nDisallow: /\n\nUser-agent: OpenWit\nDisallow: /private\nAllow: /private/free\n"
    assert admit(Site((200, text))) == 0
    assert admit(Site((200, text)), "http://a.test/private/free/1") == 0
    with pytest.raises(FetchFailed, match=r"robots_disallow: http://a.test/robots.txt forbids it"):
        admit(Site((200, text)), "http://a.test/private/1")
    assert admit(Site((200, text)), "http://a.test/private/1", robots_txt=False) == 0


@pytest.mark.parametrize(
    ("rate", "seconds"),
    [("1/" + "9" * 400, 30.0), ("9" * 400 + "/1", 0.0), ("9" * 400 + "/" + "9" * 400, 1.0), ("0/5", 0.0)],
)
def test_a_request_rate_of_any_length_is_one(rate: str, seconds: float) -> None:
    text = f"User-agent: *\nRequest-rate: {rate}\n".encode()
    assert admit(Site((200, text))) == pytest.approx(seconds, abs=1e-6)


def test_a_crawl_delay_is_kept_up_to_the_limit() -> None:
    assert admit(Site((200, b"User-agent: *\nCrawl-delay: 2.5"))) == 2.5
    assert admit(Site((200, b"User-agent: *\nCrawl-delay: 9999")), max_crawl_delay_s=20.0) == 20
    assert admit(Site((200, b"User-agent: *\nRequest-rate: 1/5"))) == 5


def test_a_rule_beyond_the_size_limit_is_not_read_and_not_half_read() -> None:
    text = b"User-agent: *\n" + b"#" * 100 + b"\n" * 600_000 + b"Disallow: /\n"
    assert admit(Site((200, text))) == 0
    long = b"User-agent: *\nDisallow: /x" + b"y" * 600_000
    assert admit(Site((200, long)), "http://a.test/x") == 0


@pytest.mark.parametrize(
    "text", [b"\xff\xfe\0\0", b"<html>" * 100, b"\xef\xbb\xbfUser-agent: *\nAllow: /", b"\0" * 1000]
)
def test_no_text_is_too_odd_for_a_robots_txt(text: bytes) -> None:
    assert admit(Site((200, text))) == 0


def test_tdmrep_reserves_by_path_and_a_broken_one_nothing() -> None:
    rules = b'[{"location": "/x", "tdm-reservation": 1}]'
    with pytest.raises(FetchFailed, match="tdm_reservation"):
        admit(Site((404, b""), (200, rules)))
    assert admit(Site((404, b""), (404, rules))) == 0
    assert admit(Site((404, b""), FetchFailed("timeout", "x"))) == 0
    assert admit(Site((404, b""), (200, rules)), tdm_reservation=False) == 0


def test_a_site_is_read_once_for_each_scheme_and_port() -> None:
    site = Site((200, b""))
    rules = SiteRules(crawl_config(1), AGENT, site.read)
    for url in ("http://a.test/1", "http://a.test/2", "https://a.test/1", "http://a.test:81/1"):
        rules.admit(WebAddress.parse(url))
    origins = ["http://a.test", "https://a.test", "http://a.test:81"]
    assert site.asked == [origin + path for origin in origins for path in ("/robots.txt", "/.well-known/tdmrep.json")]


def test_robots_txt_is_fetched_before_the_image_and_its_redirects_pass_the_gate() -> None:
    texts = {
        "moved.example.test/robots.txt": "http://b.example.test/elsewhere",
        "b.example.test/elsewhere": "User-agent: *\nDisallow: /ok/2",
        "inward.example.test/robots.txt": "http://127.0.0.1/",
        "broken.example.test/robots.txt": "503",
    }
    with web.serving(texts=texts) as server, fetching(server.server_port) as policy:
        assert fetch(policy, "http://moved.example.test/ok/1") == web.image(1)
        assert failure(policy, "http://moved.example.test/ok/2") == "robots_disallow"
        assert failure(policy, "http://inward.example.test/ok/1") == "address_private"
        assert failure(policy, "http://broken.example.test/ok/1") == "robots_unreachable"
    assert server.paths == [
        "moved.example.test/robots.txt", "b.example.test/elsewhere", "moved.example.test/.well-known/tdmrep.json",
        "moved.example.test/ok/1", "inward.example.test/robots.txt", "broken.example.test/robots.txt",
    ]  # fmt: skip


def test_a_rule_that_the_size_limit_cuts_is_dropped_whole() -> None:
    """Its first half would forbid the whole site."""
    limit, rule = 512 * 1024, b"\nDisallow: /"
    head = b"User-agent: *\n"
    text = head + b"#" * (limit - len(head) - len(rule)) + rule + b"private\n"
    assert admit(Site((200, text))) == 0
    with pytest.raises(FetchFailed, match="robots_disallow"):
        admit(Site((200, head + rule + b"\n")))

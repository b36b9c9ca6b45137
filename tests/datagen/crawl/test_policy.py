# mypy: disable-error-code="arg-type, attr-defined, return-value"
from __future__ import annotations

import math
import random
import threading
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from datagen.config import CrawlConfig
from datagen.crawl.policy import FetchPolicy
from helpers import web
from helpers.fetching import failure, fetch, fetching
from helpers.patience import patience
from openwit.errors import ConfigError

SITE = "http://a.example.test"
DEADLINE_S = patience(0.4)


@pytest.fixture(scope="module")
def server() -> Iterator[web.Server]:
    texts = {
        "closed.example.test/robots.txt": "User-agent: *\nDisallow: /ok/\n",
        "reserved.example.test/.well-known/tdmrep.json": '[{"location": "/ok/*", "tdm-reservation": 1}]',
    }
    with web.serving(texts=texts) as running:
        yield running


@pytest.fixture(scope="module")
def policy(server: web.Server) -> Iterator[FetchPolicy]:
    with fetching(server.server_port, deadline_s=DEADLINE_S, max_body_bytes=5_000_000) as made:
        yield made


def test_a_host_of_the_allow_list_is_fetched_from_its_address(policy: FetchPolicy) -> None:
    assert fetch(policy, f"{SITE}/ok/7") == web.image(7)


def test_the_crawler_names_itself(policy: FetchPolicy) -> None:
    assert fetch(policy, f"{SITE}/agent") == web.image(1)


def test_installed_as_opener_it_answers_urlopen_whatever_its_timeout(policy: FetchPolicy) -> None:
    before = urllib.request._opener
    urllib.request.install_opener(policy)
    try:
        request = urllib.request.Request(f"{SITE}/ok/3", data=None, headers={"User-Agent": "Mozilla/5.0"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            assert answer.read() == web.image(3)
            assert answer.headers["Content-Length"] == str(len(web.image(3)))
    finally:
        urllib.request.install_opener(before)
        policy.bodies.give_back(len(web.image(3)))


HOSTILE = {
    "file:///etc/hostname": "scheme",
    "data:image/png;base64,iVBORw0KGgo=": "scheme",
    "ftp://a.example.test/x": "scheme",
    "a.example.test/ok/1": "scheme",
    "http://127.0.0.1:{port}/ok/1": "address_private",
    "http://localhost:{port}/ok/1": "address_private",
    "http://[::1]:{port}/ok/1": "address_private",
    "http://[::ffff:127.0.0.1]:{port}/ok/1": "address_private",
    "http://0.0.0.0:{port}/ok/1": "address_private",
    "http://2130706433:{port}/ok/1": "address_private",
    "http://0x7f.1:{port}/ok/1": "address_private",
    "http://10.0.0.1/": "address_private",
    "http://169.254.169.254/latest/meta-data/": "address_private",
    "http://[fd00:ec2::254]/latest/meta-data/": "address_private",
    f"{SITE}/redirect/http://127.0.0.1:{{port}}/ok/1": "address_private",
    f"{SITE}/redirect/http://[::ffff:10.0.0.1]/": "address_private",
    f"{SITE}/redirect/http://169.254.169.254/": "address_private",
    f"{SITE}/redirect/file:///etc/hostname": "scheme",
    f"{SITE}/redirect/data:,x": "scheme",
    f"{SITE}/redirect": "redirect_limit",
    f"{SITE}/redirect/http://closed.example.test/ok/1": "robots_disallow",
    f"{SITE}/drip": "timeout",
    f"{SITE}/drip_headers": "timeout",
    f"{SITE}/endless": "too_large",
    f"{SITE}/chunks": "too_large",
    f"{SITE}/huge": "too_large",
    f"{SITE}/html": "not_an_image",
    f"{SITE}/page": "not_an_image",
    f"{SITE}/posing": "not_an_image",
    f"{SITE}/gzip": "content_encoding",
    f"{SITE}/short": "incomplete",
    f"{SITE}/reset": "connection_reset",
    f"{SITE}/status/404": "http_404",
    f"{SITE}/status/410": "http_410",
    f"{SITE}/status/429": "http_429",
    f"{SITE}/status/500": "http_500",
    f"{SITE}/status/503": "http_503",
    f"{SITE}/status/204": "http_204",
    "http://closed.example.test/ok/1": "robots_disallow",
    "http://reserved.example.test/ok/1": "tdm_reservation",
    f"{SITE}/tdm": "tdm_reservation",
    f"{SITE}/noai": "noai",
    f"{SITE}/tag/openwit: noimageai": "noimageai",
    f"{SITE}/{'x' * 9000}": "url_too_long",
    "http://user:word@a.example.test/ok/1": "url",
    "http://a.example.test:99999/": "url",
    "http:///": "url",
    "http://a b/": "url",
}


@pytest.mark.parametrize(("url", "word"), HOSTILE.items(), ids=[url[:60] for url in HOSTILE])
def test_a_hostile_address_ends_in_its_own_reason_within_the_deadline(
    policy: FetchPolicy, server: web.Server, url: str, word: str
) -> None:
    started = time.monotonic()
    assert failure(policy, url.format(port=server.server_port)) == word
    assert time.monotonic() - started < DEADLINE_S + patience(2)
    assert fetch(policy, f"{SITE}/ok/1") == web.image(1)


def test_a_name_with_a_public_and_a_private_address_is_refused(server: web.Server) -> None:
    with fetching(server.server_port, look_up=lambda host: ["93.184.216.34", "10.0.0.1"]) as policy:
        assert failure(policy, "http://both.test/") == "address_private"


def test_a_name_that_nobody_knows_is_dns(policy: FetchPolicy) -> None:
    assert failure(policy, "http://nothing.invalid/") == "dns"


def test_a_look_up_that_hangs_ends_at_the_deadline(server: web.Server) -> None:
    hang = threading.Event()
    with fetching(server.server_port, look_up=lambda host: hang.wait(60) and [], deadline_s=0.2) as policy:
        assert failure(policy, "http://slow.test/") == "timeout"
        hang.set()


def test_a_host_that_is_not_ascii_and_a_path_that_is_not_are_fetched(policy: FetchPolicy, server: web.Server) -> None:
    assert fetch(policy, "http://bücher.example.test/ok/5?größe=1 2") == web.image(5)
    assert server.paths[-1].startswith("xn--bcher-kva.example.test/ok/5?gr%C3%B6%C3%9Fe=1%202")


def test_a_redirect_is_followed_through_the_same_gate(policy: FetchPolicy) -> None:
    assert fetch(policy, f"{SITE}/redirect//ok/3") == web.image(3)
    assert fetch(policy, f"{SITE}/redirect/http://b.example.test/ok/4") == web.image(4)


def test_redirects_are_limited_in_number(server: web.Server) -> None:
    chain = SITE + "/redirect/" * 4 + "/ok/1"
    with fetching(server.server_port, max_redirects=2) as policy:
        assert failure(policy, chain) == "redirect_limit"
        assert fetch(policy, SITE + "/redirect/" * 2 + "/ok/1") == web.image(1)


def test_no_proxy_of_the_environment_is_used(policy: FetchPolicy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert fetch(policy, f"{SITE}/ok/2") == web.image(2)


def test_a_busy_host_is_asked_again_after_what_it_wants(server: web.Server) -> None:
    with fetching(server.server_port, retries=2) as policy:
        started = time.monotonic()
        assert fetch(policy, f"{SITE}/busy/1/429/1") == web.image(1)
        assert time.monotonic() - started >= 0.95
        assert fetch(policy, f"{SITE}/busy/2/503/0") == web.image(1)
        assert failure(policy, f"{SITE}/busy/3/503/00") == "http_503"


def test_a_busy_host_rests_for_every_address_on_it(server: web.Server) -> None:
    with fetching(server.server_port) as policy:
        rest_s = math.ceil(patience(0.5))
        before = time.monotonic()
        assert failure(policy, f"http://rest.example.test/busy/9/503/{rest_s}") == "http_503"
        started = time.monotonic()
        assert fetch(policy, "http://other.example.test/ok/1")
        assert time.monotonic() - before < rest_s
        assert fetch(policy, "http://rest.example.test/ok/1")
        assert time.monotonic() - started > rest_s - 0.2


def test_a_wait_beyond_the_limit_is_not_waited_for_and_the_host_left_alone(server: web.Server) -> None:
    with fetching(server.server_port, retries=3, max_backoff_s=5.0) as policy:
        assert failure(policy, "http://full.example.test/busy/9/429/3600") == "http_429"
        before = len(server.starts)
        assert failure(policy, "http://full.example.test/ok/1") == "http_429"
        assert len(server.starts) == before


def test_what_cannot_get_better_is_asked_once(server: web.Server) -> None:
    with fetching(server.server_port, retries=3) as policy:
        for path in ("status/404", "status/500", "page", "gzip"):
            failure(policy, f"http://once.example.test/{path}")
            assert server.paths.count(f"once.example.test/{path}") == 1
        assert failure(policy, "http://once.example.test/reset") == "connection_reset"
        assert server.paths.count("once.example.test/reset") == 4


def test_a_host_that_fails_again_and_again_is_asked_no_more_and_its_rows_say_that_it_is_down(
    server: web.Server,
) -> None:
    with fetching(server.server_port, connect_to=("down.test=127.0.0.1:1",), host_failures=3, robots_txt=False,
                  tdm_reservation=False) as policy:  # fmt: skip
        found = [failure(policy, "http://down.test/") for _ in range(5)]
    assert found == ["connection_refused"] * 3 + ["host_down"] * 2


def test_an_address_outside_the_allow_list_needs_an_agent_with_a_contact(server: web.Server) -> None:
    with fetching(server.server_port, user_agent="openwit/0.1") as policy:
        assert fetch(policy, f"{SITE}/ok/1") == web.image(1)
        assert failure(policy, f"{SITE}/redirect/http://example.org/") == "no_contact"
        policy.require_contact([f"{SITE}/ok/1", "not an address"])
        with pytest.raises(ConfigError, match=r'--crawl.user_agent "mybot/1.0 \(\+https://example.org/bot\)"'):
            policy.require_contact([f"{SITE}/ok/1", "http://example.org/"])


@pytest.mark.parametrize("agent", ["mybot/1 (+https://example.org/bot)", "mybot/1 (bot@example.org)"])
def test_a_page_or_mail_address_is_a_contact(agent: str) -> None:
    CrawlConfig(user_agent=agent).require_contact()


def test_bodies_are_held_against_the_budget_until_they_are_given_back(server: web.Server) -> None:
    size = len(web.image(1))
    with fetching(server.server_port, max_body_bytes=size, max_held_bytes=size) as policy:
        policy.open(f"{SITE}/ok/1")
        with ThreadPoolExecutor(1) as threads:
            second = threads.submit(policy.open, f"{SITE}/ok/1")
            with pytest.raises(TimeoutError):
                second.result(0.3)
            policy.bodies.give_back(size)
            assert len(second.result(patience(5)).read()) == size


def test_many_threads_fetch_at_once_and_nothing_is_lost_or_mixed_up(server: web.Server) -> None:
    numbers = random.Random(0).sample(range(256), 100)
    with fetching(server.server_port) as policy, ThreadPoolExecutor(16) as threads:
        urls = [f"http://many{number % 3}.example.test/ok/{number}" for number in numbers]
        bodies = list(threads.map(lambda url: fetch(policy, url), urls))
    assert bodies == [web.image(number) for number in numbers]


def test_a_malformed_allow_list_is_refused() -> None:
    with pytest.raises(ConfigError, match="expected HOST=ADDRESS:PORT"):
        CrawlConfig(connect_to=("example.test",))


def through(hops: int, kind: str = "redirect") -> str:
    """The address of an image behind so many redirects."""
    return f"{SITE}/{kind}/" * hops + f"{SITE}/ok/5"


def test_as_many_redirects_as_allowed_are_followed_and_not_one_more(server: web.Server) -> None:
    with fetching(server.server_port, max_redirects=3) as policy:
        assert fetch(policy, through(3)) == web.image(5)
        assert failure(policy, through(4)) == "redirect_limit"


def test_one_deadline_holds_for_all_redirects_together(server: web.Server) -> None:
    with fetching(server.server_port, deadline_s=2.5 * web.SLOW_S, retries=0) as policy:
        assert failure(policy, through(4, "slow")) == "timeout"


def test_a_copy_that_a_proxy_changed_is_an_image_too(policy: FetchPolicy) -> None:
    assert fetch(policy, f"{SITE}/status/203/image") == web.image(1)
    assert failure(policy, f"{SITE}/status/202/image") == "http_202"

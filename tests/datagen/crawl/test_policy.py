from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest

from datagen.config import CrawlConfig
from datagen.crawl.policy import FetchPolicy, Refused, is_public
from datagen.crawl.reasons import reason
from helpers import web
from openwit.errors import ConfigError


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with web.running() as number:
        yield number


def fetch(port: int, url: str, **fields: object) -> bytes:
    config = CrawlConfig(connect_to=(f"*.example.test=127.0.0.1:{port}",), **{"deadline_s": 5.0, **fields})
    with FetchPolicy(config).opener().open(url, timeout=1) as answer:
        return answer.read()


def failure(port: int, url: str, **fields: object) -> str:
    with pytest.raises(Exception) as caught:  # noqa: PT011 - the word of the reason is what is tested
        fetch(port, url, **fields)
    return reason(str(caught.value))


def test_a_host_of_the_allow_list_is_fetched_from_its_address(port: int) -> None:
    assert fetch(port, "http://a.example.test/ok/7") == web.picture(7)


def test_the_crawler_names_itself(port: int) -> None:
    assert fetch(port, "http://a.example.test/agent") == web.picture(1)


@pytest.mark.parametrize("url", ["file:///etc/hostname", "data:text/plain,x", "ftp://a.example.test/x"])
def test_only_http_and_https_are_fetched(port: int, url: str) -> None:
    assert failure(port, url) == "scheme"


@pytest.mark.parametrize(
    "host", ["127.0.0.1:{port}", "localhost:{port}", "[::1]:{port}", "[::ffff:127.0.0.1]:{port}", "0.0.0.0:{port}"]
)
def test_loopback_is_refused_in_every_spelling(port: int, host: str) -> None:
    assert failure(port, f"http://{host.format(port=port)}/ok/1") == "refused_address"


@pytest.mark.parametrize(
    "address",
    [
        "10.0.0.1",
        "192.168.1.1",
        "172.16.0.1",
        "169.254.169.254",
        "100.64.0.1",
        "224.0.0.1",
        "::1",
        "fe80::1",
        "fc00::1",
        "::ffff:10.0.0.1",
        "0.0.0.0",
    ],
)
def test_private_and_special_addresses_are_not_public(address: str) -> None:
    assert not is_public(address)


def test_public_addresses_are_public() -> None:
    assert is_public("93.184.216.34")
    assert is_public("2606:4700::1111")
    assert is_public("::ffff:93.184.216.34")


def test_a_redirect_passes_the_same_gate(port: int) -> None:
    assert fetch(port, "http://a.example.test/redirect//ok/3") == web.picture(3)
    assert failure(port, f"http://a.example.test/redirect/http://127.0.0.1:{port}/ok/1") == "refused_address"
    assert failure(port, "http://a.example.test/redirect/file:///etc/hostname") != "other"


def test_redirects_are_limited(port: int) -> None:
    assert failure(port, "http://a.example.test/redirect") == "too_many_redirects"
    chain = "http://a.example.test" + "/redirect/" * 4 + "/ok/1"
    assert failure(port, chain, max_redirects=2) == "too_many_redirects"


def test_a_dripping_body_ends_at_the_deadline(port: int) -> None:
    started = time.monotonic()
    assert failure(port, "http://a.example.test/drip", deadline_s=0.5) == "timeout"
    assert time.monotonic() - started < 3


def test_dripping_headers_end_at_the_deadline() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    config = CrawlConfig(connect_to=(f"a.example.test=127.0.0.1:{listener.getsockname()[1]}",), deadline_s=0.5)
    started = time.monotonic()
    with pytest.raises(OSError, match="timed out"):
        FetchPolicy(config).opener().open("http://a.example.test/")
    assert time.monotonic() - started < 3
    listener.close()


def test_a_large_body_is_cut_off(port: int) -> None:
    assert failure(port, "http://a.example.test/ok/1", max_body_bytes=100) == "too_large"


def test_a_body_that_ends_early_is_no_picture(port: int) -> None:
    assert failure(port, "http://a.example.test/short") == "incomplete"


def test_statuses_are_counted_by_number(port: int) -> None:
    assert failure(port, "http://a.example.test/status/404") == "http_404"
    assert failure(port, "http://a.example.test/status/503") == "http_503"


def test_no_proxy_of_the_environment_is_used(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert fetch(port, "http://a.example.test/ok/2") == web.picture(2)


def test_a_refusal_names_host_and_address() -> None:
    with pytest.raises(Refused, match=r"10\.1\.2\.3 is 10\.1\.2\.3, which is not on the public internet"):
        FetchPolicy(CrawlConfig()).addresses("10.1.2.3", 80)


def test_a_malformed_allow_list_is_refused() -> None:
    with pytest.raises(ConfigError, match="expected HOST=ADDRESS:PORT"):
        CrawlConfig(connect_to=("example.test",))

"""A fetch policy with its limiter, for a test."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from datagen.config import CrawlConfig
from datagen.crawl.fetch.addresses import LookUp, system_look_up
from datagen.crawl.fetch.failures import reason
from datagen.crawl.policy import FetchPolicy
from datagen.crawl.politeness import limiter
from datagen.crawl.politeness.client import LimiterClient

AGENT = "openwit/0.1 (+https://example.test/bot)"


def crawl_config(port: int, **fields: object) -> CrawlConfig:
    """*.example.test is the server at `port`; fast, one try."""
    settings = {
        "user_agent": AGENT,
        "connect_to": (f"*.example.test=127.0.0.1:{port}",),
        "deadline_s": 60.0,
        "retries": 0,
        "host_requests_per_s": 1e4,
        "host_connections": 100,
        "backoff_s": 0.01,
        **fields,
    }
    return CrawlConfig(**settings)  # type: ignore[arg-type]


@contextlib.contextmanager
def fetching(port: int, look_up: LookUp = system_look_up, **fields: object) -> Iterator[FetchPolicy]:
    """A policy whose limiter is served meanwhile."""
    config = crawl_config(port, **fields)
    with limiter.serving(config) as served:
        client = LimiterClient(served.url)
        try:
            yield FetchPolicy(config, client, look_up)
        finally:
            client.close()


def fetch(policy: FetchPolicy, url: str) -> bytes:
    """The body, given back to the policy's budget."""
    with policy.open(url) as answer:
        body = answer.read()
    policy.bodies.give_back(len(body))
    return body


def failure(policy: FetchPolicy, url: str) -> str:
    """The word under which the failed fetch is counted."""
    with pytest.raises(Exception) as caught:  # noqa: PT011 - the word of the reason is what is tested
        fetch(policy, url)
    return reason(str(caught.value))

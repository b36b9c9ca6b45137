from __future__ import annotations

from collections.abc import Callable

import pytest

from openwit.config import describe, override
from openwit.errors import ConfigError
from wit_queries.config import PagesConfig, QueriesConfig, TermsConfig, ViewsConfig


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: QueriesConfig(dumps=()), "dumps=: no dump"),
        (lambda: QueriesConfig(wordnet=""), "wordnet=: write"),
        (lambda: QueriesConfig(language="ja", wordnet="none"), "language=ja: is written without spaces"),
        (lambda: QueriesConfig(language="de"), "wordnet=wn, language=de: the package's WordNet is English; write none"),
        (lambda: PagesConfig(split_mb=0.0), "split_mb=0.0: must be positive"),
        (lambda: PagesConfig(memory_mb=0), "memory_mb=0: must be at least 1"),
        (lambda: TermsConfig(memory_mb=0), "memory_mb=0: must be at least 1"),
        (lambda: PagesConfig(max_page_mb=0), "max_page_mb=0: must be at least 1"),
        (lambda: ViewsConfig(projects=("",)), "projects=: write the codes"),
        (lambda: ViewsConfig(projects=("en m",)), "projects=en m: write the codes"),
        (lambda: ViewsConfig(min_hourly_views=0), "min_hourly_views=0: must be at least 1"),
        (lambda: TermsConfig(min_count=0), "min_count=0: must be at least 1"),
        (lambda: TermsConfig(min_bigram_count=-1), "min_bigram_count=-1: must be"),
        (lambda: TermsConfig(min_total_views=0), "min_total_views=0: must be"),
        (lambda: TermsConfig(max_queries=0), "max_queries=0: must be"),
        (lambda: TermsConfig(num_bigrams=-1), "num_bigrams=-1: must be 0 or more"),
        (lambda: TermsConfig(min_pmi=10.0), "both are given"),
        (lambda: TermsConfig(num_bigrams=None), "neither is given"),
    ],
)
def test_a_value_that_cannot_be_right_is_refused_with_what_to_write(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


def test_every_field_has_help() -> None:
    assert all(field.help for field in describe(QueriesConfig()))


def test_one_threshold_of_bigrams_changes_into_the_other_in_one_command() -> None:
    config = override(QueriesConfig(), {"terms.num_bigrams": "none", "terms.min_pmi": "12.5"})
    assert (config.terms.num_bigrams, config.terms.min_pmi) == (None, 12.5)

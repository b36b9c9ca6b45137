"""The stage "dumps": size and digest of each dump, and what its header says of the wiki."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass

from openwit import storage
from openwit.errors import InputError
from openwit.stage import Source, Stage, Target
from wit_queries.wikipedia.compressed import file_facts
from wit_queries.wikipedia.dump import Dump, WikiSite

SITE, FACTS = ".site.json", ".facts.json"


@dataclass(frozen=True, kw_only=True)
class DumpsConfig:
    """What the dumps must be."""

    language: str  # of the wiki, as their headers have it


def describe_dump(config: DumpsConfig, source: Source, target: Target) -> Counter[str]:
    """Writes the wiki's language and namespaces, and the dump's name, size and sha256. Raises InputError where the
    dump is of another language, before more than its header is read."""
    dump = Dump(source.url("dump"))
    next(dump.pages(), None)
    site = dump.site
    if site.language != config.language:
        raise InputError(
            f"{dump.url}: its header says language {site.language or 'nothing'}, the recipe says "
            f"queries.language={config.language}; write the one, or give the other's dump"
        )
    wiki = {"language": site.language, "main_page": site.main_page, "namespaces": site.namespaces}
    target.path(SITE).write_text(json.dumps(wiki, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8")
    facts = {"role": "dump", "language": site.language, **file_facts(dump.url)}
    target.path(FACTS).write_text(json.dumps(facts, ensure_ascii=False) + "\n", encoding="utf-8")
    return Counter({"in": 1, "kept": 1})


def read_site(url: str) -> WikiSite:
    """What the stage wrote of a wiki."""
    wiki = storage.read_json(url)
    return WikiSite(language=wiki["language"], main_page=wiki["main_page"], namespaces=wiki["namespaces"])


DUMPS: Stage[DumpsConfig] = Stage("dumps", 1, describe_dump)

"""The list of queries, stage by stage: dumps and page views are counted part by part, then added up and merged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from fsspec.core import url_to_fs

from openwit import storage
from openwit.errors import InputError
from openwit.manifest import Manifest
from openwit.run import NotYet, Run
from openwit.stage import Input, Source
from wit_queries.config import QueriesConfig, latest_dump, view_projects
from wit_queries.summary import summarize
from wit_queries.terms.articles import ARTICLES, PAGES, PAIRS, WORDS
from wit_queries.terms.bigrams import BIGRAMS, DEAL, SUM, BigramsConfig, BucketsConfig, num_buckets
from wit_queries.terms.query_list import BLOCK_LIST, QUERIES, TERM_FACTS
from wit_queries.terms.terms import NAMED, SYNSETS, TERMS, VOCABULARY, WANTED, WORDNET, VocabularyConfig
from wit_queries.wikipedia import inputs
from wit_queries.wikipedia.dumps import DUMPS, FACTS, SITE, DumpsConfig
from wit_queries.wikipedia.page_views import PAGE_VIEWS, VIEWS_FILE
from wit_queries.wikipedia.spans import cut

__all__ = ["build_queries", "summarize"]

Files = tuple[Input, ...]


def build_queries(run: Run, config: QueriesConfig) -> Manifest:
    """The manifest of the work folder's queries/, which holds queries.parquet (merge.QUERIES) and queries.json
    (inputs with sizes and sha256, thresholds, counts a source). Raises InputError for missing inputs, WorkError
    where a dump, a view file or a threshold is wrong."""
    names = [latest_dump(config.language) if name == "wikipedia" else name for name in config.dumps]
    dumps = _outside(inputs.dump_urls(names))
    view_files = _outside(inputs.view_urls(config.view_files))
    synsets = _outside(inputs.wordnet_urls(config.wordnet))
    blocked = _outside([config.terms.block_list] if config.terms.block_list else [])

    described, counted, sifted = _read_inputs(run, config, dumps, view_files)
    _check_articles(counted, dumps)
    terms = config.terms
    collected = run.stage(
        TERMS,
        VocabularyConfig(
            min_count=terms.min_count, min_total_views=terms.min_total_views, wordnet_names=terms.wordnet_names
        ),
        _one(
            {role: _made(run, "counts", counted, role) for role in (WORDS, PAGES)}
            | {VIEWS_FILE: _made(run, "views", sifted, VIEWS_FILE), SITE: _made(run, "dumps", described, SITE)[:1]}
            | {WORDNET: synsets}
        ),
        run.folder("queries", "terms"),
    )
    shared = {role: _made(run, "terms", collected, role) for role in (VOCABULARY, WANTED, FACTS)}
    buckets = num_buckets(counted.counts["pairs"], terms.memory_mb)
    parts = zip(_made(run, "counts", counted, WORDS), _made(run, "counts", counted, PAIRS), strict=True)
    dealt = run.stage(
        DEAL,
        BucketsConfig(num_buckets=buckets),
        [Source(index=n, inputs={WORDS: (w,), PAIRS: (p,), **shared}) for n, (w, p) in enumerate(parts)],
        run.folder("queries", "pairs"),
    )
    summed = run.stage(
        SUM,
        BigramsConfig(num_buckets=buckets, min_bigram_count=terms.min_bigram_count),
        [Source(index=n, inputs={PAIRS: _made(run, "pairs", dealt, PAIRS), **shared}) for n in range(buckets)],
        run.folder("queries", "bigrams"),
    )
    facts = _made(run, "dumps", described, FACTS) + _made(run, "views", sifted, FACTS)
    roles = {role: _made(run, "terms", collected, role) for role in (VOCABULARY, NAMED, SYNSETS)}
    roles |= {TERM_FACTS: shared[FACTS], BIGRAMS: _made(run, "bigrams", summed, BIGRAMS), FACTS: facts}
    return run.stage(QUERIES, terms, _one(roles | {BLOCK_LIST: blocked}), run.folder("queries"))


def _read_inputs(
    run: Run, config: QueriesConfig, dumps: Files, view_files: Files
) -> tuple[Manifest, Manifest, Manifest | None]:
    """The stages that read from outside: the dumps' headers and digests, their articles, the page views. A dry run
    tells of as many of them as it can."""
    waiting: list[str] = []

    def stage(name: str, make: Callable[[], Manifest]) -> Manifest | None:
        try:
            return make()
        except NotYet:
            waiting.append(name)
            return None

    one_each = [Source(index=n, inputs={"dump": (dump,)}) for n, dump in enumerate(dumps)]
    folder = run.folder("queries")
    described = stage(
        "dumps",
        lambda: run.stage(DUMPS, DumpsConfig(language=config.language), one_each, storage.join(folder, "dumps")),
    )
    split_bytes = int(config.pages.split_mb * (1 << 20))
    spans = [dump.cut(*span) for dump in dumps for span in cut(dump.url, _size(dump.url), max(1, split_bytes))]
    sources = [Source(index=n, inputs={"dump": (span,)}) for n, span in enumerate(spans)]
    counted = stage("articles", lambda: run.stage(ARTICLES, config.pages, sources, storage.join(folder, "counts")))
    sifted = None
    if view_files and described is None:
        run.log.say(f"page views: {len(view_files)} files, after dumps")
    elif view_files:
        site = _made(run, "dumps", described, SITE)[:1]
        views = replace(config.views, projects=config.views.projects or view_projects(config.language))
        hours = [Source(index=n, inputs={"views": (file,), "site": site}) for n, file in enumerate(view_files)]
        sifted = stage("page views", lambda: run.stage(PAGE_VIEWS, views, hours, storage.join(folder, "views")))
    if described is None or counted is None or waiting:
        run.log.say(f"terms, pairs, bigrams, queries: after {' and '.join(waiting)}")
        raise NotYet(" and ".join(waiting))
    return described, counted, sifted


def _check_articles(counted: Manifest, dumps: Files) -> None:
    counts = counted.counts
    if counts["words"]:
        return
    spaces = sorted(int(name.partition(".")[2]) for name in counts if name.startswith("namespace."))
    found = f"namespaces {', '.join(map(str, spaces))}" if spaces else "no page"
    names = ", ".join(dump.url.rpartition("/")[2] for dump in dumps)
    raise InputError(f"{names}: found {found}; expected articles (namespace 0, no redirects) with text")


def _outside(urls: list[str]) -> Files:
    return tuple(Input.all_outside(urls))


def _one(roles: dict[str, Files]) -> list[Source]:
    return [Source(index=0, inputs=roles)]


def _made(run: Run, folder: str, manifest: Manifest | None, suffix: str) -> Files:
    """The files of that suffix that a stage of the list made; none where there was nothing for it to do."""
    parts = manifest.parts if manifest else ()
    return tuple(Input.made(run.folder("queries", folder), part.file(suffix)) for part in parts)


def _size(url: str) -> int:
    with storage.reading(url):
        fs, path = url_to_fs(url)
        return int(fs.size(path))

"""The data pipeline up to the shards: match → shuffle → distinct → cap (three stages) → select → crawl."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from datagen.config import (
    CandidatesConfig,
    CapConfig,
    CrawlConfig,
    MatchConfig,
    RetryConfig,
    ShuffleConfig,
    SourcesConfig,
)
from datagen.crawl import crawl, retries
from datagen.crawl.adopt import refuse_adopted
from datagen.crawl.politeness import limiter
from datagen.crawl.retries import Rounds, shard_inputs
from datagen.funnel import last_dropped
from datagen.match import match
from datagen.match.urls import list_files
from datagen.select import cap, distinct, selection, shuffle
from datagen.shards.remove import REMOVED, settle
from openwit import manifest as manifests
from openwit import stage, storage
from openwit.config import decisive, digest
from openwit.errors import ConfigError
from openwit.manifest import Manifest
from openwit.run import Run
from openwit.stage import Input, Source
from wit_queries.config import MatcherConfig
from wit_queries.matching import stage as query_table


def match_candidates(run: Run, sources: SourcesConfig, config: CandidatesConfig) -> Manifest:
    """The pairs of every file that match a query, in matched/, and all that are worth matching in candidates/ where
    that is asked for. Raises InputError where the query list or a file is missing."""
    folder = run.folder("matched", "table")
    built = run.stage(
        query_table.STAGE,
        MatcherConfig(mode=config.match_mode),
        [Source(index=0, inputs={"queries": (_queries(run),)})],
        folder,
    )
    table = Input.made(folder, built.parts[0].file(query_table.NAME))
    pairs = Input.all_outside(list_files(sources))
    columns = {"url_column": sources.url_column, "caption_column": sources.caption_column}
    how = MatchConfig(kind=sources.kind, **columns, candidates=config)
    if sources.write_candidates:
        listed = [Source(index=index, inputs={"pairs": (entry,)}) for index, entry in enumerate(pairs)]
        run.stage(match.LIST, how, listed, run.folder("candidates"))
    partitions = [
        Source(index=index, inputs={"pairs": (entry,), "matcher": (table,)}) for index, entry in enumerate(pairs)
    ]
    return run.stage(match.MATCH, how, partitions, run.folder("matched"))


def select_pairs(run: Run, matched: Manifest, shuffle_config: ShuffleConfig, cap_config: CapConfig) -> Manifest:
    """The distinct pairs under the cap, grouped by image URL, in selected/."""
    shuffled = shuffle_pairs(run, matched, shuffle_config)
    dealt = _made(run.folder("shuffled"), shuffled, ".pairs.arrow")
    numbers = range(shuffle_config.num_partitions)
    sources = [Source(index=number, inputs={"shuffled": dealt}) for number in numbers]
    found = run.stage(distinct.STAGE, shuffle_config, sources, run.folder("distinct"))
    pairs = _made(run.folder("distinct"), found, ".pairs.parquet")
    limits = cap_queries(run, found, pairs, cap_config)
    texts = _made(run.folder("shuffled"), shuffled, ".texts.arrow")
    sources = [
        Source(index=number, inputs={"distinct": (pairs[number],), "thresholds": (limits,), "texts": texts})
        for number in numbers
    ]
    return run.stage(selection.STAGE, cap_config, sources, run.folder("selected"))


def shuffle_pairs(run: Run, matched: Manifest, config: ShuffleConfig) -> Manifest:
    """The matched pairs dealt to partitions, one file a bundle, in shuffled/."""
    folder = run.folder("matched")
    bundles = shuffle.bundles(matched.parts, int(config.bundle_mb * 1e6))
    sources = [
        Source(index=number, inputs={"matched": tuple(Input.made(folder, part.file(".parquet")) for part in bundle)})
        for number, bundle in enumerate(bundles)
    ]
    return run.stage(shuffle.STAGE, config, sources, run.folder("shuffled"))


def cap_queries(run: Run, found: Manifest, pairs: Sequence[Input], config: CapConfig) -> Input:
    """cap/queries.parquet: up to which key each query selects the distinct pairs that match it."""
    counted = _made(run.folder("distinct"), found, ".counts.parquet")
    folder = run.folder("cap", "brackets")
    made = run.stage(cap.BRACKET, config, [Source(index=0, inputs={"counted": counted})], folder)
    brackets = Input.made(folder, made.parts[0].file("brackets.parquet"))
    sources = [
        Source(index=number, inputs={"brackets": (brackets,), "distinct": (entry,)})
        for number, entry in enumerate(pairs)
    ]
    bracketed = run.stage(cap.GATHER_BRACKETED, config, sources, run.folder("cap", "bracketed"))
    entries = _made(run.folder("cap", "bracketed"), bracketed, ".parquet")
    whole = Source(index=0, inputs={"brackets": (brackets,), "bracketed": entries, "distinct": tuple(pairs)})
    decided = run.stage(cap.THRESHOLD, config, [whole], run.folder("cap"))
    return Input.made(run.folder("cap"), decided.parts[0].file("queries.parquet"))


def crawl_sources(run: Run, selected: Manifest, shard_rows: int, limiter_url: str = "") -> list[Source]:
    """The partitions of the crawl: each selected one in runs of at most `shard_rows` image URLs of equal length. Where
    the limiter is served differs from run to run, what was asked to be left out grows, and what the partitions are does
    not depend on them."""
    limits, removed = Input(url=limiter_url, identity="limiter"), Input(url=run.folder(REMOVED), identity="removed")
    return [
        Source(index=index, inputs={"selected": (entry,), "limiter": (limits,), "removed": (removed,)})
        for index, entry in enumerate(shard_inputs(run.folder("selected"), selected, shard_rows))
    ]


def crawl_rounds(run: Run, selected: Manifest, config: CrawlConfig, limiter_url: str = "") -> Rounds:
    """All partitions of the crawl, those of its retries too."""
    return Rounds(run, config, crawl_sources(run, selected, config.shard_rows, limiter_url))


def crawl_images(run: Run, selected: Manifest, config: CrawlConfig) -> Manifest:
    """The selected images as WebDataset shards in shards/, with the rounds of retries that were begun; the manifest
    carries the lineage to the query list. Raises ConfigError where shards/ holds a data set that was adopted."""
    settle(run)  # first: it brings back the manifest that says whose the shards are
    refuse_adopted(run.folder("shards"))
    matched = manifests.read(run.folder("matched"))
    lineage = {"queries": _queries(run).identity, "matched": matched.digest}
    with limiter.serving(config) as served:
        rounds = crawl_rounds(run, selected, config, served.url)
        shards, in_flight = run.folder("shards"), served.limiter.in_flight
        made = run.stage(crawl.STAGE, rounds.config, rounds.sources(), shards, lineage, in_flight)
        if given_up := served.limiter.given_up:
            run.log.event("hosts_given_up", number=len(given_up), first=dict(list(given_up.items())[:100]))
    return made


def retry_images(run: Run, selected: Manifest, config: CrawlConfig, wanted: RetryConfig) -> Manifest:
    """The crawl with one more round: the rows whose latest attempt failed for one of the reasons are fetched again,
    into further shards. A round that a kill interrupted is finished instead. Raises ConfigError where the shards were
    made with other settings (its free fields apart), as nothing of them would stay."""
    settle(run)
    rounds, folder = crawl_rounds(run, selected, config), run.folder("shards")
    planned = stage.plan(crawl.STAGE, rounds.config, rounds.sources(), folder)
    is_whole = storage.exists(storage.join(folder, manifests.MANIFEST))
    if is_whole and planned.todo:
        raise ConfigError(_made_otherwise(folder, config))
    was_begun = len(planned.sources) > len(rounds.base) and not stage.is_complete(planned)
    made = crawl_images(run, selected, config)
    if was_begun:
        run.log.say("retry: the round begun before is finished; the same command begins another")
        return made
    left = last_dropped(made.counts)
    pattern = re.compile(retries.pattern_of(wanted.reasons))
    again = {reason: number for reason, number in left.items() if pattern.fullmatch(reason)}
    if not again:
        run.log.say(f"retry: no row failed for {', '.join(wanted.reasons)}; failures: {_listed(left)}")
        return made
    run.log.say(f"retry: {sum(again.values()):,} rows are to be fetched again: {_listed(again)}")
    rounds.begin(made, wanted)
    return crawl_images(run, selected, config)


def _listed(reasons: Mapping[str, int]) -> str:
    return ", ".join(f"{reason} {number:,}" for reason, number in sorted(reasons.items())) or "none"


def _made_otherwise(folder: str, config: CrawlConfig) -> str:
    """What keeps a retry from adding to the shards in `folder`: the settings that decide their content and differ."""
    was = manifests.read(folder).config
    differing = [name for name, value in decisive(config).items() if digest(was.get(name)) != digest(value)]
    before = ", ".join(f"crawl.{name}={was.get(name)}" for name in differing) or "another list of pairs"
    return f"{folder}: was made with {before}; --retry keeps it, so give the same"


def _queries(run: Run) -> Input:
    made = manifests.read(run.folder("queries"))
    return Input.made(run.folder("queries"), made.parts[0].file("queries.parquet"))


def _made(folder: str, manifest: Manifest, suffix: str) -> tuple[Input, ...]:
    return tuple(Input.made(folder, part.file(suffix)) for part in manifest.parts)

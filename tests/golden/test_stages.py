"""The names and versions of stages, by which finished work is known. Another one would have all of it made anew."""

from __future__ import annotations

import ast
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from datagen.config import CapConfig, CrawlConfig, MatchConfig, RetryConfig, ShuffleConfig
from datagen.crawl.adopt import STAGE as ADOPTED  # type: ignore[attr-defined]
from datagen.crawl.crawl import STAGE as CRAWL
from datagen.crawl.retries import STAGE as RETRIES
from datagen.duplicates.config import (
    CopiesConfig,
    EmbedConfig,
    IndexConfig,
    Limits,
    MergeConfig,
    OthersConfig,
    SearchConfig,
)
from datagen.duplicates.embed import EMBED_STAGE
from datagen.duplicates.index.build import MERGE_STAGE
from datagen.duplicates.index.fingerprint import INDEX_STAGE
from datagen.duplicates.overlap.calibrate import COPIES_STAGE, OTHERS_STAGE
from datagen.duplicates.overlap.scan import OVERLAP_STAGE
from datagen.duplicates.within.config import GroupsConfig, WithinConfig
from datagen.duplicates.within.find import GATHER, MERGE
from datagen.duplicates.within.fingerprint import FINGERPRINT
from datagen.duplicates.within.groups import GROUP_STAGE
from datagen.duplicates.within.pairs import PAIR_STAGE
from datagen.match.match import LIST, MATCH
from datagen.select.cap import BRACKET, GATHER_BRACKETED, THRESHOLD
from datagen.select.distinct import STAGE as DISTINCT
from datagen.select.selection import STAGE as SELECT
from datagen.select.shuffle import STAGE as SHUFFLE
from datagen.shards.remove import STAGE as REMOVE
from datagen.shards.remove import RemoveConfig
from openwit.config import decisive
from openwit.stage import Input, Source, Stage, partition_key
from wit_queries.config import MatcherConfig, PagesConfig, TermsConfig, ViewsConfig
from wit_queries.matching.stage import STAGE as QUERY_TABLE
from wit_queries.terms.articles import ARTICLES
from wit_queries.terms.bigrams import DEAL, SUM, BigramsConfig, BucketsConfig
from wit_queries.terms.query_list import QUERIES
from wit_queries.terms.terms import TERMS, VocabularyConfig
from wit_queries.wikipedia.dumps import DUMPS, DumpsConfig
from wit_queries.wikipedia.page_views import PAGE_VIEWS

ROOT = Path(__file__).parents[2]
PACKAGES = ("openwit", "models", "wit_queries", "datagen", "train", "pipelines")
LIMITS = Limits(
    name="things", max_distance64=0.1, max_distance256=0.2, max_color_distance=20.0, min_contrast=4.0, min_score=0.9
)
STAGES: list[tuple[Stage[Any], Any]] = [
    (MATCH, MatchConfig()), (LIST, MatchConfig()), (QUERY_TABLE, MatcherConfig()), (SHUFFLE, ShuffleConfig()),
    (DISTINCT, ShuffleConfig()), (BRACKET, CapConfig()), (GATHER_BRACKETED, CapConfig()), (THRESHOLD, CapConfig()),
    (SELECT, CapConfig()), (CRAWL, CrawlConfig()), (RETRIES, RetryConfig(reasons=("timeout",))),
    (REMOVE, RemoveConfig()), (EMBED_STAGE, EmbedConfig(name="things")),
    (INDEX_STAGE, IndexConfig(name="things", crop=0.1)),
    (MERGE_STAGE, MergeConfig(exact_vectors=1000, least_score=0.8)),
    (OVERLAP_STAGE, SearchConfig(limits=(LIMITS,), near_pairs=10)),
    (COPIES_STAGE, CopiesConfig(crop=0.1, images=10, seed=0)),
    (OTHERS_STAGE, OthersConfig(limits=(LIMITS,), share=0.5, seed=0)),
    (FINGERPRINT, WithinConfig().prints), (PAIR_STAGE, WithinConfig()), (GROUP_STAGE, GroupsConfig()),
    (GATHER, GroupsConfig()), (MERGE, GroupsConfig()), (DUMPS, DumpsConfig(language="en")), (ARTICLES, PagesConfig()),
    (PAGE_VIEWS, ViewsConfig()), (TERMS, VocabularyConfig(min_count=1, min_total_views=2, wordnet_names="first")),
    (DEAL, BucketsConfig(num_buckets=3)), (SUM, BigramsConfig(num_buckets=3, min_bigram_count=5)),
    (QUERIES, TermsConfig()),
]  # fmt: skip
SOURCE = Source(index=3, inputs={"given": (Input(url="a.parquet", identity="0123"), Input(url="b", identity="45"))})


def free_fields(stage: Stage[Any], config: Any) -> list[str]:
    """The fields, of the section that the user sets, on which no result of the stage depends."""
    section = WithinConfig if stage.name.startswith("within_") else type(config)
    return sorted({field.name for field in dataclasses.fields(section)} - decisive(config).keys())


def test_every_stage_has_the_name_and_version_that_it_had(golden: Callable[[str, object], None]) -> None:
    told = {stage.name: stage.version for stage, _ in STAGES}
    assert len(told) == len(STAGES), "two stages of one name"
    golden("stages", dict(sorted(told.items())))
    assert ADOPTED == "adopted"  # no stage, but it stands in manifests as one


def test_the_list_holds_every_stage_of_the_sources() -> None:
    made = [
        node
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func).partition("[")[0] == "Stage"
    ]
    assert len(made) == len(STAGES)


def test_a_partition_finished_before_is_known_as_such_still(golden: Callable[[str, object], None]) -> None:
    golden("partition_keys", {stage.name: partition_key(stage, config, SOURCE) for stage, config in STAGES})


def test_the_fields_on_which_no_result_depends_are_what_they_were(golden: Callable[[str, object], None]) -> None:
    golden("free_fields", {stage.name: found for stage, config in STAGES if (found := free_fields(stage, config))})


def test_the_software_that_a_manifest_names_is_what_it_was(golden: Callable[[str, object], None]) -> None:
    golden("software", {stage.name: list(stage.software) for stage, _ in STAGES if stage.software})

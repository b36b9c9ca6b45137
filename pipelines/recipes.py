"""Recipes: each function returns one frozen config tree. The demo runs on a laptop, wit400m on a cluster, by the
same commands."""

from __future__ import annotations

from dataclasses import dataclass

from datagen.config import CandidatesConfig, CapConfig, CrawlConfig, SourcesConfig
from datagen.duplicates.config import OverlapConfig
from openwit.executor import ExecutorConfig
from pipelines.demo_web.config import DemoWebConfig
from train.config import PretrainConfig
from train.evals.config import EvaluateConfig
from wit_queries.config import QueriesConfig


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that decides what a run makes."""

    name: str  # of the recipe
    embedded: bool = False  # the embedded web is built, and served while the crawl runs
    executor: ExecutorConfig
    queries: QueriesConfig
    sources: SourcesConfig
    candidates: CandidatesConfig
    cap: CapConfig
    crawl: CrawlConfig
    overlap_executor: ExecutorConfig
    overlap: OverlapConfig
    pretrain: PretrainConfig
    evaluate: EvaluateConfig
    web: DemoWebConfig = DemoWebConfig()

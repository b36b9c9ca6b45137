"""Recipes: each function returns one frozen config tree. The demo runs on a laptop, wit400m and the paper's nine models
on a cluster, by the same commands."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from datagen.config import CandidatesConfig, CapConfig, CrawlConfig, ShuffleConfig, SourcesConfig
from datagen.duplicates.config import CalibrateConfig, OverlapConfig
from datagen.duplicates.within.config import WithinConfig
from models.config import ClipConfig, TextConfig, VisionTransformerConfig
from models.detector.config import DetectorConfig, DetectorResNetConfig
from models.tokenizer.training import TokenizerConfig
from openwit.errors import ConfigError, did_you_mean
from openwit.executors.executor import ExecutorConfig
from openwit.storage.files import join
from pipelines import paper_recipes
from pipelines.demo_web.config import DemoWebConfig
from train.config import DetectorTrainingConfig, PretrainConfig, StreamConfig
from train.evals.config import EvaluateConfig, ZeroShotConfig
from wit_queries.config import QueriesConfig, TermsConfig, ViewsConfig


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that decides what a run makes."""

    name: str  # of the recipe
    embedded: bool = False  # the embedded web is built, and served while the crawl runs
    until: Literal["selected", "shards"] = "shards"  # where build-dataset ends: select, look at the report, then crawl
    s3_endpoint: str = ""  # where s3:// addresses are answered, http(s)://host:port; empty: as the environment says
    executor: ExecutorConfig  # of queries and build-dataset
    queries: QueriesConfig  # the list of search terms
    sources: SourcesConfig  # where candidates come from
    candidates: CandidatesConfig  # which are worth matching
    shuffle: ShuffleConfig  # into how many partitions they are dealt
    cap: CapConfig  # pairs a query
    crawl: CrawlConfig  # how images are fetched
    overlap_executor: ExecutorConfig  # of dedup-check
    overlap: OverlapConfig  # with which evaluation sets
    overlap_model: str = "latest"  # whose accuracy dedup-check splits: a model's path, latest (of pretrain/), or none
    within: WithinConfig = field(default_factory=WithinConfig)  # of dedup-within: copies inside the shards
    launcher: Literal["torchrun", "ray"] = "torchrun"  # of pretrain's ranks; ray: Ray Train at overlap_executor.address
    pretrain: PretrainConfig  # the model and its training
    evaluate: EvaluateConfig  # what the model is tested on
    detector: DetectorTrainingConfig = field(default_factory=DetectorTrainingConfig)  # the duplicate detector
    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)  # of train-tokenizer
    web: DemoWebConfig = field(default_factory=DemoWebConfig)  # the embedded web
    calibrate: CalibrateConfig = field(default_factory=CalibrateConfig)  # how the overlap's thresholds are chosen

    def __post_init__(self) -> None:
        if self.s3_endpoint and not re.fullmatch(r"https?://[^/@]+/?", self.s3_endpoint):
            raise ConfigError(f"s3_endpoint={self.s3_endpoint}: expected http(s)://host:port, without credentials")


def demo(work: str) -> Recipe:
    """The embedded example: everything in minutes, on two cores, without the internet."""
    return Recipe(
        name="demo",
        embedded=True,
        executor=ExecutorConfig(kind="local", workers=2),
        queries=QueriesConfig(
            dumps=("gensim",),
            view_files=(join(work, "pageviews", "*.gz"),),
            views=ViewsConfig(min_hourly_views=20),
            terms=TermsConfig(min_count=10, min_bigram_count=5, num_bigrams=600, min_total_views=200),
        ),
        sources=SourcesConfig(
            wat_paths=join(work, "web", "crawl-data", "OPENWIT-DEMO", "wat.paths.gz"), wat_prefix=join(work, "web")
        ),
        candidates=CandidatesConfig(),
        shuffle=ShuffleConfig(num_partitions=6),
        cap=CapConfig(max_pairs=500),
        crawl=CrawlConfig(
            deadline_s=3.0, retries=0, threads=16, host_requests_per_s=1e4, host_connections=64, image_px=112
        ),
        overlap_executor=ExecutorConfig(kind="ray", workers=2),
        overlap=OverlapConfig(eval_sets=(f"things={join(work, 'web', 'eval', 'things.parquet')}",)),
        pretrain=PretrainConfig(
            model=ClipConfig(
                embed_dim=192,
                vision=VisionTransformerConfig(image_px=64, patch_px=16, width=192, layers=3, heads=3),
                text=TextConfig(context_length=32, width=192, layers=2, heads=3),
            ),
            stream=StreamConfig(resize_px=72, num_lanes=6, shuffle_window=512, threads=1, cache_decoded_mb=200),
            batch_pairs=192,
            duration="400 steps",
            learning_rate=1e-3,
            warmup_steps=40,
            device="cpu",
            ranks=2,
            save_every=50,
        ),
        evaluate=EvaluateConfig(
            zero_shot_set=join(work, "web", "eval", "skin_tones.parquet"),
            zero_shot=ZeroShotConfig(prompts=("{label}", "a drawing of {label}.", "icon - {label}")),
        ),
        detector=DetectorTrainingConfig(
            model=DetectorConfig(image_px=64, embed_dim=64, resnet=DetectorResNetConfig(blocks=(1, 1, 1, 1), width=16)),
            stream=StreamConfig(resize_px=96, num_lanes=6, shuffle_window=512, threads=1, cache_decoded_mb=200),
            batch_pairs=192,
            duration="300 steps",
            learning_rate=2e-3,
            warmup_steps=30,
            device="cpu",
            ranks=2,
            save_every=50,
        ),
    )


def laptop(work: str) -> Recipe:
    """The English Wikipedia and a few WAT files, a small run on one GPU."""
    return Recipe(
        name="laptop",
        executor=ExecutorConfig(kind="local", workers=4),
        queries=QueriesConfig(dumps=("wikipedia",), terms=TermsConfig(num_bigrams=20_000)),
        sources=SourcesConfig(max_files=4),
        candidates=CandidatesConfig(),
        shuffle=ShuffleConfig(num_partitions=4),
        cap=CapConfig(max_pairs=1000),
        crawl=CrawlConfig(),
        overlap_executor=ExecutorConfig(kind="ray", workers=4),
        overlap=OverlapConfig(),
        pretrain=PretrainConfig(batch_pairs=1024, duration="20000 steps", precision="bf16", ranks=1, warmup_steps=1000),
        evaluate=EvaluateConfig(),
        detector=DetectorTrainingConfig(batch_pairs=256, duration="20000 steps", precision="bf16", ranks=1),
    )


def cc_small(work: str) -> Recipe:
    """A hundredth of one Common Crawl snapshot: the pipeline as on the whole web, in days on one machine."""
    return Recipe(
        name="cc_small",
        executor=ExecutorConfig(kind="ray", workers=16),
        queries=QueriesConfig(dumps=("wikipedia",)),
        sources=SourcesConfig(max_files=900),
        candidates=CandidatesConfig(),
        shuffle=ShuffleConfig(num_partitions=64),
        cap=CapConfig(max_pairs=2000),
        crawl=CrawlConfig(),
        overlap_executor=ExecutorConfig(kind="ray", workers=16),
        overlap=OverlapConfig(),
        pretrain=PretrainConfig(batch_pairs=8192, duration="50000 steps", precision="bf16"),
        evaluate=EvaluateConfig(),
        detector=DetectorTrainingConfig(precision="bf16"),
    )


def wit400m(work: str) -> Recipe:
    """The paper's scale: 500,000 queries, 20,000 pairs a query, ViT-B/32 for 32 epochs, on a Ray cluster. Images are
    stored large enough for all of the paper's nine models."""
    return Recipe(
        name="wit400m",
        executor=ExecutorConfig(kind="ray", workers=1024, address="auto"),
        queries=QueriesConfig(
            dumps=("wikipedia",), terms=TermsConfig(min_count=100, num_bigrams=100_000, max_queries=500_000)
        ),
        sources=SourcesConfig(),
        candidates=CandidatesConfig(),
        shuffle=ShuffleConfig(num_partitions=2_000),
        cap=CapConfig(max_pairs=20_000),
        crawl=CrawlConfig(image_px=paper_recipes.CRAWL_PX),
        overlap_executor=ExecutorConfig(kind="ray", workers=1024, address="auto"),
        overlap=OverlapConfig(),
        pretrain=paper_recipes.pretraining("vit_b32", work),
        evaluate=EvaluateConfig(),
        detector=DetectorTrainingConfig(precision="bf16"),
    )


def full(name: str, work: str) -> Recipe:
    """One of the paper's nine models, on the data of wit400m."""
    return dataclasses.replace(wit400m(work), name=name, pretrain=paper_recipes.pretraining(name, work))


RECIPES: dict[str, Callable[[str], Recipe]] = {
    **{recipe.__name__: recipe for recipe in (demo, laptop, cc_small, wit400m)},
    **{name: functools.partial(full, name) for name in paper_recipes.ROWS},
}


def default_work(name: str) -> str:
    """A recipe's work folder where --work names none."""
    return f"runs/{name}"


def create(name: str, work: str) -> Recipe:
    """The recipe of that name for a work folder. Raises ConfigError with the nearest name where there is none."""
    if name not in RECIPES:
        raise ConfigError(f"{name}: unknown recipe{did_you_mean(name, RECIPES)}; there are {', '.join(RECIPES)}")
    return RECIPES[name](work)

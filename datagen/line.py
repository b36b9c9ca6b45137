"""The data line up to the shards: candidates → match → cap → select → crawl, each a stage."""

from __future__ import annotations

from datagen import candidates, cap
from datagen.config import CandidatesConfig, CapConfig, CrawlConfig, SourcesConfig
from datagen.crawl import crawl
from datagen.sources import wat
from openwit import manifest as manifests
from openwit.manifest import Manifest
from openwit.run import Run
from openwit.stage import Input, Source


def match_candidates(run: Run, sources: SourcesConfig, config: CandidatesConfig) -> Manifest:
    """Every WAT file's pairs that match a query, in matched/. Raises InputError where the query list or the list of
    WAT files is missing."""
    queries = _queries(run)
    urls = wat.list_files(sources.wat_paths, sources.wat_prefix, sources.max_files)
    partitions = [
        Source(index=index, inputs={"wat": (Input.outside(url),), "queries": (queries,)})
        for index, url in enumerate(urls)
    ]
    return run.stage(candidates.STAGE, config, partitions, run.folder("matched"))


def select_pairs(run: Run, matched: Manifest, config: CapConfig, num_partitions: int) -> Manifest:
    """The distinct pairs under the cap, grouped by image URL, in selected/."""
    files = _made(run.folder("matched"), matched)
    partitions = [Source(index=index, inputs={"matched": files}) for index in range(num_partitions)]
    counted = run.stage(cap.COUNT, config, partitions, run.folder("cap", "counts"))
    whole = Source(index=0, inputs={"counted": _made(run.folder("cap", "counts"), counted)})
    decided = run.stage(cap.THRESHOLD, config, [whole], run.folder("cap"))
    limits = Input.made(run.folder("cap"), decided.parts[0].file("queries.parquet"))
    partitions = [
        Source(index=index, inputs={"matched": files, "thresholds": (limits,)}) for index in range(num_partitions)
    ]
    return run.stage(cap.SELECT, config, partitions, run.folder("selected"))


def crawl_sources(run: Run, selected: Manifest) -> list[Source]:
    """One partition of the crawl for each selected one."""
    folder = run.folder("selected")
    return [
        Source(index=part.index, inputs={"selected": (Input.made(folder, part.file(".parquet")),)})
        for part in selected.parts
    ]


def crawl_images(run: Run, selected: Manifest, config: CrawlConfig) -> Manifest:
    """The selected pictures as WebDataset shards in shards/; the manifest carries the lineage to the query list."""
    matched = manifests.read(run.folder("matched"))
    lineage = {"queries": _queries(run).identity, "matched": matched.digest}
    return run.stage(crawl.STAGE, config, crawl_sources(run, selected), run.folder("shards"), lineage)


def _queries(run: Run) -> Input:
    made = manifests.read(run.folder("queries"))
    return Input.made(run.folder("queries"), made.parts[0].file("queries.parquet"))


def _made(folder: str, manifest: Manifest) -> tuple[Input, ...]:
    return tuple(Input.made(folder, part.file(".parquet")) for part in manifest.parts)

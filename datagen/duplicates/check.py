"""The overlap check: index the evaluation sets, stream the shards past them, report."""

from __future__ import annotations

from datagen.duplicates import report as reports
from datagen.duplicates.config import OverlapConfig, split_eval_set
from datagen.duplicates.gallery import write_gallery
from datagen.duplicates.index import INDEX_STAGE
from datagen.duplicates.overlap import OVERLAP_STAGE
from datagen.duplicates.report import INDEX, PAIRS, EvalSet, Report
from openwit import manifest as manifests
from openwit import storage
from openwit.errors import ConfigError, InputError
from openwit.manifest import Manifest
from openwit.run import Run
from openwit.stage import Input, Source


def check_overlap(run: Run, config: OverlapConfig) -> Report:
    """What of the evaluation sets the shards hold. In work/duplicates/ it leaves report.json, report.html,
    overlap/<set>.parquet and exclusions.parquet, every pair that training leaves out.

    Raises ConfigError where no set is named, InputError where a set or the shards' manifest is missing, WorkError
    where a set could not be indexed or a shard not checked.
    """
    if not config.eval_sets:
        raise ConfigError(
            "eval_sets is empty: name at least one evaluation set as name=url, e.g. things=things.parquet"
        )
    shards = _read_shards(run)
    sets = [split_eval_set(entry) for entry in config.eval_sets]
    wanted = [Source(index=i, inputs={"eval_set": (Input.outside(url),)}) for i, (_, url) in enumerate(sets)]
    index = run.stage(INDEX_STAGE, config.index, wanted, run.folder("duplicates", INDEX))
    inputs = tuple(Input.made(run.folder("duplicates", INDEX), part.file(".parquet")) for part in index.parts)
    sources = [
        Source(
            index=part.index,
            inputs={
                "tar": (Input.made(run.folder("shards"), part.file(".tar")),),
                "parquet": (Input.made(run.folder("shards"), part.file(".parquet")),),
                "index": inputs,
            },
        )
        for part in shards.parts
    ]
    pairs = run.stage(OVERLAP_STAGE, config, sources, run.folder("duplicates", PAIRS))
    eval_sets = [
        EvalSet(name, url, source.inputs["eval_set"][0].identity, part.counts["kept"], part.counts["in"])
        for (name, url), source, part in zip(sets, wanted, index.parts, strict=True)
    ]
    return _report(run.folder("duplicates"), config, eval_sets, pairs)


def _report(folder: str, config: OverlapConfig, sets: list[EvalSet], pairs: Manifest) -> Report:
    """The report, made anew where the one that stands there is of other inputs; report.json, written last, vouches
    for the other files."""
    made_from = reports.made_from(config, sets, pairs)
    if (before := reports.find_report(folder, made_from)) is not None:
        return before
    rows = reports.read_pairs(folder, pairs)
    report = reports.measure(config, sets, pairs, rows)
    reports.write_tables(folder, report, rows)
    write_gallery(folder, report, rows, config.gallery_pairs)
    storage.write_bytes(storage.join(folder, reports.REPORT), report.to_json().encode())
    return report


def _read_shards(run: Run) -> Manifest:
    try:
        return manifests.read(run.folder("shards"))
    except InputError as error:
        raise InputError(f"{error}; build-dataset makes the shards that are checked") from None

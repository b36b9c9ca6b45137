"""openwit train-tokenizer: a vocabulary of the captions that were matched or crawled."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

from models.tokenizer.training import TokenizerConfig
from openwit import storage
from openwit.config import digest
from openwit.errors import InputError
from openwit.shards.notes import caption_texts
from pipelines.session import Invocation, require

MERGES = "merges.txt.gz"
TABLE = re.compile(r"\d{5,}\.parquet")


def run_train_tokenizer(invocation: Invocation) -> None:
    """Writes tokenizer/merges.txt.gz, which `Tokenizer(merges_path=…)` reads, and tokenizer/tokenizer.json."""
    config, log = invocation.recipe.tokenizer, invocation.log
    require(invocation, config.captions, "build-dataset")
    tables = _tables(storage.join(invocation.work, config.captions))
    merges_url = storage.join(invocation.work, "tokenizer", MERGES)
    notes_url = storage.join(invocation.work, "tokenizer", "tokenizer.json")
    made_from = digest(config, [storage.identity(url) for url in tables])
    done = storage.exists(notes_url) and storage.read_json(notes_url).get("made_from") == made_from
    if invocation.dry_run:
        log.say(f"train-tokenizer: {len(tables)} tables, {'done before' if done else 'to do'}")
        return
    if not done:
        storage.write_json(notes_url, {"made_from": made_from, **_train(tables, config, merges_url)})
    notes = storage.read_json(notes_url)
    log.say(f"train-tokenizer: {merges_url}{' done before' if done else ''}: {notes['captions']:,} captions read")
    fewer = (
        f", {notes['missing_ids']:,} fewer than asked for: the captions hold no more" if notes["missing_ids"] else ""
    )
    log.say(f"  vocabulary_size {notes['vocabulary_size']}{fewer}; context_length {notes['context_length']}")


def _tables(folder: str) -> list[str]:
    tables = [storage.join(folder, name) for name in storage.list_sizes(folder) if TABLE.fullmatch(name)]
    if not tables:
        raise InputError(f"{folder}: holds no NNNNN.parquet; the command before has found nothing")
    return tables


def _train(tables: list[str], config: TokenizerConfig, merges_url: str) -> dict[str, int]:
    """Publishes the merges; what is worth knowing of them."""
    from models.tokenizer.training import missing_ids, train_vocabulary
    from models.tokenizer.vocabulary import to_bytes

    counter = itertools.count()
    captions = (caption for url in tables for caption in _captions(url))
    read = (caption for caption, _ in zip(itertools.islice(captions, config.max_captions), counter, strict=False))
    vocabulary = train_vocabulary(read, config)
    storage.write_bytes(merges_url, to_bytes(vocabulary))
    return {
        "captions": next(counter),
        "vocabulary_size": vocabulary.size,
        "missing_ids": missing_ids(vocabulary, config),
        "context_length": vocabulary.context_length,
    }


def _captions(url: str) -> Iterator[str]:
    """All captions of a table of matched pairs or of a shard, there of the images that came."""
    from openwit.storage.tables import open_parquet

    with open_parquet(url) as parquet:
        names = [name for name in ("status", "captions", "caption") if name in parquet.schema_arrow.names]
        for batch in parquet.iter_batches(columns=names):
            for row in batch.to_pylist():
                if row.get("status", "success") == "success":
                    yield from caption_texts(row)

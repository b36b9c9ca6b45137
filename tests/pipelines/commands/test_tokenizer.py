from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from helpers.places import ROOT
from models.tokenizer.tokenizer import Tokenizer

SIZES = ("--tokenizer.vocabulary_size", "540", "--tokenizer.context_length", "12")


def train(work: Path, *words: str, code: int = 0) -> str:
    """What the command says, or the one line with which it refuses."""
    command = [sys.executable, "-m", "pipelines", "train-tokenizer", "laptop", "--work", str(work), *words]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, check=False)
    assert done.returncode == code, done
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


def write_shards(work: Path) -> None:
    """Two tables as the crawl writes them: an image that failed, one with two captions, one of img2dataset's."""
    (work / "shards").mkdir(parents=True)
    (work / "shards" / "manifest.json").write_text("{}")
    several = pa.list_(pa.struct([("uid", pa.string()), ("caption", pa.string())]))
    rows = [
        {"status": "success", "caption": "ab", "captions": [_caption("abba cab"), _caption("ab")]},
        {"status": "failed_to_download", "caption": "xyxyxy xy", "captions": [_caption("xyxyxy xy")]},
    ]
    schema = pa.schema([("status", pa.string()), ("caption", pa.string()), ("captions", several)])
    pq.write_table(pa.Table.from_pylist(rows, schema), work / "shards" / "00000.parquet")
    plain = pa.table({"status": ["success", "success"], "caption": ["abba cab", None]})
    pq.write_table(plain, work / "shards" / "00001.parquet")


def _caption(text: str) -> dict[str, str]:
    return {"uid": text, "caption": text}


def test_the_captions_of_the_images_that_came_make_a_vocabulary_that_the_tokenizer_reads(tmp_path: Path) -> None:
    write_shards(tmp_path)
    assert "to do" in train(tmp_path, "--dry-run")
    assert not (tmp_path / "tokenizer").exists()
    said = train(tmp_path, *SIZES)
    assert "3 captions read" in said
    path = tmp_path / "tokenizer" / "merges.txt.gz"
    tokenizer = Tokenizer(merges_path=path)
    notes = json.loads((tmp_path / "tokenizer" / "tokenizer.json").read_text())
    assert (notes["vocabulary_size"], notes["context_length"]) == (tokenizer.vocabulary_size, tokenizer.context_length)
    assert f"vocabulary_size {tokenizer.vocabulary_size}, {540 - tokenizer.vocabulary_size} fewer than asked" in said
    encoded = tokenizer.encode_batch(["abba", "xyxyxy"])
    assert encoded.ids.shape == (2, 12)
    assert encoded.lengths.tolist() == [3, 8]  # one word that is known; six letters of an image that failed
    before = path.read_bytes()
    assert "done before" in train(tmp_path, *SIZES)
    assert "done before" not in train(tmp_path, *SIZES, "--tokenizer.min_count", "3")
    assert path.read_bytes() != before


def test_matched_pairs_serve_before_the_crawl_and_as_many_as_asked_are_read(tmp_path: Path) -> None:
    assert f"has no finished matched/; run openwit build-dataset laptop --work {tmp_path} first" in train(
        tmp_path, "--tokenizer.captions", "matched", code=2
    )
    (tmp_path / "matched").mkdir()
    (tmp_path / "matched" / "manifest.json").write_text("{}")
    captions = ["one two one two", "one two", "six six six six six"]
    pq.write_table(pa.table({"caption": captions}), tmp_path / "matched" / "00000.parquet")
    said = train(tmp_path, *SIZES, "--tokenizer.captions", "matched", "--tokenizer.max_captions", "2")
    assert "2 captions read" in said
    tokenizer = Tokenizer(merges_path=tmp_path / "tokenizer" / "merges.txt.gz")
    assert tokenizer.encode_batch(["one two", "six"]).lengths.tolist() == [4, 5]


def test_a_damaged_table_is_named(tmp_path: Path) -> None:
    write_shards(tmp_path)
    (tmp_path / "shards" / "00001.parquet").write_bytes(b"PAR1 and no more")
    line = train(tmp_path, *SIZES, code=2)
    assert "00001.parquet: cannot be read" in line
    assert not (tmp_path / "tokenizer" / "merges.txt.gz").exists()

"""Captions to rows of ids on one core: Tokenizer beside open_clip's SimpleTokenizer, and beside the Rust engine of
`tokenizers` (which Hugging Face's fast tokenizers are) behind the same exact cleaning.

Each caption is encoded once a round, in batches of 1,024, and no caption stands in the list twice. Ours remembers
nothing between calls. The reference keeps its cache of words as users have it: unbounded, and full of these captions'
words from the round before, which is the best case for it. Equal ids are checked on every caption.

Keys: captions_per_s (ours, seconds of CPU time, median), vs_reference and vs_rust (above 1: ours is faster).
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator

import torch
from harness import paired, quick_flag, report
from open_clip.tokenizer import SimpleTokenizer
from wat_files import SHARED, captions

from models.tokenizer.exact import ExactEncoder, clean
from models.tokenizer.tokenizer import Tokenizer
from models.tokenizer.vocabulary import find_merges, read_vocabulary

BATCH = 1024


def batches(texts: list[str]) -> Iterator[list[str]]:
    """The texts in their order, BATCH at a time."""
    return (texts[start : start + BATCH] for start in range(0, len(texts), BATCH))


def cpu_seconds(work: Callable[[], object], rounds: int) -> float:
    """The median CPU time of a call: other processes of the machine don't count."""
    times = []
    for _ in range(rounds):
        started = time.process_time()
        work()
        times.append(time.process_time() - started)
    return statistics.median(times)


def main() -> None:
    quick = quick_flag(__doc__)
    torch.set_num_threads(1)
    texts = list(dict.fromkeys(captions()))
    texts = texts[:: 5 if quick else 1]
    tokenizer, reference, rust = Tokenizer(), SimpleTokenizer(), ExactEncoder(read_vocabulary(find_merges()))

    def ours() -> list[torch.Tensor]:
        return [tokenizer.encode(batch) for batch in batches(texts)]

    def peer() -> list[torch.Tensor]:
        return [reference(batch) for batch in batches(texts)]

    def engine() -> list[list[list[int]]]:
        return [rust.ids([clean(text) for text in batch]) for batch in batches(texts)]

    assert torch.equal(torch.cat(ours()), torch.cat(peer())), "ours and the reference differ"
    rounds = 3 if quick else 9
    beside_peer, beside_rust = paired(ours, peer, rounds), paired(ours, engine, rounds)
    report(
        "tokenizer",
        {
            "captions_per_s": len(texts) / cpu_seconds(ours, 9),
            "vs_reference": beside_peer.speed_ratio,
            "vs_rust": beside_rust.speed_ratio,
        },
        reference_per_s=round(len(texts) / cpu_seconds(peer, 1)),
        rust_per_s=round(len(texts) / cpu_seconds(engine, 1)),
        captions=len(texts),
        captions_are="real, at most 16 words each" if SHARED.is_dir() else "made",
        characters_a_caption=round(sum(map(len, texts)) / len(texts), 1),
        beyond_ascii=round(sum(not text.isascii() for text in texts) / len(texts), 3),
    )


if __name__ == "__main__":
    main()

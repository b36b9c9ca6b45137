"""The list of queries: cleaning and counting a Wikipedia dump beside bz2 and mwparserfromhell, and at 2 GB.

Keys: clean_vs_bz2: the speed of the stage "articles" (decompress, parse, clean, normalise, count words and pairs)
on one core, divided by that of Python's bz2 decompressing the same file; clean_vs_mwparser: wikitext to text, ours
beside mwparserfromhell's parse and strip_code of the same articles; two_workers: the stage through the executor, two
workers beside one, on a synthetic dump (synthetic_dump.py), with the start of the processes, which weighs more with
--quick.
Details: words_within_5_percent, of the words that the reference (wikitext_reference.py) has 20 times or more the share
whose count is within 5% of it; without --quick also peak_gb, the resident memory of the largest process while the whole
list is built from a synthetic dump of 2 GB, and time_per_mb_vs_200_mb, that build's CPU seconds per MB divided by those
of a dump of 200 MB (of all processes; they don't change with what else the machine does).
"""

from __future__ import annotations

import bz2
import contextlib
import functools
import os
import resource
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import mwparserfromhell
import psutil
from harness import Paired, paired, quick_flag, report
from synthetic_dump import write_synthetic_dump
from wikitext_reference import reference_text

from openwit.executors.executor import ExecutorConfig
from openwit.log.events import Log
from openwit.run import Run
from openwit.stage import Input, Source, Target
from wit_queries.build import build_queries
from wit_queries.config import PagesConfig, QueriesConfig, TermsConfig
from wit_queries.terms.articles import ARTICLES
from wit_queries.text.normalize import words
from wit_queries.wikipedia.dump import Dump
from wit_queries.wikipedia.inputs import dump_urls
from wit_queries.wikipedia.page_xml import MAIN_NAMESPACE, WikiPage
from wit_queries.wikipedia.spans import cut
from wit_queries.wikipedia.wikitext import plain_text

WORST = 10
RARE = 20  # words that the reference has less often are not compared


@contextlib.contextmanager
def one_core() -> Iterator[None]:
    """Keeps this process and its threads on one core."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


def decompress(path: Path) -> None:
    """Python's bz2 alone, a chunk at a time."""
    with bz2.open(path) as file:
        while file.read(1 << 20):
            pass


def count(path: Path, folder: Path) -> None:
    """The stage "articles" of one partition, in this process."""
    source = Source(index=0, inputs={"dump": (Input.outside(str(path)),)})
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        ARTICLES.process(PagesConfig(), source, Target(0, Path(scratch)))


def count_with(workers: int, path: Path, folder: Path) -> None:
    """The stage "articles" through the executor, the dump cut in about ten parts."""
    whole = Input.outside(str(path))
    size = path.stat().st_size
    spans = cut(str(path), size, size // 10)
    sources = [Source(index=n, inputs={"dump": (whole.cut(*span),)}) for n, span in enumerate(spans)]
    with tempfile.TemporaryDirectory(dir=folder) as work, run_in(Path(work), workers) as run:
        run.stage(ARTICLES, PagesConfig(), sources, run.folder("counts"))


def build(path: Path, folder: Path) -> None:
    """The whole list from one dump, with two workers."""
    config = QueriesConfig(dumps=(str(path),), wordnet="none", terms=TermsConfig(num_bigrams=10_000))
    with tempfile.TemporaryDirectory(dir=folder) as work, run_in(Path(work), 2) as run:
        build_queries(run, config)


def run_in(work: Path, workers: int) -> Run:
    """A run on local processes."""
    return Run(work=str(work), recipe="benchmark", executor_config=ExecutorConfig(workers=workers), log=Log())


def peak_memory(work: Callable[[], object]) -> float:
    """The largest resident memory of this process or any that it started, sampled during one call, in GB."""
    peak, ended = 0, threading.Event()

    def watch() -> None:
        nonlocal peak
        here = psutil.Process()
        while not ended.wait(0.05):
            for process in [here, *here.children(recursive=True)]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    peak = max(peak, process.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        work()
    finally:
        ended.set()
        watcher.join()
    return peak / 1e9


def cpu_seconds() -> float:
    """What this process and those that it started and that ended have computed so far."""
    here, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return here.ru_utime + here.ru_stime + children.ru_utime + children.ru_stime


def cleaning(texts: list[str], hidden: frozenset[str], rounds: int) -> Paired:
    """Ours and strip_code on the same articles."""
    with one_core():
        return paired(
            lambda: [plain_text(text, hidden) for text in texts],
            lambda: [mwparserfromhell.parse(text).strip_code() for text in texts],
            rounds,
            warm_up=False,
        )


def agreement(texts: list[str], hidden: frozenset[str]) -> float:
    """The share of words within 5% of the reference; prints the worst."""
    ours: Counter[str] = Counter()
    reference: Counter[str] = Counter()
    for text in texts:
        ours.update(words(plain_text(text, hidden)))
        reference.update(words(reference_text(text, hidden)))
    frequent = [word for word, number in reference.items() if number >= RARE]
    off = {word: abs(ours[word] - reference[word]) / reference[word] for word in frequent}
    worst = sorted(off, key=lambda word: (-off[word], word))[:WORST]
    print(
        f"{ours.total():,} words beside the reference's {reference.total():,}; {len(frequent):,} are frequent; worst:"
    )
    for word in worst:
        print(f"  {word:15} {ours[word]:6} {reference[word]:6}  {off[word]:6.1%}")
    return sum(share <= 0.05 for share in off.values()) / len(frequent)


def large_dumps(excerpt: Path, folder: Path) -> dict[str, float]:
    """Peak memory and time of the whole list at 2 GB, the time beside that at 200 MB."""
    per_mb: dict[int, float] = {}
    peak = 0.0
    for megabytes in (200, 2000):
        path = folder / f"{megabytes}.xml.bz2"
        size = write_synthetic_dump(path, excerpt, megabytes * 1_000_000)
        started, cpu_s = time.perf_counter(), cpu_seconds()
        peak = peak_memory(functools.partial(build, path, folder))
        wall_s, cpu_s = time.perf_counter() - started, cpu_seconds() - cpu_s
        per_mb[megabytes] = cpu_s / (size / 1e6)
        print(f"{size / 1e6:,.0f} MB of XML: {wall_s:.1f} s, CPU {cpu_s:.1f} s, peak {peak:.2f} GB", flush=True)
        path.unlink()
    return {"peak_gb": round(peak, 3), "time_per_mb_vs_200_mb": round(per_mb[2000] / per_mb[200], 3)}


def main() -> None:
    """Measures and reports."""
    quick = quick_flag(__doc__)
    excerpt = Path(dump_urls(["gensim"])[0])
    dump = Dump(str(excerpt))
    found = [page for page in dump.pages() if isinstance(page, WikiPage)]
    texts = [page.text for page in found if page.namespace == MAIN_NAMESPACE and page.redirect is None]
    hidden = dump.site.hidden_prefixes()
    details: dict[str, float] = {"words_within_5_percent": round(agreement(texts, hidden), 4)}
    peer = cleaning(texts[:50] if quick else texts, hidden, 1 if quick else 5)
    print(f"clean      {peer.ours_s:6.3f} s  mwparserfromhell {peer.peer_s:6.3f} s")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with one_core():
            whole = paired(lambda: count(excerpt, folder), lambda: decompress(excerpt), 5 if quick else 15)
        print(f"whole pass {whole.ours_s:6.3f} s  bz2              {whole.peer_s:6.3f} s")
        path = folder / "synthetic.xml.bz2"
        size = write_synthetic_dump(path, excerpt, 80_000_000 if quick else 800_000_000)
        pair = paired(
            lambda: count_with(2, path, folder), lambda: count_with(1, path, folder), 1 if quick else 3, warm_up=False
        )
        print(f"2 workers  {pair.ours_s:6.3f} s  1 worker         {pair.peer_s:6.3f} s  ({size / 1e6:,.0f} MB of XML)")
        path.unlink()
        if not quick:
            details |= large_dumps(excerpt, folder)
    ratios = {
        "clean_vs_bz2": whole.speed_ratio,
        "clean_vs_mwparser": peer.speed_ratio,
        "two_workers": pair.speed_ratio,
    }
    report("queries", ratios, articles=len(texts), **details)


if __name__ == "__main__":
    main()

"""The cascade: what digests, hashes and the detector say of a batch of images, made one answer a pair."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from datagen.duplicates.config import REASONS, Limits
from datagen.duplicates.fingerprints import F32, Fingerprints, pixels_sha256
from datagen.duplicates.index.query import NEAR_DISTANCE, NEAR_SCORE, ByHash, Finder

PIXELS_DISTANCE = 0.06  # of the 256-bit hash: what is farther has other pixels, so they are not compared


@dataclass(frozen=True)
class Match:
    """An image of the shards (its place in the batch) beside an evaluation image (its row in the index)."""

    query: int
    row: int
    reason: str  # the first stage of the cascade that said yes; of a near miss the one that nearly did
    score: float  # of that stage
    by_hash: ByHash | None
    detector: float | None
    gap: float  # how far a near miss is from the threshold, as a share of the margin; 0 of a match


@dataclass(frozen=True)
class Evidence:
    """Of one pair, all that the stages found."""

    same_bytes: bool = False
    same_pixels: bool = False
    by_hash: ByHash | None = None
    detector: float | None = None

    def judge(self, limits: Limits) -> tuple[str, float, float] | None:
        """(reason, score, gap) by these thresholds; None where it is neither a match nor a near miss."""
        if self.same_bytes:
            return "sha256", 1.0, 0.0
        if self.same_pixels:
            return "pixels", 1.0, 0.0
        answers = []
        if self.by_hash is not None and self.by_hash.color_distance <= limits.max_color_distance:
            apart = self.by_hash.distance256
            gap = max(0.0, (apart - limits.max_distance256) / NEAR_DISTANCE)
            answers.append((gap, REASONS.index("phash"), round(1 - apart, 4)))
        if self.detector is not None:
            gap = max(0.0, (limits.min_score - self.detector) / NEAR_SCORE)
            answers.append((gap, REASONS.index("detector"), self.detector))
        if not answers:
            return None
        gap, reason, score = min(answers)
        return (REASONS[reason], score, gap) if gap <= 1 else None


def same_images(finder: Finder, digests: Sequence[set[str]]) -> set[tuple[int, int]]:
    """(query, row) of the same bytes; `digests` are those by which each query is known: as fetched and as stored."""
    return {
        (query, row) for query, known in enumerate(digests) for digest in known if digest
        for row in finder.index.same("sha256", digest)
    }  # fmt: skip


def same_pixels(
    finder: Finder, images: Sequence[bytes], prints: Fingerprints, hashed: dict[tuple[int, int], ByHash]
) -> set[tuple[int, int]]:
    """(query, row) of the same pixels. Those are looked at of images whose hashes allow it, or that have none."""
    near = {query for (query, _), found in hashed.items() if found.distance256 <= PIXELS_DISTANCE}
    near |= {query for query, contrast in enumerate(prints.contrast.tolist()) if contrast < finder.min_contrast}
    return {
        (query, row)
        for query in sorted(near)
        for row in finder.index.same("pixels", pixels_sha256(images[query]))
    }  # fmt: skip


def decide(
    finder: Finder,
    exact: tuple[set[tuple[int, int]], set[tuple[int, int]]],
    hashed: dict[tuple[int, int], ByHash],
    detected: dict[tuple[int, int], float],
    vectors: F32 | None,
) -> Iterator[Match]:
    """Each pair that a stage found (the same bytes and pixels, the near hashes and vectors), in order; with a detector
    each has its score."""
    pairs = sorted(set().union(*exact, hashed, detected))
    scores: list[float] | list[None] = [None] * len(pairs)
    if vectors is not None and pairs:
        rows = [row for _, row in pairs]
        scores = [round(score, 4) for score in finder.index.scores(vectors[[q for q, _ in pairs]], rows).tolist()]
    by_set = list(finder.limits.values())
    for (query, row), score in zip(pairs, scores, strict=True):
        pair = (query, row)
        score = detected.get(pair, score)
        evidence = Evidence(pair in exact[0], pair in exact[1], hashed.get(pair), score)
        judged = evidence.judge(by_set[finder.set_of[row]])
        if judged is not None:
            yield Match(query, row, judged[0], judged[1], evidence.by_hash, score, judged[2])

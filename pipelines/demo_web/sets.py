"""What is held out of the pages: skin-tone compositions (zero-shot), and things (overlap check, known answer)."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from random import Random

from openwit.errors import ConfigError
from pipelines.demo_web.config import DemoWebConfig
from pipelines.demo_web.names import Motif

# Concrete things with one plain word as name, no people and no flags. Their drawings resemble neither each other nor
# any other drawing, so that what the overlap check should answer is beyond doubt.
THINGS = tuple(
    """laptop spider rainbow printer orca dove balloon airplane turtle grapes eagle giraffe crown brain tulip taco
    snake shark rabbit motorcycle backpack teapot stethoscope fountain candy broom scorpion megaphone ladder books
    crab skateboard squid peacock sandwich watermelon bomb unicorn spaghetti chair volcano television snowman mango
    kite jellyfish butterfly trumpet stopwatch penguin package lobster llama lion kangaroo harp telescope octopus
    cactus accordion""".split()
)
_MAX_HELDOUT_PER_BASE = 2  # of five tones, so that at least three are learned from
_MAX_TOGETHER = 4


@dataclass(frozen=True)
class Split:
    """Who is shown in the pages as drawn, who as altered copies only, and who is held out."""

    shown: list[Motif]
    planted: list[Motif]
    not_planted: list[Motif]
    heldout: list[Motif]

    @property
    def things(self) -> list[Motif]:
        """The set of the overlap check, planted or not, by key."""
        return sorted([*self.planted, *self.not_planted], key=lambda motif: motif.key)


def split(config: DemoWebConfig, motifs: list[Motif]) -> Split:
    """Deals the images; a pure function of the config and the catalogue.

    Raises ConfigError where the sets are larger than what can be held out.
    """
    by_name = {motif.name: motif for motif in motifs}
    candidates = [by_name[name] for name in THINGS if name in by_name]
    if config.num_things > len(candidates):
        raise ConfigError(f"num_things={config.num_things}: there are only {len(candidates)}; write at most that")
    things = Random(f"{config.seed}/things").sample(candidates, config.num_things)
    motifs = _limit(config, motifs, things)
    heldout = _heldout_tones(config, motifs)
    away = {motif.key for motif in [*things, *heldout]}
    return Split(
        shown=[motif for motif in motifs if motif.key not in away],
        planted=sorted(things[: config.num_planted], key=lambda motif: motif.key),
        not_planted=sorted(things[config.num_planted :], key=lambda motif: motif.key),
        heldout=heldout,
    )


def _limit(config: DemoWebConfig, motifs: list[Motif], things: list[Motif]) -> list[Motif]:
    """At most `max_images` of the images: the things, then whole families of one base."""
    if not config.max_images:
        return motifs
    families: dict[str, list[Motif]] = {}
    for motif in motifs:
        families.setdefault(motif.base, []).append(motif)
    bases = sorted(families)
    Random(f"{config.seed}/limit").shuffle(bases)
    chosen = {motif.key for motif in things}
    for base in bases:
        family = {motif.key for motif in families[base]}
        if len(chosen | family) <= config.max_images:
            chosen |= family
    return [motif for motif in motifs if motif.key in chosen]


def _heldout_tones(config: DemoWebConfig, motifs: list[Motif]) -> list[Motif]:
    """Drawings with one tone, by key: no name of them stands inside the name of a drawing that is shown.

    "man firefighter: dark skin tone" is a part of "woman firefighter: dark skin tone", so both are held out or none.
    """
    toned = [motif for motif in motifs if motif.tones]
    written = {motif.key: (motif.name.casefold(), f"-{motif.slug}-") for motif in toned}
    order = [motif for motif in toned if len(motif.tones) == 1]
    Random(f"{config.seed}/heldout").shuffle(order)
    held: dict[str, Motif] = {}
    per_base: Counter[str] = Counter()
    sizes = Counter(motif.base for motif in order)
    most = {base: min(_MAX_HELDOUT_PER_BASE, size - 1) for base, size in sizes.items()}
    for motif in order:
        if motif.key in held:
            continue
        name, slug = written[motif.key]
        together = [p for p in toned if name in written[p.key][0] or slug in written[p.key][1]]
        together = [p for p in together if p.key not in held]
        fits = len(held) + len(together) <= config.num_heldout and len(together) <= _MAX_TOGETHER
        if fits and all(len(p.tones) == 1 and per_base[p.base] < most[p.base] for p in together):
            held |= {p.key: p for p in together}
            per_base.update(p.base for p in together)
        if len(held) == config.num_heldout:
            break
    if len(held) < config.num_heldout:
        raise ConfigError(
            f"num_heldout={config.num_heldout}: only {len(held)} compositions can be held out of {len(motifs)}"
            f" images; write at most that, or raise max_images"
        )
    return [held[key] for key in sorted(held)]

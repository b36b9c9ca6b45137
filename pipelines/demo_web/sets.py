"""What is held out of the pages: skin-tone compositions (zero-shot), and things (overlap check, known answer)."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from random import Random

from openwit.errors import ConfigError
from pipelines.demo_web.config import DemoWebConfig
from pipelines.demo_web.names import Picture

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

    shown: list[Picture]
    planted: list[Picture]
    not_planted: list[Picture]
    heldout: list[Picture]

    @property
    def things(self) -> list[Picture]:
        """The set of the overlap check, planted or not, by key."""
        return sorted([*self.planted, *self.not_planted], key=lambda picture: picture.key)


def split(config: DemoWebConfig, pictures: list[Picture]) -> Split:
    """Deals the pictures; a pure function of the config and the catalogue.

    Raises ConfigError where the sets are larger than what can be held out.
    """
    by_name = {picture.name: picture for picture in pictures}
    candidates = [by_name[name] for name in THINGS if name in by_name]
    if config.num_things > len(candidates):
        raise ConfigError(f"num_things={config.num_things}: there are only {len(candidates)}; write at most that")
    things = Random(f"{config.seed}/things").sample(candidates, config.num_things)
    pictures = _limit(config, pictures, things)
    heldout = _heldout_tones(config, pictures)
    away = {picture.key for picture in [*things, *heldout]}
    return Split(
        shown=[picture for picture in pictures if picture.key not in away],
        planted=sorted(things[: config.num_planted], key=lambda picture: picture.key),
        not_planted=sorted(things[config.num_planted :], key=lambda picture: picture.key),
        heldout=heldout,
    )


def _limit(config: DemoWebConfig, pictures: list[Picture], things: list[Picture]) -> list[Picture]:
    """At most `max_pictures` of the pictures: the things, then whole families of one base."""
    if not config.max_pictures:
        return pictures
    families: dict[str, list[Picture]] = {}
    for picture in pictures:
        families.setdefault(picture.base, []).append(picture)
    bases = sorted(families)
    Random(f"{config.seed}/limit").shuffle(bases)
    chosen = {picture.key for picture in things}
    for base in bases:
        family = {picture.key for picture in families[base]}
        if len(chosen | family) <= config.max_pictures:
            chosen |= family
    return [picture for picture in pictures if picture.key in chosen]


def _heldout_tones(config: DemoWebConfig, pictures: list[Picture]) -> list[Picture]:
    """Drawings with one tone, by key: no name of them stands inside the name of a drawing that is shown.

    "man firefighter: dark skin tone" is a part of "woman firefighter: dark skin tone", so both are held out or none.
    """
    toned = [picture for picture in pictures if picture.tones]
    written = {picture.key: (picture.name.casefold(), f"-{picture.slug}-") for picture in toned}
    order = [picture for picture in toned if len(picture.tones) == 1]
    Random(f"{config.seed}/heldout").shuffle(order)
    held: dict[str, Picture] = {}
    per_base: Counter[str] = Counter()
    sizes = Counter(picture.base for picture in order)
    most = {base: min(_MAX_HELDOUT_PER_BASE, size - 1) for base, size in sizes.items()}
    for picture in order:
        if picture.key in held:
            continue
        name, slug = written[picture.key]
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
            f"num_heldout={config.num_heldout}: only {len(held)} compositions can be held out of {len(pictures)}"
            f" pictures; write at most that, or raise max_pictures"
        )
    return [held[key] for key in sorted(held)]

# mypy: disable-error-code="arg-type"
from __future__ import annotations

import cv2
import numpy as np
import pytest

from openwit.errors import ConfigError
from pipelines.demo_web.config import DemoWebConfig
from pipelines.demo_web.names import Motif, catalogue
from pipelines.demo_web.render import MotifDrawing, encode
from pipelines.demo_web.sets import THINGS, Split, split


@pytest.fixture(scope="module")
def motifs() -> list[Motif]:
    return catalogue()


@pytest.fixture(scope="module")
def parts(motifs: list[Motif]) -> Split:
    return split(DemoWebConfig(), motifs)


def test_the_parts_are_disjoint_and_make_up_the_catalogue(parts: Split, motifs: list[Motif]) -> None:
    every = [*parts.shown, *parts.planted, *parts.not_planted, *parts.heldout]
    assert sorted(motif.key for motif in every) == [motif.key for motif in motifs]
    assert (len(parts.heldout), len(parts.planted), len(parts.not_planted)) == (400, 25, 25)
    assert len(parts.shown) > 3450


def test_every_heldout_base_is_shown_in_other_tones_and_every_tone_with_other_bases(parts: Split) -> None:
    shown = [motif for motif in parts.shown if len(motif.tones) == 1]
    for motif in parts.heldout:
        assert len(motif.tones) == 1
        assert sum(other.base == motif.base for other in shown) >= 3
        assert sum(other.tones == motif.tones for other in shown) >= 100


def test_no_heldout_name_stands_inside_a_shown_name(parts: Split) -> None:
    names = "\n".join(motif.name.casefold() for motif in parts.shown)
    slugs = "\n".join(f"-{motif.slug}-" for motif in parts.shown)
    for motif in parts.heldout:
        assert motif.name.casefold() not in names
        assert f"-{motif.slug}-" not in slugs


def test_another_seed_holds_out_others_and_the_same_seed_the_same(parts: Split, motifs: list[Motif]) -> None:
    assert split(DemoWebConfig(), motifs) == parts
    other = split(DemoWebConfig(seed=1), motifs)
    assert other.heldout != parts.heldout
    assert other.planted != parts.planted


def test_a_limit_keeps_the_things_and_whole_families(motifs: list[Motif]) -> None:
    parts = split(DemoWebConfig(max_images=300, num_heldout=10, num_things=20, num_planted=10), motifs)
    every = [*parts.shown, *parts.planted, *parts.not_planted, *parts.heldout]
    assert len(every) <= 300
    assert len(parts.things) == 20


def test_sets_larger_than_the_catalogue_are_refused(motifs: list[Motif]) -> None:
    with pytest.raises(ConfigError, match=r"num_heldout=400: only \d+ compositions"):
        split(DemoWebConfig(max_images=300), motifs)
    with pytest.raises(ConfigError, match=r"num_things=500: there are only \d+"):
        split(DemoWebConfig(num_things=500), motifs)


def test_the_things_are_drawings_that_do_not_resemble_each_other(motifs: list[Motif]) -> None:
    by_name = {motif.name: motif for motif in motifs}
    assert all(name in by_name for name in THINGS)
    bits = []
    for name in THINGS:
        png = np.frombuffer(encode(MotifDrawing(by_name[name].key, 96, 0)), np.uint8)
        gray = cv2.resize(cv2.imdecode(png, cv2.IMREAD_GRAYSCALE), (32, 32), interpolation=cv2.INTER_AREA)
        low = cv2.dct(gray.astype(np.float32))[:16, :16].ravel()
        bits.append(low > np.median(low))
    table = np.array(bits)
    distances = (table[:, None] != table[None]).mean(-1) + np.eye(len(table))
    assert distances.min() > 0.25

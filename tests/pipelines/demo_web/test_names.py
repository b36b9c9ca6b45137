from __future__ import annotations

import pytest

from pipelines.demo_web.names import Motif, catalogue, slug


@pytest.fixture(scope="module")
def by_key() -> dict[str, Motif]:
    return {motif.key: motif for motif in catalogue()}


def test_about_3900_drawings_have_names_of_which_2030_are_skin_tone_variants(by_key: dict[str, Motif]) -> None:
    assert 3900 <= len(by_key) <= 4000
    assert sum(bool(motif.tones) for motif in by_key.values()) == 2030  # the five swatches are no variants


@pytest.mark.parametrize(
    ("key", "name", "base", "num_tones"),
    [
        ("1F469-1F3FD-200D-1F692", "woman firefighter: medium skin tone", "woman firefighter", 1),
        ("1F468-1F3FB-200D-1F9B0", "man: light skin tone, red hair", "man: red hair", 1),
        ("1F48F-1F3FB", "kiss: light skin tone", "kiss", 1),
        (
            "1F469-1F3FF-200D-2764-FE0F-200D-1F48B-200D-1F468-1F3FB",
            "kiss: woman, man, dark skin tone, light skin tone",
            "kiss: woman, man",
            2,
        ),
        ("1F468-200D-1F466", "family: man, boy", "family: man, boy", 0),
        ("1F1EB-1F1F7", "flag: France", "flag: France", 0),
        ("1F335", "cactus", "cactus", 0),
        ("1F3FB", "light skin tone", "light skin tone", 0),
    ],
)
def test_names_follow_cldr(by_key: dict[str, Motif], key: str, name: str, base: str, num_tones: int) -> None:
    motif = by_key[key]
    assert (motif.name, motif.base, len(motif.tones)) == (name, base, num_tones)


def test_names_and_slugs_are_distinct(by_key: dict[str, Motif]) -> None:
    assert len({motif.name for motif in by_key.values()}) == len(by_key)
    assert len({motif.slug for motif in by_key.values()}) == len(by_key)


def test_a_slug_spells_signs_out_and_drops_accents() -> None:
    assert slug("flag: São Tomé & Príncipe") == "flag-sao-tome-and-principe"
    assert slug("keycap: #") == "keycap-hash"

from __future__ import annotations

from pipelines.demo_web.names import ROUNDS, Motif, caption

FIREFIGHTER = Motif("", "woman firefighter: dark skin tone", "woman firefighter", ("dark skin tone",))


def test_every_wording_of_a_tone_variant_holds_the_words_of_base_and_tone() -> None:
    texts = [caption(template, FIREFIGHTER) for templates in ROUNDS for template in templates]
    assert len(set(texts)) == len(texts)
    assert all("woman firefighter" in text and "dark skin tone" in text for text in texts)


def test_wordings_read_as_english() -> None:
    assert (
        caption("cartoon of {a_phrase}{with_tone}", FIREFIGHTER) == "cartoon of a woman firefighter with dark skin tone"
    )
    assert caption("{a_tone_phrase}", FIREFIGHTER) == "a dark skin tone woman firefighter"
    assert caption("Drawing of {a_name}", Motif("", "alien", "alien")) == "Drawing of an alien"
    assert caption("Drawing of {a_name}", Motif("", "grapes", "grapes")) == "Drawing of grapes"
    assert caption("{a_phrase}", Motif("", "flag: France", "flag: France")) == "flag of France"

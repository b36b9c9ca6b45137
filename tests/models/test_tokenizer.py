"""The tokenizer against open_clip's SimpleTokenizer, a public copy of OpenAI's."""

from __future__ import annotations

import gzip
import html
import json
import pickle
import subprocess
import sys
import unicodedata
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.tokenizer import Tokenizer, clean, find_merges
from openwit.errors import InputError

CAPTIONS = Path(__file__).parents[3] / "shared" / "data" / "coco_captions_val2017.json.gz"

HOSTILE = [
    "",
    " \t\r\n\u3000",
    "A photo of a CAT.",
    "it's they're I'VE we'll I'd don't 'S 'ſ x'm",
    "caf\u00c3\u00a9 \u00e2\u20ac\u0153quoted\u00e2\u20ac\u009d na\u00efve cafe\u0301",
    "AT&amp;T &lt;b&gt; &amp;amp;lt; &#x41; &#0; &nbsp;&hellip; &notanentity; &amp",
    "😀 👩🏽‍🚒 🏳️‍🌈 ☕️ 1️⃣ 🇫🇷",
    "مرحبا بالعالم שלום עולם \u202eevil\u202c \u200f \u200b \ufeff",
    "bell\x07 esc\x1b[31mred\x1b[0m nul\x00 \x1c\x1d\x1e\x1f \x7f \x85 \xa0 tab\tend",
    "\u4f60\u597d\u4e16\u754c こんにちは 한국어 ไทย हिन्दी",
    "<|endoftext|>",
    "<|startoftext|> a dog <|endoftext|> a cat",
    "x²³ ½ Ⅻ ① 10,000.00 3.14e-10 ٣٤٥",
    "ﬁne ﬂow ＦＵＬＬ Ｗｉｄｔｈ İstanbul STRASSE ß ẞ ǅ x\u0345x",
    "!!!???...---___***",
    "</w> <w> a</w>b Ġ Ċ",
    "\ud83d\ude00 lone \ud800 surrogate",
    "word " * 200,
    "w" * 300,
    "!" * 5000,
]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer()


@pytest.fixture(scope="module")
def reference() -> Any:
    return pytest.importorskip("open_clip.tokenizer").SimpleTokenizer()


def assert_same_ids(tokenizer: Tokenizer, reference: Any, texts: list[str]) -> None:
    differing = (tokenizer.encode(texts) != reference(texts)).any(dim=1).nonzero().flatten().tolist()
    assert not differing, [(texts[i], tokenizer.encode([texts[i]]), reference([texts[i]])) for i in differing[:3]]


def test_hostile_texts_get_the_reference_ids(tokenizer: Tokenizer, reference: Any) -> None:
    assert_same_ids(tokenizer, reference, HOSTILE)


def test_real_captions_get_the_reference_ids(tokenizer: Tokenizer, reference: Any) -> None:
    if not CAPTIONS.is_file():
        pytest.skip(f"real captions are not beside this checkout ({CAPTIONS.name})")
    with gzip.open(CAPTIONS) as file:
        captions = [row["caption"] for row in json.load(file)["annotations"][:5000]]
    assert_same_ids(tokenizer, reference, captions)


def test_every_known_sign_in_word_number_and_quote_gets_the_reference_ids(tokenizer: Tokenizer, reference: Any) -> None:
    many_alike = ("CJK UNIFIED", "CJK COMPAT", "HANGUL SYLLABLE", "EGYPTIAN", "TANGUT", "CUNEIFORM", "YI ", "ANATOLIAN")
    signs = [chr(c) for c in range(0xE0000) if unicodedata.category(chr(c)) not in ("Cn", "Co", "Cs")]
    signs = [c for c in signs if not unicodedata.name(c, "").startswith(many_alike)]
    assert_same_ids(tokenizer, reference, [f"a{c}1{c}'{c} {c}" for c in signs])


@settings(max_examples=150, deadline=None)
@given(st.text(st.characters(exclude_categories=("Cs", "Cn", "Co")) | st.sampled_from("'&;#<> sſ"), max_size=40))
def test_any_text_gets_the_reference_ids(text: str) -> None:
    simple = pytest.importorskip("open_clip.tokenizer")
    assert_same_ids(_shared(), simple._tokenizer, [text])


def _shared(cache: list[Tokenizer] = []) -> Tokenizer:  # noqa: B006 (one build for all examples)
    if not cache:
        cache.append(Tokenizer())
    return cache[0]


def test_known_ids_stay_as_released(tokenizer: Tokenizer) -> None:
    assert tokenizer.encode(["a photo of a cat"])[0, :8].tolist() == [49406, 320, 1125, 539, 320, 2368, 49407, 0]
    assert (tokenizer.start_token, tokenizer.end_token, tokenizer.vocabulary_size) == (49406, 49407, 49408)


@pytest.mark.parametrize("literal", ["<|endoftext|>", "<|startoftext|>", "<end_of_text>", "<start_of_text>"])
def test_a_spelled_special_token_stays_plain_text(tokenizer: Tokenizer, literal: str) -> None:
    # open_clip turns its own spelling, <end_of_text>, into the end token, and OpenAI's code did so with
    # <|endoftext|>; a text from the web could then end itself, so here neither is special.
    ids = tokenizer.encode([f"a {literal} dog"])[0].tolist()
    assert ids.count(tokenizer.end_token) == ids.count(tokenizer.start_token) == 1
    assert tokenizer.decode(ids).replace(" ", "") == f"a{literal}dog"


def test_a_long_text_is_cut_and_still_ends_in_the_end_token() -> None:
    short = Tokenizer(context_length=6)
    ids = short.encode(["one two three four five six seven", "one"])
    assert ids.shape == (2, 6)
    assert ids.dtype == torch.int64
    assert ids[0, 0] == short.start_token
    assert ids[0, -1] == short.end_token
    assert ids[1].tolist()[2:] == [short.end_token, 0, 0, 0]
    assert torch.equal(ids[0, :5], Tokenizer().encode(["one two three four five six seven"])[0, :5])


def test_decoding_gives_the_cleaned_words_back(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode(["A  Café &amp; 2 dogs, naïve 😀"])[0]
    assert tokenizer.decode(ids) == "a café & 2 dogs , naïve 😀"
    assert tokenizer.decode(tokenizer.encode([""])[0]) == ""


@given(st.text(st.characters(max_codepoint=0x7F), max_size=60))
def test_the_shortcut_for_plain_ascii_cleans_like_the_long_way(text: str) -> None:
    import ftfy

    assert clean(text) == " ".join(html.unescape(html.unescape(ftfy.fix_text(text))).split()).lower()


def test_no_texts_give_no_rows_and_one_bare_string_is_refused(tokenizer: Tokenizer) -> None:
    assert tokenizer.encode([]).shape == (0, 77)
    with pytest.raises(TypeError, match=r"write \[text\]"):
        tokenizer.encode("a cat")


def test_a_pickled_copy_gives_the_same_ids(tokenizer: Tokenizer) -> None:
    assert torch.equal(pickle.loads(pickle.dumps(tokenizer)).encode(HOSTILE), tokenizer.encode(HOSTILE))


@pytest.mark.parametrize("content", [b"not gzip", gzip.compress(b"#version\na b\n"), gzip.compress(b"x" * 99)[:-9]])
def test_a_wrong_merges_file_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "merges.txt.gz"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"merges\.txt\.gz"):
        Tokenizer(merges_path=path)


def test_missing_merges_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.setattr(sys, "path_importer_cache", {})
    for name in [n for n in sys.modules if n.split(".")[0] == "open_clip"]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(InputError, match="pip install open_clip_torch"):
        find_merges()


def test_the_tokenizer_does_not_import_open_clip() -> None:
    code = "import sys; from models.tokenizer import Tokenizer; Tokenizer(); print('open_clip' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.stdout.strip() == "False", done.stderr

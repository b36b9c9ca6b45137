# mypy: disable-error-code="arg-type, var-annotated"
"""The tokenizer against open_clip's SimpleTokenizer, a public copy of OpenAI's."""

from __future__ import annotations

import functools
import gzip
import json
import pickle
import random
import subprocess
import sys
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.places import ROOT, SHARED
from models.tokenizer.exact import ExactEncoder, clean
from models.tokenizer.tokenizer import Tokenizer
from models.tokenizer.vocabulary import find_merges, read_vocabulary
from openwit.errors import InputError

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
    "x" * 3000,
    " ".join(f"word{n}" for n in range(12_000)),  # 100 KB
    "a\x00b \x00",
    "\udc00\ud83d&\ud83d\ude00",
    "Château d’Eu",
    "A&B A & B &c. R&#38;D &&amp;",
    "it’s ‘s ’S ''s !'s '' 's'",
    "é’s –’ll 1’d",
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


@pytest.mark.slow
def test_hostile_texts_get_the_reference_ids(tokenizer: Tokenizer, reference: Any) -> None:
    assert_same_ids(tokenizer, reference, HOSTILE)


def real_captions() -> list[str]:
    """Captions, titles and alt texts of real data sets, whole, each once."""
    if not SHARED.is_dir():
        pytest.skip("real captions are not beside this checkout (shared/data)")
    texts = [line.split("\t")[0] for line in _lines("cc3m_validation.tsv.gz")]
    texts += [row["caption"] for row in json.loads("".join(_lines("coco_captions_val2017.json.gz")))["annotations"]]
    for name in ("tate_artworks.jsonl.gz", "openstax_alt_caption_all.jsonl.gz"):
        for line in _lines(name):
            texts += [value for key, value in json.loads(line).items() if key in ("title", "alt", "caption") and value]
    texts += (SHARED / "openai_clip_prompts.md").read_text().splitlines()
    return list(dict.fromkeys(texts))


def _lines(name: str) -> list[str]:
    return gzip.decompress((SHARED / name).read_bytes()).decode().splitlines()


def made_captions(number: int) -> list[str]:
    """What real ones are made of: words, names, typographic characters, and what goes wrong on the way to a page."""
    draw = random.Random(0)
    words = "A the CAT Dog’s photograph of mississippi naïve café Zürich 1920s don’t I’VE o'clock x".split()
    chars = "– — … “quoted” ‘so’ (left) 3.5 10,000 50% €20 ½ 20°C & &amp; &quot; é â€™ Château ♥ 😀 你好 !? ''".split()
    spaces = [" "] * 20 + ["  ", "\n", "\t", "\xa0", "", " , "]
    return ["".join(
        draw.choice(words if draw.random() < 0.8 else chars) + draw.choice(spaces) for _ in range(draw.randint(1, 30))
    ) for _ in range(number)]  # fmt: skip


def test_made_captions_get_the_reference_ids(tokenizer: Tokenizer, reference: Any) -> None:
    assert_same_ids(tokenizer, reference, made_captions(4000))


def test_real_captions_get_the_reference_ids(tokenizer: Tokenizer, reference: Any) -> None:
    captions = real_captions()[::8]
    assert len(captions) > 10_000
    assert_same_ids(tokenizer, reference, captions)


@pytest.mark.slow
def test_all_real_captions_get_the_reference_ids(tokenizer: Tokenizer, reference: Any) -> None:
    assert_same_ids(tokenizer, reference, real_captions())


LIKELY = st.sampled_from(
    [*"aAeEsStTlLzZ 019'’“”–…é&;<!.-½™\xa0ÂâœİŐ\n", "'s", "’LL", "&amp;", "\u0301", "中", "😀", "\x07"]
)


@given(st.lists(st.one_of(LIKELY, st.characters()), max_size=60).map("".join), st.sampled_from([3, 9, 77]))
def test_the_compiled_loop_gives_the_ids_of_its_plain_twin(text: str, context_length: int) -> None:
    tokenizer = _shared(context_length)
    (ids,) = _twin().ids([clean(text)])
    fitting = ids[: context_length - 2]
    encoded = tokenizer.encode_batch(["a dog", text])
    row = [tokenizer.start_token, *fitting, tokenizer.end_token]
    assert encoded.ids[1].tolist() == row + [0] * (context_length - len(row))
    assert encoded.lengths[1] == len(row)
    assert encoded.cut[1] == (len(ids) > len(fitting))


@functools.cache
def _twin() -> ExactEncoder:
    return ExactEncoder(read_vocabulary(find_merges()))


@pytest.mark.slow
def test_every_known_character_in_word_number_and_quote_gets_the_reference_ids(
    tokenizer: Tokenizer, reference: Any
) -> None:
    many_alike = ("CJK UNIFIED", "CJK COMPAT", "HANGUL SYLLABLE", "EGYPTIAN", "TANGUT", "CUNEIFORM", "YI ", "ANATOLIAN")
    chars = [chr(c) for c in range(0xE0000) if unicodedata.category(chr(c)) not in ("Cn", "Co", "Cs")]
    chars = [c for c in chars if not unicodedata.name(c, "").startswith(many_alike)]
    assert_same_ids(tokenizer, reference, [f"a{c}1{c}'{c} {c}" for c in chars])


@settings(max_examples=150, deadline=None)
@given(st.text(st.characters(exclude_categories=("Cs", "Cn", "Co")) | st.sampled_from("'&;#<> sſ"), max_size=40))
def test_any_text_gets_the_reference_ids(text: str) -> None:
    simple = pytest.importorskip("open_clip.tokenizer")
    assert_same_ids(_shared(), simple._tokenizer, [text])


@functools.cache
def _shared(context_length: int = 77) -> Tokenizer:
    return Tokenizer(context_length)


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


def test_the_report_says_which_texts_were_cut_and_how_long_the_rows_are() -> None:
    short = Tokenizer(context_length=6)
    texts = ["one two three four", "one two three four five", "", "w" * 100_000, "é—" * 50, "😀 " * 50]
    encoded = short.encode_batch(texts)
    assert encoded.cut.tolist() == [False, True, False, True, True, True]
    assert encoded.num_cut == 4
    assert encoded.lengths.tolist() == [6, 6, 2, 6, 6, 6]
    for row, length in zip(encoded.ids, encoded.lengths, strict=True):
        assert row[length - 1] == short.end_token
        assert not row[length:].any()


def test_a_batch_gives_what_its_texts_give_alone_in_any_order(tokenizer: Tokenizer) -> None:
    texts = made_captions(200) + HOSTILE
    alone = torch.cat([tokenizer.encode([text]) for text in texts])
    assert torch.equal(tokenizer.encode(texts), alone)
    assert torch.equal(tokenizer.encode(texts[::-1]), alone.flip(0))


def test_threads_and_forked_processes_share_a_tokenizer(tokenizer: Tokenizer) -> None:
    texts = made_captions(500)
    expected = tokenizer.encode(texts)
    with ThreadPoolExecutor(4) as pool:
        assert all(torch.equal(ids, expected) for ids in pool.map(lambda _: tokenizer.encode(texts), range(8)))
    loader = torch.utils.data.DataLoader(
        texts, batch_size=100, num_workers=2, collate_fn=tokenizer.encode, multiprocessing_context="fork"
    )
    assert torch.equal(torch.cat(list(loader)), expected)


def test_decoding_gives_the_cleaned_words_back(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode(["A  Café &amp; 2 dogs, naïve 😀"])[0]
    assert tokenizer.decode(ids) == "a café & 2 dogs , naïve 😀"
    assert tokenizer.decode(tokenizer.encode([""])[0]) == ""


def test_no_texts_give_no_rows_and_one_bare_string_is_refused(tokenizer: Tokenizer) -> None:
    assert tokenizer.encode([]).shape == (0, 77)
    with pytest.raises(TypeError, match=r"write \[text\]"):
        tokenizer.encode("a cat")
    with pytest.raises(TypeError, match=r"texts\[1\] is NoneType, expected str"):
        tokenizer.encode(["a cat", None])  # type: ignore[list-item]


def test_a_pickled_copy_gives_the_same_ids(tokenizer: Tokenizer) -> None:
    assert torch.equal(pickle.loads(pickle.dumps(tokenizer)).encode(HOSTILE), tokenizer.encode(HOSTILE))


def test_a_wrong_merges_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "merges.txt.gz"
    path.write_bytes(b"not gzip")
    with pytest.raises(InputError, match=r"merges\.txt\.gz"):
        Tokenizer(merges_path=path)


@pytest.mark.slow
def test_the_tokenizer_does_not_import_open_clip() -> None:
    code = (
        "import sys; from models.tokenizer.tokenizer import Tokenizer; Tokenizer(); print('open_clip' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == "False", done.stderr

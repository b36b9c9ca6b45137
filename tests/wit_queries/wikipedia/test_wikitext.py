from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wit_queries.text.normalize import normalize
from wit_queries.wikipedia.wikitext import plain_text


@pytest.mark.parametrize(
    ("wikitext", "expected"),
    [
        ("'''Anarchism''' is a ''[[political philosophy]]''", "anarchism is a political philosophy"),
        ("[[stateless society|stateless societies]] and [[state]]s", "stateless societies and states"),
        ("a {{cite|x={{nested|{{deep}}}}|y}} b", "a b"),
        ("a {{empty|}} b {{{parameter|}}} c", "a b c"),
        ("a\n{| class=x\n|-\n| cell {{t|\n}}\n{| inner\n|}\n|}\nb", "a b"),
        ("{{infobox| x =\n{| table\n|}\n| y}} text", "text"),
        ("a<ref name=x>note [[link]]</ref> b<ref name=x/> c", "a b c"),
        ("a <!-- hidden {{ --> b", "a b"),
        ("a <!-- never closed", "a"),
        ("<math>x^2 {{</math>area <gallery>\nFile:a.jpg|b\n</gallery>", "area"),
        ("[[File:x.jpg|thumb|a [[nested]] caption [http://a.b c]]] text", "text"),
        ("[[Image:x.jpg]] [[category:Y|sort]] [[:Category:Shown]] [[fr:Titre]] seen", "category shown seen"),
        ("[http://example.org label text] [//example.org] http://bare.example/x?y=z.", "label text"),
        ("H<sub>2</sub>O<br/>next<div class=a>block</div>", "h2o next block"),
        ("AT&amp;T&nbsp;is &eacute;lan&ndash;vital", "at t is élan vital"),
        ("== Head ==\n* item\n# number\n__NOTOC__", "head item number"),
        ("<nowiki>[[not a link|really]] {{x}}</nowiki>", "not a link really x"),
        ("{{never closed and [[open link", "never closed and open link"),
        ("closed}}never]]opened |}", "closed never opened"),
        ("left{{open[[for{{x}}ever", "left open for ever"),
        ("[[a [sic] b]] '''''both'''''", "a sic b both"),
        ("Bob''''s", "bob"),
        ("''Iliad'''s hero", "iliad hero"),
        ("'''dog'''s and ''cats''", "dogs and cats"),
        ("l'''a''b", "l'ab"),
        ("l'''a''' b", "la b"),
        ("<REF>x</REF >after", "after"),
        ("a<ref>b <b>c</b></ref><ref group=n />d<ref name=x>e</ref> f", "a d f"),
        ("a <ref>not closed <ref>closed</ref> b", "a not closed b"),
        ("a <!-- b <!-- c --> d --> e", "a d e"),
        (
            "<pre>x = {{1}}</pre>seen <source lang=c>int</source><timeline>y</timeline>in <code>place</code>",
            "seen in place",
        ),
        ("a<table border=1><tr><td><table><td>x</table>y</table> b", "a b"),
        (":{| class=x\n|a\n *{|\n|b\n|}\n|}\nb", "b"),
        ("{{x|\n{|\n|a={{y|}}\n|}\n|}} b {|c|}", "b c"),
        ("{{x\n|a=1\n|}} b", "b"),
        ("{|\n| never closed", "never closed"),
        ("[[File:x.jpg|a {{t}} [[b|c [[d]]]] [//e f]]]g", "g"),
        ("[[File:x.jpg|a\n\nb]] [[a|b|c]] [[A:B]] [[w:A|B]] [[#part]]", "b c a b b part"),
        ("[[a\nlong | text]] [[zh-min-nan:X]] [[:fr:Y]]", "a long text fr y"),
        ("[mailto:a@b.c write] [http://x.org] [not a link] ftp://y.z/w", "write not a link"),
        ("__БЕЗСЪДЪРЖАНИЕ__ __init__ a", "init a"),
        ("''a''<sub>''n''</sub> ''b''<SUP>'''m'''</SUP>''c''", "an bmc"),
        ("[[Cat]]<nowiki/>s [[Dog]]<nowiki />s [[Cow]]<nowiki></nowiki>s <NOWIKI/>x", "cats dogs cows x"),
        ("l'<nowiki/>''amour'' a<nowiki>b</nowiki>c", "l'amour abc"),
        ("<TABLE><TR><TD>cell</TD></TR></TABLE> text <Table border=1>x</tABLE>", "text"),
        ("rock&roll tea&notebook &copy2 &copy; &#233;&#xE9; &eacute", "rock roll tea notebook copy2 éé eacute"),
        ("", ""),
    ],
)
def test_the_text_that_a_reader_sees_is_kept(wikitext: str, expected: str) -> None:
    assert normalize(plain_text(wikitext)) == expected


def test_names_of_hidden_namespaces_come_from_the_wiki() -> None:
    text = "[[Datei:x.jpg|mini]] [[Kategorie:Y]] Wort"
    assert normalize(plain_text(text, frozenset({"datei", "kategorie"}))) == "wort"


def test_words_around_a_template_are_no_neighbours() -> None:
    assert "\n" in plain_text("five {{convert|5|km}} later")


@settings(deadline=None)
@given(st.text(alphabet="[]{}|'<>/!-=ref:\n a*&;"))
def test_any_markup_gives_text(wikitext: str) -> None:
    text = plain_text(wikitext)
    assert set(text) <= set(wikitext) | {" ", "\n"}


MARKS = "[[ ]] [[a| [[a|b]] [x] {{ }} {{a| {{a}} {|\n |}\n <table> <ref> <ref <ref>a </ref> <math> <nowiki> <!-- --> <"
MORE_MARKS = "[http://a\t http:// ' '' a'''b __ __A \n: & &amp"


@pytest.mark.parametrize("piece", f"{MARKS} {MORE_MARKS}".split(" "))
def test_a_megabyte_of_one_mark_is_cleaned(piece: str) -> None:
    assert len(plain_text(piece * (1_000_000 // len(piece)))) <= 1_000_000
    assert plain_text("before " + ("\n" + piece) * 100_000).lstrip().startswith("before")


@pytest.mark.parametrize(("opening", "closing"), [("[[a|", "]]"), ("{{a", "}}"), ("\n{|", "\n|}"), ("<ref>", "</ref>")])
def test_a_megabyte_of_pairs_within_pairs_is_cleaned(opening: str, closing: str) -> None:
    deep = 1_000_000 // len(opening + closing)
    assert plain_text("before " + opening * deep + "core" + closing * deep + " after").split()[0] == "before"


def test_templates_go_however_deep_they_are_nested() -> None:
    assert plain_text("a" + "{{b|" * 1000 + "c" + "}}" * 1000 + "d") == "a\nd"

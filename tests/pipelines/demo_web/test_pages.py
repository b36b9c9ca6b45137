from __future__ import annotations

from urllib.parse import urljoin

from hypothesis import given
from hypothesis import strategies as st

from pipelines.demo_web.layout import Figure, Style, WebPage
from pipelines.demo_web.pages import refer, write_page
from pipelines.demo_web.wat import html_metadata

HOSTS = st.sampled_from(["a.test", "b.test"])
PATHS = st.lists(st.sampled_from(["x", "y", "z-1"]), max_size=3).map(lambda parts: "".join(f"/{p}" for p in parts))
FILES = st.builds("{}/{}{}".format, PATHS, st.sampled_from(["p.png", "q.html", ""]), st.sampled_from(["", "?w=1&v=2"]))
URLS = st.builds("http://{}{}".format, HOSTS, FILES)
STYLES: st.SearchStrategy[Style] = st.sampled_from(["relative", "root", "protocol", "absolute"])


@given(URLS, URLS, STYLES)
def test_a_reference_resolves_to_the_address_it_was_made_of(url: str, page: str, style: Style) -> None:
    assert urljoin(page, refer(url, page, style)) == url


def test_an_extractor_reads_back_what_was_written_in_document_order() -> None:
    texts = ['"quotes" & <brackets>', "woman’s hat – small", "piñata: é"]
    figures = [Figure(f"http://a.test/i/{n}.png?w=1&v=2", text) for n, text in enumerate(texts)]
    figures.append(Figure("http://a.test/i/9.png", None, "only a title"))
    for charset in ("utf-8", "iso-8859-1"):
        for named in (False, True):
            page = WebPage("http://a.test/p/1.html", "Ä page", figures, charset=charset, named_entities=named)
            found = html_metadata(write_page(page, 0).decode(charset))
            links = found["Links"]
            assert isinstance(links, list)
            shown = [link for link in links if link["path"] == "IMG@/src" and "/i/" in link["url"]]
            assert [link.get("alt") for link in shown] == [*texts, None]
            assert shown[-1]["title"] == "only a title"
            assert urljoin(page.url, shown[0]["url"]) == figures[0].url
            assert found["Head"]["Title"] == "Ä page"  # type: ignore[index]


def test_a_page_with_a_base_element_counts_its_references_from_there() -> None:
    page = WebPage(
        "http://a.test/p/1.html",
        "t",
        [Figure("http://b.test/i/x.png", "x")],
        style="relative",
        based_on="http://b.test/i/",
    )
    found = html_metadata(write_page(page, 0).decode())
    assert found["Head"]["Base"] == "http://b.test/i/"  # type: ignore[index]
    links = found["Links"]
    assert isinstance(links, list)
    assert {"path": "IMG@/src", "url": "x.png", "alt": "x"} in links


def test_every_page_shows_the_attribution_and_a_bare_one_no_image() -> None:
    document = write_page(WebPage("http://a.test/", "t", bare=True), 0).decode()
    assert "OpenMoji" in document
    assert "CC BY-SA 4.0" in document
    assert "<img" not in document

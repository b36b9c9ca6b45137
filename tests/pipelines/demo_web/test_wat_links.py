from __future__ import annotations

from pipelines.demo_web.wat import html_metadata


def test_images_are_recorded_where_they_open_and_anchors_where_they_close() -> None:
    found = html_metadata('<a href="/x" rel="up"><img src="y.png" alt="Y">see &amp; go</a><img alt="no address">')
    assert found == {
        "Links": [
            {"path": "IMG@/src", "url": "y.png", "alt": "Y"},
            {"path": "A@/href", "url": "/x", "rel": "up", "text": "see & go"},
        ]
    }


def test_the_head_holds_base_title_links_and_metas() -> None:
    found = html_metadata(
        '<html lang="en"><head><base href="http://b.test/"><title> T &lt; U </title>'
        '<meta name="description" content="d"><link rel="icon" href="/i.ico"></head></html>'
    )
    assert found == {
        "Head": {
            "Base": "http://b.test/",
            "Title": "T < U",
            "Link": [{"path": "LINK@/href", "url": "/i.ico", "rel": "icon"}],
            "Metas": [{"name": "HTML@/lang", "content": "en"}, {"name": "description", "content": "d"}],
        }
    }


def test_an_anchors_text_is_cut_at_128_characters_and_anchors_without_address_are_left_out() -> None:
    found = html_metadata(f'<a name="n">x</a><a href="/y">{"word " * 60}</a>')
    links = found["Links"]
    assert isinstance(links, list)
    assert len(links) == 1
    assert len(links[0]["text"]) == 128

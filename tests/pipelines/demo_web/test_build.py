from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
from collections import defaultdict
from dataclasses import replace
from html import unescape
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import pyarrow.parquet as pq
import pytest
from fastwarc.warc import ArchiveIterator
from PIL import Image

from helpers.places import ROOT
from helpers.processes import descendants, gone, kill, wait_until
from openwit.config import to_json
from openwit.errors import InputError
from pipelines.demo_web.build import MARKER, build_web, site_file
from pipelines.demo_web.config import DemoWebConfig
from pipelines.demo_web.names import slug

Links = list[tuple[str, dict[str, str]]]


def tree(folder: Path) -> dict[str, str]:
    """sha256 by relative path."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def image_links(web: Path) -> Links:
    """(resolved address, link) of every image that the WAT files know."""
    found = []
    for path in gzip.decompress((web / "crawl-data/OPENWIT-DEMO/wat.paths.gz").read_bytes()).decode().split():
        for record in ArchiveIterator(io.BytesIO((web / path).read_bytes()), parse_http=False):
            if record.headers["WARC-Type"] != "metadata":
                continue
            envelope = json.loads(record.reader.read())["Envelope"]
            html = envelope["Payload-Metadata"].get("HTTP-Response-Metadata", {}).get("HTML-Metadata", {})
            base = html.get("Head", {}).get("Base") or envelope["WARC-Header-Metadata"]["WARC-Target-URI"]
            for link in html.get("Links", []):
                if link["path"] == "IMG@/src":
                    found.append((urljoin(base, link["url"]), link))
    return found


def test_two_builds_are_equal_byte_for_byte_at_any_number_of_workers(
    config: DemoWebConfig, web: Path, tmp_path: Path
) -> None:
    build_web(config, str(tmp_path / "again"), workers=1)
    assert tree(tmp_path / "again") == tree(web)


def test_a_web_that_is_there_is_left_alone_and_the_port_does_not_matter(config: DemoWebConfig, web: Path) -> None:
    before = (web / MARKER).stat().st_mtime_ns
    counts = build_web(replace(config, port=1234), str(web))
    assert counts == json.loads((web / MARKER).read_bytes())["counts"]
    assert (web / MARKER).stat().st_mtime_ns == before


def test_another_config_replaces_the_web_and_leaves_nothing_beside_it(config: DemoWebConfig, tmp_path: Path) -> None:
    tiny = replace(config, max_images=60, num_heldout=4)
    build_web(tiny, str(tmp_path / "web"))
    build_web(replace(tiny, seed=1), str(tmp_path / "web"))
    assert json.loads((tmp_path / "web" / MARKER).read_bytes())["made_of"]["config"]["seed"] == 1
    assert os.listdir(tmp_path) == ["web"]


def test_a_folder_with_other_things_in_it_is_refused(config: DemoWebConfig, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="holds no demo web"):
        build_web(config, str(tmp_path))
    assert os.listdir(tmp_path) == ["thesis.txt"]


def test_no_heldout_name_occurs_in_any_page_text_or_address(web: Path, image_links: Links) -> None:
    labels = pq.read_table(web / "eval/skin_tones.parquet").column("label").to_pylist()
    assert len(labels) == 16
    pages = [unescape(path.read_text("latin-1")).casefold() for path in (web / "site").rglob("*.html")]
    texts = [f"{link.get('alt', '')}\n{link.get('title', '')}\n{url}".casefold() for url, link in image_links]
    for label in labels:
        assert not any(label.casefold() in text or f"/{slug(label)}." in text for text in [*pages, *texts])
    names = [path.stem for path in (web / "site").rglob("*")]
    assert not {slug(label) for label in labels} & set(names)


def test_the_planted_images_are_the_only_copies_of_things_and_their_addresses_are_known(
    web: Path, image_links: Links
) -> None:
    answer = json.loads((web / "eval/planted.json").read_bytes())
    things = {row["key"]: row for row in pq.read_table(web / "eval/things.parquet").to_pylist()}
    urls = {url for url, _ in image_links}
    assert set(answer["planted"]) | set(answer["not_planted"]) == set(things)
    assert (len(answer["planted"]), len(answer["not_planted"])) == (6, 6)
    for key, url in answer["planted"].items():
        copy = Image.open(web / "site" / site_file(url))
        assert url in urls
        assert copy.format == "JPEG"
        assert copy.size != Image.open(io.BytesIO(things[key]["image"])).size
    for key in answer["not_planted"]:
        assert not any(f"/{slug(things[key]['label'])}." in url for url in urls)


def test_every_address_stands_on_a_file_but_those_that_are_meant_to_be_missing(web: Path, image_links: Links) -> None:
    routes = json.loads((web / "routes.json").read_bytes())["faults"]
    urls = {url for url, _ in image_links if url.startswith("http")}
    missing = [url for url in urls if not (web / "site" / site_file(url)).is_file()]
    counts = json.loads((web / MARKER).read_bytes())["counts"]
    assert len([url for url in missing if routes.get(site_file(url)) == "error"]) == counts["faults.error"]
    assert len([url for url in missing if site_file(url) not in routes]) == counts["faults.missing"]


def test_images_come_with_several_texts_under_all_kinds_of_addresses_on_all_hosts(image_links: Links) -> None:
    texts: dict[str, set[str]] = defaultdict(set)
    for url, link in image_links:
        texts[url].add(link.get("alt", ""))
    named = [found for url, found in texts.items() if urlsplit(url).path.count("-") >= 2 and "/large/" not in url]
    assert sum(len(found) >= 2 for found in named) > 0.9 * len(named)
    kinds = {"http:" if link["url"].startswith("http:") else link["url"][:2].rstrip("abcdefghijklmnopqrstuvwxyz")
             for _, link in image_links}  # fmt: skip
    assert {"http:", "//", "/", "..", ""} <= kinds
    hosts = {urlsplit(url).netloc for url, _ in image_links}
    assert hosts >= {"pictures.openmoji.test", "cdn.openmoji.test", "blog.example.test", "museum.example.test"}
    assert {"logo", "icon", ""} <= {link.get("alt", "") for _, link in image_links}
    assert any(url.startswith("data:") for url, _ in image_links)


def test_every_page_and_the_folder_name_the_source_and_the_license(web: Path) -> None:
    pages = list((web / "site").rglob("*.html"))
    assert pages
    for text in [path.read_text("latin-1") for path in pages] + [(web / "ATTRIBUTION.md").read_text()]:
        assert "OpenMoji" in text
        assert "CC BY-SA 4.0" in text


def test_pages_outside_utf8_say_so_and_are_read_right(web: Path, tmp_path: Path) -> None:
    types = json.loads((web / "routes.json").read_bytes())["content_types"]
    for name, kind in types.items():
        charset = kind.partition("charset=")[2]
        assert f'<meta charset="{charset}">'.encode() in (web / "site" / name).read_bytes()
        with pytest.raises(UnicodeDecodeError):
            (web / "site" / name).read_bytes().decode("utf-8")


def test_a_build_killed_in_the_middle_leaves_nothing_that_is_taken_for_done(
    config: DemoWebConfig, web: Path, tmp_path: Path
) -> None:
    target = tmp_path / "web"
    script = tmp_path / "build_it.py"
    script.write_text(
        "from pathlib import Path\n"
        "from pipelines.demo_web import build\n"
        "from openwit.config import from_json\n"
        "from pipelines.demo_web.config import DemoWebConfig\n"
        "if __name__ == '__main__':\n"
        f"    build.build_web(from_json(DemoWebConfig, Path({str(tmp_path / 'config.json')!r}).read_bytes()),"
        f" {str(target)!r})\n"
    )
    (tmp_path / "config.json").write_bytes(to_json(config))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, str(script)], env=environment, start_new_session=True)
    scratch = tmp_path / f".web.part-{process.pid}"
    wait_until(lambda: (scratch / "site").exists() or process.poll() is not None)
    children = descendants(process.pid)
    kill(process.pid)
    assert process.wait() == -signal.SIGKILL
    wait_until(lambda: gone(children), 20)
    assert scratch.exists()
    assert not target.exists()
    build_web(config, str(target))
    assert tree(target) == tree(web)
    assert not list(tmp_path.glob(".web.part-*"))

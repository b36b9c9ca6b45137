"""Where everything stands: the addresses of the images, and which pages show them under which text."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, replace
from random import Random
from typing import Literal

from pipelines.demo_web.config import DemoWebConfig
from pipelines.demo_web.faults import Fault
from pipelines.demo_web.names import ROUNDS, Motif, caption
from pipelines.demo_web.render import Format, format_of

PICTURES, CDN, BLOG, MUSEUM = "pictures.openmoji.test", "cdn.openmoji.test", "blog.example.test", "museum.example.test"
HOSTS = (PICTURES, CDN, BLOG, MUSEUM)
TRACKER = "http://stats.example.test/pixel.gif"
Style = Literal["relative", "root", "protocol", "absolute"]


@dataclass(frozen=True)
class PlacedImage:
    """An image at its address."""

    motif: Motif
    host: str
    path: str
    query: str
    format: Format
    altered: bool = False

    @property
    def url(self) -> str:
        """The whole address, without a port: as a crawl would have seen it."""
        return f"http://{self.host}{self.path}{self.query}"


@dataclass(frozen=True)
class Figure:
    """An image on a page: its address with the texts that stand beside it there."""

    url: str
    alt: str | None
    title: str | None = None


@dataclass(frozen=True)
class WebPage:
    """A page before it is written as HTML."""

    url: str
    title: str
    figures: list[Figure] = field(default_factory=list)
    links: list[tuple[str, str]] = field(default_factory=list)
    style: Style = "root"
    based_on: str = ""  # the address in its <base> element, if it has one
    charset: str = "utf-8"
    named_entities: bool = False
    bare: bool = False  # without any image, boilerplate included


def place(config: DemoWebConfig, shown: list[Motif], planted: list[Motif]) -> list[PlacedImage]:
    """One address for every image of the pages; the planted things stand among the others and look alike."""
    images = []
    altered = {motif.key for motif in planted}
    for motif in sorted([*shown, *planted], key=lambda motif: motif.key):
        random = Random(f"{config.seed}/address/{motif.key}")
        host = random.choices(HOSTS, (5, 3, 1, 1))[0]
        kind: Format = "jpg" if motif.key in altered else format_of(motif.key, config.seed)
        folder, query = {
            PICTURES: (f"/color/{motif.slug[:1]}", ""),
            CDN: (f"/i/{random.randrange(256):02x}", "?w=144&v=2"),
            BLOG: ("/wp-content/uploads/2024/05", ""),
            MUSEUM: ("/media", ""),
        }[host]
        path = f"{folder}/{motif.slug}.{kind}"
        images.append(PlacedImage(motif, host, path, query, kind, motif.key in altered))
    return images


def lay_out(config: DemoWebConfig, images: list[PlacedImage], faults: list[Fault]) -> list[WebPage]:
    """All gallery pages: every image on two or three of them under differing texts, faults strewn in."""
    pages: list[WebPage] = []
    for number, templates in enumerate(ROUNDS):
        random = Random(f"{config.seed}/round/{number}")
        chosen = random.sample(images, len(images) if number < 2 else len(images) // 2)
        if number < 2:  # pages that keep to one host's images can point to them by relative addresses
            chosen.sort(key=lambda image: image.host)
        for _, group in itertools.groupby(chosen, key=lambda image: image.host if number < 2 else ""):
            members = list(group)
            for start in range(0, len(members), config.images_per_page):
                batch = members[start : start + config.images_per_page]
                pages.append(_gallery(number, len(pages), batch, random.choice(templates), random))
    pages.extend(_latin1_page(images))
    return _strew(config, pages, faults)


def _gallery(round_: int, number: int, images: list[PlacedImage], template: str, random: Random) -> WebPage:
    host = images[0].host if round_ == 0 else random.choice(HOSTS if round_ == 1 else (BLOG, MUSEUM))
    url = {
        PICTURES: f"http://{PICTURES}/library/page-{number:03d}.html",
        CDN: f"http://{CDN}/index/{number}.html",
        BLOG: f"http://{BLOG}/2024/05/drawings-{number}/",
        MUSEUM: f"http://{MUSEUM}/rooms/{number}.html",
    }[host]
    own = host == images[0].host
    styles: tuple[Style, ...] = ("relative", "root", "absolute") if own else ("absolute", "protocol")
    page = WebPage(
        url,
        f"Drawings, page {number}",
        [_figure(image, template, by_title=index % 7 == 6 and round_ == 2) for index, image in enumerate(images)],
        style=styles[number % len(styles)],
        named_entities=number % 4 == 1,
    )
    if round_ == 1 and not own and number % 3 == 0:
        folder = images[0].path.rsplit("/", 2)[0]
        page = replace(page, style="relative", based_on=f"http://{images[0].host}{folder}/")
    return page


def _figure(image: PlacedImage, template: str, by_title: bool) -> Figure:
    text = caption(template, image.motif)
    return Figure(image.url, None, text) if by_title else Figure(image.url, text)


def _latin1_page(images: list[PlacedImage]) -> list[WebPage]:
    accented = [i for i in images if not i.motif.name.isascii() and ord(max(i.motif.name)) < 256]
    figures = [Figure(i.url, caption("Drawing of {a_name}", i.motif)) for i in accented]
    url = f"http://{MUSEUM}/rooms/accents.html"
    return [WebPage(url, "Café des dessins", figures, style="absolute", charset="iso-8859-1")] if figures else []


def _strew(config: DemoWebConfig, pages: list[WebPage], faults: list[Fault]) -> list[WebPage]:
    """The pages with each faulty address put among the figures of one of them, worded as that page words."""
    random = Random(f"{config.seed}/strew")
    added: dict[int, list[Figure]] = {}
    for fault in faults:
        template = random.choice(ROUNDS[random.randrange(len(ROUNDS))])
        text = caption(template, fault.motif)
        added.setdefault(random.randrange(len(pages)), []).append(Figure(fault.url, text))
    return [replace(page, figures=[*page.figures, *added.get(n, [])]) for n, page in enumerate(pages)]

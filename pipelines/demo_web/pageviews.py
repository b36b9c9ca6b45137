"""Page view files of an invented day in Wikimedia's hourly format, as an excerpt of Wikipedia has no public ones.

The format: https://dumps.wikimedia.org/other/pageviews/readme.html (`project title views bytes`, sorted).
"""

from __future__ import annotations

import datetime
import gzip
import io
import random
from collections.abc import Sequence

from openwit import storage
from openwit.errors import ConfigError

FIRST_HOUR = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
TOP_VIEWS_PER_HOUR = 4000  # of the most viewed title
ZIPF_EXPONENT = 0.9
MOBILE_SHARE = 0.6
HOT_VIEWS = 20_000  # of a title in the news, for one hour
OTHER_PROJECTS = ("de", "de.m", "fr", "ja.m", "commons.m", "en.b", "en.d")
NAMESPACE_PAGES = ("Special:Search", "Talk:Main_Page", "User:Example", "File:Example.jpg", "Category:Living_people")
NOT_IN_DUMP = ("Main_Page", "Deaths_in_2026", "No_such_article")


def write_pageviews(titles: Sequence[str], folder: str, seed: int, num_hours: int) -> list[str]:
    """Writes `pageviews-YYYYMMDD-HH0000.gz` for each of `num_hours` hours into `folder` and returns their URLs.

    Views a title fall by Zipf's law in an order drawn by `seed`; each hour has one title in the news. There are
    lines of other projects, of namespaces, and of pages that no dump has. Equal arguments give equal bytes.
    """
    if num_hours < 1 or not titles:
        raise ConfigError(f"num_hours={num_hours}, {len(titles)} titles: at least one of each is needed")
    names = sorted({title.replace(" ", "_") for title in titles})
    random.Random(seed).shuffle(names)
    urls = []
    for hour in range(num_hours):
        time = FIRST_HOUR + datetime.timedelta(hours=hour)
        url = storage.join(folder, f"pageviews-{time:%Y%m%d-%H}0000.gz")
        storage.write_bytes(url, _gzip("".join(_lines(names, random.Random(f"{seed} {hour}")))))
        urls.append(url)
    return urls


def _lines(names: list[str], chance: random.Random) -> list[str]:
    views: dict[tuple[str, str], int] = {}
    for rank, name in enumerate(names, 1):
        expected = TOP_VIEWS_PER_HOUR / rank**ZIPF_EXPONENT * chance.uniform(0.7, 1.3)
        views["en", name] = round(expected * (1 - MOBILE_SHARE))
        views["en.m", name] = round(expected * MOBILE_SHARE)
    views["en", chance.choice(names)] += HOT_VIEWS
    for name in (*NAMESPACE_PAGES, *NOT_IN_DUMP):
        views["en", name] = chance.randint(50, 5000)
    for project in OTHER_PROJECTS:
        for name in chance.sample(names, min(len(names), 20)):
            views[project, name] = chance.randint(1, 500)
    rows = sorted((project, name, number) for (project, name), number in views.items() if number)
    return [f"{project} {name} {number} 0\n" for project, name, number in rows]


def _gzip(text: str) -> bytes:
    """Without name and time in it, so that equal text gives equal bytes."""
    out = io.BytesIO()
    with gzip.GzipFile(fileobj=out, mode="wb", filename="", mtime=0) as file:
        file.write(text.encode())
    return out.getvalue()

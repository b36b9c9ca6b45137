# mypy: disable-error-code="assignment"
"""A WAT file of any size in the record layout of Common Crawl, for benchmarks: no large real one can be shipped.

For each page a request, a response and a metadata record, each a gzip member of its own. Most links are anchors to the
same few targets; of the images, a sixteenth of all links, two fifths have a relative URL, half have no alt text, some
only a title, and each site repeats its logo and a tracking pixel on every page. In numbers a file is as the crawls are:
6 KB gz a page (Common Crawl of 2017-02: 20.7 TB of WAT, 3.1 billion pages), 1,000 alt texts a MB (cc2dataset: 300,000 a
file of 300 MB), inflated to 4.8 times its size. Captions are lines of real data sets where the folder of shared data
stands beside the checkout, else made of syllables.
"""

from __future__ import annotations

import gzip
import json
import random
import zlib
from collections.abc import Iterator
from pathlib import Path

SHARED = Path(__file__).parents[2] / "shared" / "data"
SYLLABLES = "ka lo mi ter ra ven do su pel ni gar to ber lin sha co ma ri ost an".split()
MAX_WORDS = 16  # textbooks describe their figures in paragraphs, pages of the web do not
TAGS = ("A@/href",) * 88 + ("LINK@/href",) * 2
Link = dict[str, str]


def captions() -> list[str]:
    """Lines of captions and titles, real ones where there are any."""
    if not SHARED.is_dir():
        return [" ".join(make_word() for _ in range(random.Random(n).randint(1, 14))) for n in range(50_000)]
    lines = [line.split("\t")[0] for line in _text("cc3m_validation.tsv.gz").splitlines()]
    lines += [row["caption"] for row in json.loads(_text("coco_captions_val2017.json.gz"))["annotations"]]
    for name in ("tate_artworks.jsonl.gz", "openstax_alt_caption_all.jsonl.gz"):
        for line in _text(name).splitlines():
            lines += [value for key, value in json.loads(line).items() if key in ("title", "alt", "caption") and value]
    return [" ".join(line.split()[:MAX_WORDS]) for line in lines if line.strip()]


def _text(name: str) -> str:
    return gzip.decompress((SHARED / name).read_bytes()).decode()


def make_word() -> str:
    """A word that no language has."""
    return "".join(random.choices(SYLLABLES, k=random.randint(1, 4)))


def write_wat(path: Path, gz_bytes: int, texts: list[str], seed: int = 0) -> None:
    """Writes whole pages until the file holds `gz_bytes` bytes."""
    random.seed(seed)
    with path.open("wb") as file:
        file.write(_member(_warc("warcinfo", "", b"Software-Info: ia-web-commons\r\nformat: WARC File Format 1.0\r\n")))
        while file.tell() < gz_bytes:
            site = f"www.{make_word()}{random.choice(SYLLABLES)}.{random.choice(['com', 'org', 'de', 'co.uk'])}"
            logo = random.choice(texts)[:30]
            for _ in range(random.randint(1, 4)):
                file.write(b"".join(_page(site, logo, texts)))


def _page(site: str, logo: str, texts: list[str]) -> Iterator[bytes]:
    url = f"https://{site}/{_slug(texts)}/{random.randint(1, 99999)}"
    targets = [(_slug(texts), random.choice(texts)[:40]) for _ in range(50)]  # a page links to the same few many times
    links = [_anchor(site, *random.choice(targets)) for _ in range(int(random.expovariate(1 / 190)))]
    images = [
        {"path": "IMG@/src", "url": "/assets/logo.svg", "alt": f"{logo} logo"},
        {"path": "IMG@/src", "url": "https://px.stat.example/tr?id=1&noscript=1"},
        *(_image(site, texts) for _ in range(int(random.expovariate(1 / 10)))),
    ]
    for image in images:
        links.insert(random.randint(0, len(links)), image)
    head: dict[str, object] = {"Title": random.choice(texts), "Metas": [_meta(texts) for _ in range(18)]}
    head["Scripts"] = [
        {"path": "SCRIPT@/src", "url": f"/js/{_slug(texts)}.js?v={random.getrandbits(32)}"} for _ in range(20)
    ]
    if random.random() < 0.07:
        head["Base"] = f"https://{site}/"
    html = {"Head": head, "Links": links}
    response = {"Response-Message": {"Status": "200", "Version": "HTTP/1.1", "Reason": "OK"}, "Headers": _headers()}
    requested = {"Request-Message": {"Method": "GET", "Path": "/", "Version": "HTTP/1.1"}, "Headers": {"Host": site}}
    for kind, payload in (
        ("request", {"HTTP-Request-Metadata": requested}),
        ("response", {"HTTP-Response-Metadata": {**response, "HTML-Metadata": html}}),
        ("metadata", {"WARC-Metadata-Metadata": {"Metadata-Records": [{"Name": "fetchTimeMs", "Value": "372"}]}}),
    ):
        header = {"WARC-Type": kind, "WARC-Date": "2024-05-18T01:58:10Z", "WARC-Target-URI": url}
        header["WARC-Record-ID"] = f"<urn:uuid:{random.getrandbits(128):032x}>"
        payload = {"Actual-Content-Type": f"application/http; msgtype={kind}", **payload, "Block-Digest": _digest()}
        container = {"Filename": "CC-MAIN-00000.warc.gz", "Offset": str(random.getrandbits(30)), "Compressed": True}
        envelope = {"Payload-Metadata": payload, "Format": "WARC/1.0", "WARC-Header-Metadata": header}
        body = json.dumps({"Container": container, "Envelope": envelope}, ensure_ascii=False, separators=(",", ":"))
        yield _member(_warc("metadata", url, body.encode()))


def _anchor(site: str, slug: str, text: str) -> Link:
    where = f"/{slug}" if random.random() < 0.5 else f"https://{site}/{slug}"
    return {"path": random.choice(TAGS), "url": where, "text": text}


def _image(site: str, texts: list[str]) -> Link:
    draw, name = random.random(), f"{_slug(texts)}-{random.randint(1, 999)}.jpg"
    if draw < 0.6:
        url = f"https://cdn.{site}/uploads/{name}"
    elif draw < 0.85:
        url = f"/wp-content/uploads/2024/{name}"
    elif draw < 0.97:
        url = f"images/{name}"
    else:
        url = "data:image/gif;base64,"
    image = {"path": "IMG@/src", "url": url}
    draw = random.random()
    if draw < 0.5:
        image["alt"] = random.choice(texts)
    elif draw < 0.6:
        image["alt"] = ""
    elif draw < 0.63:
        image["title"] = random.choice(texts)
    return image


def _meta(texts: list[str]) -> Link:
    return {"name": f"og:{make_word()}", "content": random.choice(texts)}


def _headers() -> Link:
    own = {f"X-{make_word()}": f"{random.getrandbits(96):x}" for _ in range(12)}
    return {"Content-Type": "text/html; charset=utf-8", "Server": "nginx", **own}


def _slug(texts: list[str]) -> str:
    return "-".join("".join(c for c in word if c.isalnum()) for word in random.choice(texts).lower().split()[:5])


def _digest() -> str:
    return f"sha1:{random.getrandbits(160):032X}"


def _warc(kind: str, url: str, body: bytes) -> bytes:
    where = f"WARC-Target-URI: {url}\r\n" if url else ""
    record_id = f"{random.getrandbits(128):032x}"
    header = (
        f"WARC/1.0\r\nWARC-Type: {kind}\r\n{where}WARC-Date: 2024-05-31T01:17:49Z\r\n"
        f"WARC-Record-ID: <urn:uuid:{record_id}>\r\nWARC-Refers-To: <urn:uuid:{record_id[::-1]}>\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        f"WARC-Payload-Digest: {_digest()}\r\nWARC-Block-Digest: {_digest()}\r\n\r\n"
    )
    return header.encode() + body + b"\r\n\r\n"


def _member(data: bytes) -> bytes:
    squeezed = zlib.compressobj(6, wbits=31)
    return squeezed.compress(data) + squeezed.flush()

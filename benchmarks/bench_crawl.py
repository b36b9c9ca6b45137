# mypy: disable-error-code="arg-type, assignment, attr-defined, return-value"
"""The crawl of one worker against stock img2dataset: CPU time and rate an image, over https and http, and memory.

A server process on loopback answers with JPEGs of about 100 KB. Both sides have 64 threads, fetch the same addresses in
turn and reduce to 256 pixels. CPU is that of the client process (ours with its limiter in it), the server's is not
counted: its ratios stand on a busy machine too, where those of rates do not. The certificates that a context loads are
those of certifi and our own, as in real life. `shard_overhead` is what a worker spends on starting and on a shard of
one row, as a share of what 10,000 rows take it over http: all that is not rows, at its worst.
"""

from __future__ import annotations

import asyncio
import io
import multiprocessing
import os
import ssl
import statistics
import sys
import tempfile
import time
from collections import Counter
from multiprocessing.connection import Connection
from pathlib import Path

import harness
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

THREADS, IMAGE_PX, NUM_DISTINCT, HEAVY_BYTES = 64, 256, 48, 18_000_000
SHARD_ROWS = 10_000
Measured = tuple[float, float, int, float, float]  # CPU seconds, seconds, images stored, peak MB and CPU seconds so far


def images() -> list[bytes]:
    """JPEGs of 800x600 pixels, about 100 KB each."""
    from PIL import Image

    made = []
    for number in range(NUM_DISTINCT):
        coarse = np.random.default_rng(number).integers(0, 256, (110, 146, 3), dtype=np.uint8)
        stream = io.BytesIO()
        Image.fromarray(coarse).resize((800, 600), Image.Resampling.BICUBIC).save(stream, "JPEG", quality=70)
        made.append(stream.getvalue())
    return made


def bomb() -> bytes:
    """A PNG of 20,000x20,000 pixels in under a megabyte."""
    from PIL import Image

    stream = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(stream, "PNG")
    return stream.getvalue()


def serve(ports: Connection, certificate: str) -> None:
    """The server process: https on the first port that it tells, http on the second."""
    bodies, heavy, huge = images(), b"\xff\xd8\xff\xe0" + bytes(HEAVY_BYTES), bomb()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while request := await reader.readuntil(b"\r\n\r\n"):
                kind, _, number = request.split(b" ", 2)[1].decode().strip("/").partition("/")
                body = {"ok": bodies[sum(number.encode()) % NUM_DISTINCT], "heavy": heavy, "bomb": huge}.get(kind, b"")
                status = b"200 OK" if body else b"404 Not Found"
                head = b"HTTP/1.1 %s\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n" % (status, len(body))
                is_last = b"connection: close" in request.lower()
                writer.write(head + (b"Connection: close\r\n\r\n" if is_last else b"\r\n"))
                writer.write(body)
                await writer.drain()
                if is_last:
                    break
        except (OSError, asyncio.IncompleteReadError):
            pass  # the client hung up
        writer.close()

    async def run() -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        servers = [await asyncio.start_server(answer, "127.0.0.1", 0, backlog=512, ssl=tls) for tls in (context, None)]
        ports.send([server.sockets[0].getsockname()[1] for server in servers])
        await asyncio.Event().wait()

    asyncio.run(run())


def ours(work: Connection, folder: str) -> None:
    """The client process with our crawl."""
    from datagen.config import CrawlConfig
    from datagen.crawl import crawl
    from datagen.crawl.politeness import limiter
    from datagen.schemas import SELECTED
    from openwit.stage import Input, Source, Target

    shared: dict[str, object] = {"threads": THREADS, "image_px": IMAGE_PX, "connect_to": ("127.0.0.1=127.0.0.1:1",)}
    for index, (port, urls) in enumerate(iter(work.recv, None)):
        shared["connect_to"] = (f"127.0.0.1=127.0.0.1:{port}",)
        config = CrawlConfig(host_requests_per_s=1e6, host_connections=1000, deadline_s=60.0, **shared)
        captions = [[{"uid": "0" * 32, "caption": "x", "page_url": "", "query_ids": [], "selected_by": []}]] * len(urls)
        path = Path(folder) / f"ours{index}.parquet"
        pq.write_table(pa.table([urls, captions], schema=SELECTED), path)
        target = Target(index, Path(folder) / f"ours{index}")
        target.scratch.mkdir()
        with limiter.serving(config) as served:
            inputs = {
                "selected": (Input(url=str(path), identity=""),),
                "limiter": (Input(url=served.url, identity=""),),
            }
            before = start()
            counts = crawl.process(config, Source(index=index, inputs=inputs), target)
            work.send(measured(before, counts["kept"]))


def stock(work: Connection, folder: str) -> None:
    """The client process with img2dataset as it is."""
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
    from img2dataset.downloader import Downloader
    from img2dataset.resizer import Resizer
    from img2dataset.writer import WebDatasetSampleWriter

    for index, (_, urls) in enumerate(iter(work.recv, None)):
        listing = Path(folder) / f"stock{index}.feather"
        table = pa.table({"url": urls, "caption": ["x"] * len(urls)})
        with pa.OSFile(str(listing), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table)
        resizer = Resizer(
            image_size=IMAGE_PX, resize_mode="keep_ratio", resize_only_if_bigger=True, encode_quality=95,
            encode_format="jpg", skip_reencode=False,
        )  # fmt: skip
        downloader = Downloader(
            sample_writer_class=WebDatasetSampleWriter, resizer=resizer, thread_count=THREADS, save_caption=True,
            extract_exif=False, output_folder=folder, column_list=["url", "caption"], timeout=60,
            number_sample_per_shard=100_000, oom_shard_count=5, compute_hash="sha256", verify_hash_type=None,
            encode_format="jpg", retries=0, user_agent_token=None, disallowed_header_directives=None,
        )  # fmt: skip
        before = start()
        downloader.download_shard((index, str(listing)))
        rows = pq.read_table(Path(folder) / f"{index:05d}.parquet", columns=["status"])["status"].to_pylist()
        work.send(measured(before, Counter(rows)["success"]))


def start() -> tuple[float, float]:
    """CPU and wall time before the work."""
    return time.process_time(), time.perf_counter()


def measured(before: tuple[float, float], stored: int) -> Measured:
    """What was spent since then."""
    status = Path("/proc/self/status").read_text()  # getrusage would count the parent's memory before exec too
    peak_mb = int(status.partition("VmHWM:")[2].split()[0]) / 1024
    now = time.process_time()
    return now - before[0], time.perf_counter() - before[1], stored, peak_mb, now


def certificates(folder: Path) -> str:
    """The server's certificate and key in one file; SSL_CERT_FILE names what clients trust."""
    import certifi
    import trustme

    authority = trustme.CA()
    trusted = folder / "trusted.pem"
    trusted.write_bytes(Path(certifi.where()).read_bytes() + authority.cert_pem.bytes())
    os.environ["SSL_CERT_FILE"] = str(trusted)
    path = folder / "server.pem"
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(path))
    return str(path)


def main() -> None:
    """Alternates the two sides over https and over http, measures shards of one row, then gives ours hostile bodies."""
    quick = harness.quick_flag(__doc__)
    rounds, num_images = (2, {"https": 100, "http": 300}) if quick else (3, {"https": 2000, "http": 2000})
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as name:
        ports_here, ports_there = spawn.Pipe()
        processes = [spawn.Process(target=serve, args=(ports_there, certificates(Path(name))), daemon=True)]
        sides = {}
        for side in (ours, stock):
            sides[side.__name__], there = spawn.Pipe()
            processes.append(spawn.Process(target=side, args=(there, name), daemon=True))
        for process in processes:
            process.start()
        ports = dict(zip(("https", "http"), ports_here.recv(), strict=True))

        def fetch(side: str, scheme: str, paths: list[str]) -> Measured:
            port = ports[scheme]
            sides[side].send((port, [f"{scheme}://127.0.0.1:{port}/{path}" for path in paths]))
            result: Measured = sides[side].recv()
            return result

        def compare(scheme: str) -> tuple[float, float, float, float]:
            """Median ratios ours/stock of CPU and of rate, and our CPU and seconds an image."""
            pairs, number = [], num_images[scheme]
            for turn in range(rounds):
                paths = [f"ok/{index}" for index in range(turn * number, (turn + 1) * number)]
                order = ("ours", "stock") if turn % 2 == 0 else ("stock", "ours")
                both = {side: fetch(side, scheme, paths) for side in order}
                assert both["ours"][2] == both["stock"][2] == number, both
                pairs.append((both["ours"], both["stock"]))
                print(scheme, both, file=sys.stderr)
            cpu = statistics.median(a[0] / b[0] for a, b in pairs)
            rate = statistics.median(b[1] / a[1] for a, b in pairs)
            mine = [a for a, _ in pairs]
            return cpu, rate, *(statistics.median(m[k] for m in mine) / number for k in (0, 1))

        start_up_s = fetch("ours", "https", ["ok/0"])[4]  # from the start of its process
        for side in sides:  # imports, and our robots.txt
            for scheme in ports:
                fetch(side, scheme, ["ok/0"] * 8)
        over_https, over_http = compare("https"), compare("http")
        single = [fetch("ours", "http", ["ok/0"]) for _ in range(5)]
        hostile = [f"{kind}/{number}" for number in range(20 if quick else 60) for kind in ("heavy", "bomb", "ok")]
        peak_mb = fetch("ours", "https", hostile)[3]
        for side in sides.values():
            side.send(None)
        for process in processes:
            process.kill()
            process.join()
    one_row_s = statistics.median(cpu_s for cpu_s, *_ in single)
    ratios = {
        "https_cpu_vs_img2dataset": over_https[0],
        "https_rate_vs_img2dataset": over_https[1],
        "http_cpu_vs_img2dataset": over_http[0],
        "http_rate_vs_img2dataset": over_http[1],
        "peak_worker_mb": peak_mb,
        "shard_overhead": (start_up_s + one_row_s) / (SHARD_ROWS * over_http[2]),
    }
    details = {
        "https_cpu_ms_an_image": 1000 * over_https[2],
        "https_ms_an_image": 1000 * over_https[3],
        "http_cpu_ms_an_image": 1000 * over_http[2],
        "start_up_cpu_s": start_up_s,
        "one_row_shard_cpu_s": one_row_s,
        "one_row_shard_s": statistics.median(seconds for _, seconds, *_ in single),
    }
    harness.report("crawl", ratios, images=num_images, **{name: round(value, 3) for name, value in details.items()})


if __name__ == "__main__":
    main()

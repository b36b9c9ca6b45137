from __future__ import annotations

import http.client
import io
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from helpers.patience import patience
from helpers.places import ROOT
from helpers.ports import keep_port
from helpers.processes import kill, wait_until
from openwit.errors import ConfigError, InputError
from pipelines.demo_web.faults import plan_faults
from pipelines.demo_web.layout import HOSTS
from pipelines.demo_web.names import catalogue
from pipelines.demo_web.server import HEALTH_PATH, running, serve, web_digest
from pipelines.demo_web.sets import split

Answer = tuple[int, dict[str, str], bytes]


def get(port: int, host: str, path: str, method: str = "GET") -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=patience(20))
    try:
        connection.request(method, path, headers={"Host": host})
        response = connection.getresponse()
        return response.status, dict(response.getheaders()), response.read()
    finally:
        connection.close()


def answers(port: int) -> bool:
    try:
        return get(port, "any", HEALTH_PATH)[0] == 200
    except OSError:
        return False


@pytest.fixture(scope="module")
def port(web: Path) -> Iterator[int]:
    number = keep_port()
    with running(str(web), number):
        yield number


@pytest.fixture(scope="module")
def faults(config: Any) -> dict[str, list[tuple[str, str]]]:
    """(host, path) by kind."""
    found: dict[str, list[tuple[str, str]]] = {}
    for fault in plan_faults(config, split(config, catalogue()).shown, HOSTS):
        found.setdefault(fault.kind, []).append((fault.host, fault.path))
    return found


def test_files_are_found_by_host_and_path_and_the_query_is_ignored(web: Path, port: int) -> None:
    for path in sorted((web / "site").rglob("*.png"))[:5]:
        host, name = path.relative_to(web / "site").as_posix().split("/", 1)
        if "large" in name:
            continue
        status, headers, body = get(port, host, f"/{name}?w=144&v=2")
        assert (status, headers["Content-Type"], body) == (200, "image/png", path.read_bytes())
        assert get(port, f"{host}:{port}", f"/{name}")[2] == body
        assert get(port, "other.test", f"/{name}")[0] in (200, 404)
    assert get(port, "nobody.test", "/logo.png")[0] == 404
    assert get(port, HOSTS[0], "/../../web.json")[0] == 404


def test_pages_are_html_folders_answer_with_their_index_and_head_has_no_body(port: int) -> None:
    status, headers, body = get(port, HOSTS[0], "/")
    assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert b"CC BY-SA 4.0" in body
    assert get(port, HOSTS[0], "/", "HEAD")[1]["Content-Length"] == str(len(body))
    assert get(port, HOSTS[0], "/", "HEAD")[2] == b""


def test_a_connection_serves_many_requests(port: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=patience(20))
    for _ in range(3):
        connection.request("GET", "/logo.png", headers={"Host": HOSTS[0]})
        sock = connection.sock
        assert connection.getresponse().read()[:4] == b"\x89PNG"
        assert connection.sock is sock
    connection.close()


@pytest.mark.parametrize(("kind", "status"), [("missing", 404), ("error", 500)])
def test_missing_images_and_errors_have_their_status(
    port: int, faults: dict[str, list[tuple[str, str]]], kind: str, status: int
) -> None:
    assert [get(port, *where)[0] for where in faults[kind]] == [status] * len(faults[kind])


def test_what_poses_as_an_image_says_image_and_is_none(port: int, faults: dict[str, list[tuple[str, str]]]) -> None:
    for where in faults["html"]:
        status, headers, body = get(port, *where)
        assert (status, headers["Content-Type"]) == (200, "image/jpeg")
        assert body.startswith(b"<!DOCTYPE html>")
    for where in faults["truncated"]:
        status, headers, body = get(port, *where)
        assert (status, headers["Content-Type"]) == (200, "image/jpeg")
        with pytest.raises(OSError, match="truncated"):
            Image.open(io.BytesIO(body)).load()


def test_a_cut_answer_ends_before_its_length(port: int, faults: dict[str, list[tuple[str, str]]]) -> None:
    for where in faults["cut"]:
        with pytest.raises(http.client.IncompleteRead):
            get(port, *where)


def test_a_noai_image_is_whole_and_says_noai(port: int, faults: dict[str, list[tuple[str, str]]]) -> None:
    for where in faults["noai"]:
        status, headers, body = get(port, *where)
        assert (status, headers["X-Robots-Tag"]) == (200, "noai")
        Image.open(io.BytesIO(body)).load()


def test_a_mirrored_image_is_the_same_file_under_a_second_address(
    web: Path, port: int, faults: dict[str, list[tuple[str, str]]]
) -> None:
    for host, path in faults["mirrored"]:
        body = get(port, host, path)[2]
        twins = [p for p in (web / "site").rglob(path.rsplit("/", 1)[1]) if p.read_bytes() == body]
        assert len(twins) == 2


def test_a_slow_image_dribbles(port: int, faults: dict[str, list[tuple[str, str]]]) -> None:
    (host, path), *_ = faults["slow"]
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=patience(20))
    connection.request("GET", path, headers={"Host": host})
    response = connection.getresponse()
    pieces, begin = 0, time.monotonic()
    while response.read1(1 << 20):
        pieces += 1
    assert pieces > 5  # by what came, not by the clock: it came in many pieces
    assert time.monotonic() - begin > 1.0
    connection.close()


def test_a_lasting_server_of_the_same_web_is_used_and_left_running(web: Path) -> None:
    number = keep_port()
    command = [sys.executable, "-m", "pipelines.demo_web.server", str(web), str(number)]
    process = subprocess.Popen(command, cwd=ROOT)
    try:
        wait_until(lambda: answers(number))
        with running(str(web), number):
            assert answers(number)
        assert answers(number)
        assert json.loads(get(number, "any", HEALTH_PATH)[2]) == {"digest": web_digest(str(web)), "owner": 0}
    finally:
        process.terminate()
        process.wait()


def test_a_busy_port_is_one_line_that_says_what_to_write(web: Path, port: int) -> None:
    with pytest.raises(ConfigError, match=rf"web.port={port}: already in use by another openwit run, process \d+"):
        running(str(web), port).__enter__()
    other = HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    threading.Thread(target=other.serve_forever, daemon=True).start()
    taken = other.server_address[1]
    expected = f"web.port={taken}: already in use by another program; give a free one with --web.port N"
    for attempt in (lambda: running(str(web), taken).__enter__(), lambda: serve(str(web), taken)):
        with pytest.raises(ConfigError) as caught:
            attempt()  # type: ignore[no-untyped-call]
        assert str(caught.value) == expected
    other.shutdown()
    other.server_close()


def test_a_folder_without_a_web_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no demo web"):
        running(str(tmp_path), keep_port()).__enter__()


def test_the_server_leaves_with_a_killed_parent_and_the_port_is_free_again(web: Path) -> None:
    number = keep_port()
    script = (
        "import sys, time\n"
        "from pipelines.demo_web.server import running\n"
        "with running(sys.argv[1], int(sys.argv[2])):\n"
        "    print('up', flush=True)\n"
        "    time.sleep(60)\n"
    )
    command = [sys.executable, "-c", script, str(web), str(number)]
    parent = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)
    assert parent.stdout
    assert parent.stdout.readline() == b"up\n"
    kill(parent.pid)
    parent.wait()
    parent.stdout.close()
    with running(str(web), number):  # at once: the orphan must not be relied on
        time.sleep(1.0)
        assert answers(number)
    assert not answers(number)

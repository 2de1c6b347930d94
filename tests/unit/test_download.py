"""`download.fetch` against a server on this machine that misbehaves in every documented way."""

import contextlib
import hashlib
import threading
import time
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from mergesuite.data import download
from mergesuite.errors import UserError

CONTENT = np.random.default_rng(3).bytes(1_000_000)
SUMS = {
    "md5": hashlib.md5(CONTENT).hexdigest(),
    "sha256": hashlib.sha256(CONTENT).hexdigest(),
}


class Server(ThreadingHTTPServer):
    """Serves CONTENT; the path says how it misbehaves."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: list[tuple[str, str | None]] = []

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/{path}"


class Handler(BaseHTTPRequestHandler):
    server: Server  # pyright: ignore[reportIncompatibleVariableOverride]

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.server.requests.append((self.path, wanted))
        kind = self.path.strip("/")
        if kind in {"404", "503"}:
            self.send_error(int(kind))
            return
        start = int(wanted[6:-1]) if wanted and kind != "rangeless" else 0
        if start >= len(CONTENT):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        body = CONTENT[start:]
        if kind == "wrong":
            body = b"?" * len(body)
        if kind == "drip":
            with contextlib.suppress(OSError):
                for at in range(2000):
                    self.wfile.write(body[at : at + 1])
                    time.sleep(0.01)
            return
        self.wfile.write(body[:300_000] if kind in {"cut", "cut-rangeless"} else body)

    def log_message(self, format: str, *args: object) -> None:
        """Keep the test output quiet."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=partial(running.serve_forever, poll_interval=0.01))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def fetch(urls: list[str], target: Path, retries: int = 3, **sums: str) -> Path:
    return download.fetch(urls, target, sums or SUMS, "a copy", retries=retries, pause=0.001)


def test_a_whole_file_arrives_and_leaves_nothing_else(server: Server, tmp_path: Path):
    target = fetch([server.url("whole")], tmp_path / "new" / "a.bin")
    assert target.read_bytes() == CONTENT
    assert [file.name for file in target.parent.iterdir()] == ["a.bin"]


def test_a_file_that_is_there_is_not_fetched_again(server: Server, tmp_path: Path):
    (tmp_path / "a.bin").write_bytes(CONTENT)
    fetch([server.url("whole")], tmp_path / "a.bin")
    assert server.requests == []


def test_a_damaged_file_that_is_there_is_replaced(server: Server, tmp_path: Path):
    (tmp_path / "a.bin").write_bytes(CONTENT[:-1])
    assert fetch([server.url("whole")], tmp_path / "a.bin").read_bytes() == CONTENT


def test_a_cut_transfer_goes_on_where_it_stopped(server: Server, tmp_path: Path):
    target = fetch([server.url("cut")], tmp_path / "a.bin", retries=4)
    assert target.read_bytes() == CONTENT
    starts = [int(wanted[6:-1]) if wanted else 0 for _, wanted in server.requests]
    steps = np.diff(starts)
    assert len(starts) == 4
    assert starts[0] == 0
    assert (steps > 300_000 - download.BLOCK).all()
    assert (steps <= 300_000).all()


def test_another_run_resumes_from_another_mirror(server: Server, tmp_path: Path):
    with pytest.raises(UserError, match="Run again to resume"):
        fetch([server.url("cut")], tmp_path / "a.bin", retries=1)
    have = (tmp_path / "a.bin.part").stat().st_size
    assert 300_000 - download.BLOCK < have <= 300_000
    target = fetch([server.url("whole")], tmp_path / "a.bin")
    assert target.read_bytes() == CONTENT
    assert server.requests[-1] == ("/whole", f"bytes={have}-")


def test_a_server_without_ranges_starts_again(server: Server, tmp_path: Path):
    (tmp_path / "a.bin.part").write_bytes(b"x" * 1000)
    assert fetch([server.url("rangeless")], tmp_path / "a.bin").read_bytes() == CONTENT


def test_a_damaged_part_is_thrown_away_and_fetched_anew(server: Server, tmp_path: Path):
    (tmp_path / "a.bin.part").write_bytes(b"x" * 1000)
    assert fetch([server.url("whole")], tmp_path / "a.bin").read_bytes() == CONTENT
    assert [wanted for _, wanted in server.requests] == ["bytes=1000-", None]


def test_a_part_that_is_already_whole_is_accepted(server: Server, tmp_path: Path):
    (tmp_path / "a.bin.part").write_bytes(CONTENT)
    assert fetch([server.url("whole")], tmp_path / "a.bin").read_bytes() == CONTENT


@pytest.mark.parametrize("first", ["404", "503", "wrong"])
def test_the_next_mirror_is_tried(server: Server, tmp_path: Path, first: str):
    target = fetch([server.url(first), server.url("whole")], tmp_path / "a.bin")
    assert target.read_bytes() == CONTENT


def test_a_missing_file_is_asked_for_once_and_a_busy_server_again(server: Server, tmp_path: Path):
    with pytest.raises(UserError):
        fetch([server.url("404"), server.url("503")], tmp_path / "a.bin")
    assert [path for path, _ in server.requests] == ["/404", "/503", "/503", "/503"]


def test_a_wrong_checksum_is_never_accepted(server: Server, tmp_path: Path):
    with pytest.raises(UserError, match=r"wrong checksum .md5 should be") as caught:
        fetch([server.url("wrong")], tmp_path / "a.bin")
    assert "set MERGESUITE_DATA to a copy" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "a.bin").exists()


def test_every_checksum_counts(server: Server, tmp_path: Path):
    with pytest.raises(UserError, match="sha256 should be 00"):
        fetch([server.url("whole")], tmp_path / "a.bin", md5=SUMS["md5"], sha256="00")


def test_no_server_at_all_says_what_to_do(tmp_path: Path):
    # Port 9 of this machine is closed: nothing listens there.
    with pytest.raises(UserError, match=r"could not download a\.bin .*MERGESUITE_DATA"):
        fetch(["http://127.0.0.1:9/a.bin"], tmp_path / "a.bin")


def test_nothing_is_fetched_without_a_checksum(tmp_path: Path):
    with pytest.raises(ValueError, match="checksum"):
        download.fetch(["http://127.0.0.1:9/a"], tmp_path / "a", {}, "a copy")


def test_a_server_that_drips_comes_to_an_end_and_what_came_is_kept(server: Server, tmp_path: Path):
    begun = time.monotonic()
    with pytest.raises(UserError, match="it takes too long"):
        download.fetch([server.url("drip")], tmp_path / "a", SUMS, "a copy", limit=0.3, pause=0)
    assert time.monotonic() - begun < 5
    assert 0 < (tmp_path / "a.part").stat().st_size < 2000


@pytest.mark.parametrize("kind", ["whole", "cut"])
def test_more_bytes_than_a_file_may_have_are_not_kept(server: Server, tmp_path: Path, kind: str):
    with pytest.raises(UserError, match="more than 1,000 bytes"):
        download.fetch([server.url(kind)], tmp_path / "a", SUMS, "a copy", most=1000)
    assert list(tmp_path.iterdir()) == []


def test_no_link_is_written_through(server: Server, tmp_path: Path):
    precious = tmp_path / "precious"
    precious.write_text("mine")
    folder = tmp_path / "data"
    folder.mkdir()
    for name in ("a.part", "a"):
        (folder / name).symlink_to(precious)
    fetch([server.url("whole")], folder / "a")
    assert precious.read_text() == "mine"
    assert not (folder / "a").is_symlink()
    assert (folder / "a").read_bytes() == CONTENT


def test_a_link_in_the_place_of_a_lock_is_not_emptied(server: Server, tmp_path: Path):
    (tmp_path / "precious").write_text("mine")
    (tmp_path / ".a.lock").symlink_to(tmp_path / "precious")
    with pytest.raises(UserError, match="cannot write"):
        fetch([server.url("whole")], tmp_path / "a")
    assert (tmp_path / "precious").read_text() == "mine"

"""A process that has its imports behind it, and from which a workflow's jobs are forked.

Importing torch takes seconds, and most jobs of a small profile take less. The Snakefile opens a
folder (`open_folder`) and names it to its jobs in `MERGESUITE_HOST`. The first job starts a host in
it; that and every later job hands its command, environment, folder and streams to the host
(`ask`), which forks. The fork runs the command as if it had been started itself: it ends with its
client, and its client with its status. Host and jobs end with the Snakemake that opened the folder:
the next one would start the same jobs again beside them.

Every job starts as a client: what only the host needs is imported in the host's functions.

Nothing depends on it. Where anything is not as it should be (no host, other code on disk than the
host has imported, another number of threads), the command runs in the process that was started.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from mergesuite.core import scratch

VARIABLE = "MERGESUITE_HOST"
FORK = "MERGESUITE_FORK"
"""`no`: every job is a process of its own, which takes seconds longer and holds less memory."""
PRELOADED = (
    "mergesuite.cli.commands",
    "mergesuite.cli.parser",
    "mergesuite.stages.train",
    "mergesuite.stages.merge",
    "mergesuite.stages.evaluate",
)
"""Imported before the first job is taken."""
WHEN_IDLE = (
    "torch._dynamo",
    "mergesuite.models.resnet",
    "mergesuite.methods.pool",
    "mergesuite.methods.parents",
    "mergesuite.data.reduced_digits",
    "mergesuite.cli.outcome",
    "safetensors.torch",
    "mergesuite.models.spiking",
    "spikingjelly.activation_based.neuron",
    "mergesuite.report.page",
    "mergesuite.judge.expected",
    "mergesuite.report.figures",
)
"""Imported when no job waits: what optimisers, many merges and the last stages need."""
PACKAGE = Path(__file__).parents[1]
STARTING = 60.0
"""Seconds that a host may take to import before its client goes on alone."""
KILLED = 137


def open_folder() -> Path:
    """A folder for a host that lives as long as this process; named to all child processes."""
    folder = scratch.make()
    os.environ[VARIABLE] = str(folder)
    return folder


def ask(words: list[str]) -> int | None:
    """The status of a command that the host ran, or None where there is none to run it."""
    folder = Path(os.environ.get(VARIABLE, ""))
    if (
        not os.environ.get(VARIABLE)
        or not (folder / scratch.OWNER).is_file()
        or "RANK" in os.environ
        or os.environ.get(FORK) == "no"
    ):
        return None
    request = {
        "words": words,
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "code": _code_on_disk(),
    }
    try:
        with _connected(folder) as connection:
            return _run_by(connection, json.dumps(request).encode())
    except (OSError, ValueError):
        return None


def _socket_of(folder: Path) -> Path:
    """Sums depend on the number of threads, and libraries read it once: a host for each."""
    return folder / f"host-{os.environ.get('OMP_NUM_THREADS', 'any')}"


def _connected(folder: Path) -> socket.socket:
    """A connection to the host, which is started if need be.

    Raises:
        OSError: there is none, and none could be started.
    """
    path = _socket_of(folder)
    with contextlib.suppress(OSError):
        return _connect(path)
    with (folder / "starting").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # one of several first jobs starts it, the others wait
        with contextlib.suppress(OSError):
            return _connect(path)
        import subprocess

        with (folder / "log").open("ab") as log:
            host = subprocess.Popen(
                [sys.executable, "-m", "mergesuite.cli.host", str(folder), str(path)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        ends = time.monotonic() + STARTING
        while not path.exists() and host.poll() is None and time.monotonic() < ends:
            time.sleep(0.02)
        return _connect(path)


def _connect(path: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.connect(str(path))
    except OSError:
        connection.close()
        raise
    return connection


def _run_by(connection: socket.socket, request: bytes) -> int | None:
    """Hand over a request and this process's streams; wait for the status, passing on signals."""
    socket.send_fds(connection, [len(request).to_bytes(8, "little")], [0, 1, 2])
    connection.sendall(request)
    answer = _exactly(connection, 8)
    if answer is None or not (pid := int.from_bytes(answer, "little")):
        return None  # refused: nothing has run
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda which, _: _pass_on(pid, which))
    status = _exactly(connection, 1)
    return KILLED if status is None else status[0]


def _pass_on(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _exactly(connection: socket.socket, count: int) -> bytes | None:
    """`count` bytes, or None where the other side has gone."""
    found = b""
    while len(found) < count:
        try:
            part = connection.recv(count - len(found))
        except ConnectionError:
            return None
        if not part:
            return None
        found += part
    return found


def _code_on_disk() -> str:
    """Which files the package has, and when they were last written."""
    files = sorted((str(file), file.stat().st_mtime_ns) for file in PACKAGE.rglob("*.py"))
    return hashlib.sha256(repr(files).encode()).hexdigest()


def serve(folder: Path, path: Path) -> None:
    """Fork a process for every request until the owner of `folder` has ended."""
    import importlib
    import select
    import shutil

    code = _code_on_disk()
    for name in PRELOADED:
        importlib.import_module(name)
    later = _when_idle()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        unfinished = path.with_suffix(".new")
        server.bind(str(unfinished))
        server.listen(64)
        unfinished.rename(path)  # whoever sees it can connect
        while not scratch.has_ended(folder):
            ready, _, _ = select.select([server], [], [], 0.05 if later else 1.0)
            _bury()
            if ready:
                connection, _ = server.accept()
                with connection:
                    _take(server, connection, code)
            elif later:
                with contextlib.suppress(Exception):  # the job that needs it will say what is wrong
                    later.pop(0)()
    shutil.rmtree(folder, ignore_errors=True)


def _when_idle() -> list[Callable[[], Any]]:
    """What a job would do before it computes, in the order of need: read the package, import."""
    import importlib

    from torch import overrides

    from mergesuite.cli import parser
    from mergesuite.core import digests, provenance
    from mergesuite.data import reduced_digits
    from mergesuite.experiment import declared

    reading = [declared.methods, declared.families, declared.datasets, digests.prepare]
    # What tracing a network looks up, what every record says, which embedded image shows what.
    once = [overrides.get_testing_overrides, provenance.versions]
    once += [partial(reduced_digits.load, name, Path()) for name in reduced_digits.LAPTOP]
    imports = [partial(importlib.import_module, name) for name in WHEN_IDLE]
    return [parser.build_parser, *reading, *once, *imports]


def _bury() -> None:
    """Let ended children go; their clients have their status from themselves."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _take(server: socket.socket, connection: socket.socket, code: str) -> None:
    """Fork for one request, or refuse it."""
    request, streams = _received(connection)
    if request and request["code"] == code and not os.fork():
        server.close()
        _be(request, streams, connection)
    elif request and request["code"] != code:
        connection.sendall(bytes(8))
    for stream in streams:
        os.close(stream)


def _received(connection: socket.socket) -> tuple[dict[str, Any] | None, list[int]]:
    """A request and the client's streams."""
    size, streams, _, _ = socket.recv_fds(connection, 8, 3)
    content = _exactly(connection, int.from_bytes(size, "little"))
    return (json.loads(content) if content and len(streams) == 3 else None), streams


def _be(request: dict[str, Any], streams: list[int], connection: socket.socket) -> NoReturn:
    """Become the process that the client would have been."""
    import threading
    import traceback

    from mergesuite import cli

    status = 1
    try:
        connection.sendall(os.getpid().to_bytes(8, "little"))
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
        os.chdir(request["folder"])
        os.environ.clear()
        os.environ.update(request["environment"])
        sys.argv = ["mergesuite", *request["words"]]
        # A host that was started in the background ignores what its client passes on.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        threading.Thread(target=_end_with, args=(connection,), daemon=True).start()
        end_with_owner()
        status = cli.run(request["words"])
    except SystemExit as end:  # --help, --version
        status = end.code if isinstance(end.code, int) else 0
    except BaseException:  # whatever it is, it is this command's end and not the host's
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError, ValueError):  # full, or closed over a broken pipe
            sys.stdout.flush()
            sys.stderr.flush()
        with contextlib.suppress(OSError):
            connection.sendall(bytes([status]))
        os._exit(status)


def end_with_owner() -> None:
    """End this process as soon as the owner of the folder that is named to it has ended."""
    import threading

    def wait(owner: int) -> None:
        fcntl.flock(owner, fcntl.LOCK_EX)
        os._exit(KILLED)

    with contextlib.suppress(OSError):
        owner = os.open(Path(os.environ[VARIABLE]) / scratch.OWNER, os.O_RDWR)
        threading.Thread(target=wait, args=(owner,), daemon=True).start()


def _end_with(connection: socket.socket) -> None:
    """End this process when its client ends, as if that had been it."""
    with contextlib.suppress(OSError):
        while connection.recv(1):
            pass
    os._exit(KILLED)


if __name__ == "__main__":
    serve(Path(sys.argv[1]), Path(sys.argv[2]))

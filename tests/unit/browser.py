"""Chromium driven over a pipe in the DevTools protocol, with nothing but the standard library."""

from __future__ import annotations

import base64
import itertools
import json
import os
import select
import shutil
import subprocess
import time

NAMES = ("chromium", "chromium-browser", "google-chrome")
PROGRAM = next(filter(None, map(shutil.which, NAMES)), None)
QUIET = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--hide-scrollbars", "--proxy-server=127.0.0.1:9", "--remote-debugging-pipe",
)  # fmt: skip
"""No network: whatever is asked for goes to a proxy that is not there."""
PATIENCE = 60.0
"""Seconds for an answer; no test depends on how long one takes."""


class Browser:
    """One window. `requests` and `complaints` are what the page asked for and what it said."""

    def __init__(self, profile) -> None:
        """Start it, with a user's folder `profile` of its own."""
        (read, theirs), (write, ours) = os.pipe(), os.pipe()
        command = [PROGRAM, *QUIET, f"--user-data-dir={profile}", "about:blank"]
        # It reads at 3 and writes at 4. Of both ends, the one to read has the lower number.
        shell = ["bash", "-c", 'exec "${@:3}" 3<&"$1" 4>&"$2"', "bash", str(read), str(ours)]
        self.process = subprocess.Popen(
            [*shell, *command], pass_fds=(read, ours),
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(read)
        os.close(ours)
        self._in, self._out, self._rest = theirs, write, b""
        self._numbers = itertools.count(1)
        self.events, self.requests, self.complaints = [], [], []
        self.session = None
        target = self("Target.createTarget", url="about:blank")["targetId"]
        self.session = self("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self(f"{domain}.enable")

    def __enter__(self):
        return self

    def __exit__(self, *_) -> None:
        try:
            self.session = None
            self("Browser.close")
            self.process.wait(10)
        finally:
            self.process.kill()
            self.process.wait()
            os.close(self._in)
            os.close(self._out)

    def __call__(self, method: str, **params):
        """The result of a command of the protocol."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        rest = json.dumps(message).encode() + b"\0"
        while rest:
            rest = rest[os.write(self._in, rest) :]
        while True:
            answer = self._next()
            if answer.get("id") == number:
                assert "error" not in answer, answer["error"]
                return answer["result"]
            self._note(answer)

    def _next(self) -> dict:
        end = time.monotonic() + PATIENCE
        while b"\0" not in self._rest:
            assert select.select([self._out], [], [], end - time.monotonic())[0], "no answer"
            piece = os.read(self._out, 1 << 16)
            assert piece, "the browser has gone"
            self._rest += piece
        found, _, self._rest = self._rest.partition(b"\0")
        return json.loads(found)

    def _note(self, event: dict) -> None:
        name, said = event["method"], event["params"]
        self.events.append(name)
        if name == "Network.requestWillBeSent":
            self.requests.append(said["request"]["url"])
        elif name == "Runtime.exceptionThrown":
            self.complaints.append(said["exceptionDetails"]["text"])
        elif name == "Runtime.consoleAPICalled" and said["type"] in ("error", "warning", "assert"):
            self.complaints.append(str(said["args"]))
        elif name == "Log.entryAdded" and said["entry"]["level"] in ("error", "warning"):
            self.complaints.append(said["entry"]["text"])

    def open(self, url: str, width: int = 1440, height: int = 900, dark: bool = False) -> None:
        """Load a page, in a window of that size."""
        self("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1,
             mobile=width < 500)  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        still = {"name": "prefers-reduced-motion", "value": "reduce"}
        self("Emulation.setEmulatedMedia", features=[scheme, still])
        for address in ("about:blank", url):  # from one place of a page to another nothing loads
            self.events.clear()
            self("Page.navigate", url=address)
            while "Page.loadEventFired" not in self.events:
                self._note(self._next())

    def __getitem__(self, expression: str):
        """The value of an expression of JavaScript in the page; of a promise, what it comes to."""
        how = {"returnByValue": True, "awaitPromise": True}
        said = self("Runtime.evaluate", expression=expression, **how)
        assert "exceptionDetails" not in said, said["exceptionDetails"]
        return said["result"].get("value")

    def picture(self, path, whole: bool = False) -> None:
        """A screenshot of the window, or of the whole page."""
        made = self("Page.captureScreenshot", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(made["data"]))

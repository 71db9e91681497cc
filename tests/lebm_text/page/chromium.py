"""A headless Chromium, spoken to over a pipe in its DevTools protocol: a page as people see it, without any package."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["Browser", "browser_path", "open_browser"]

VARIABLE = "LEBM_TEXT_CHROMIUM"
_FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run")
# The protocol wants its pipes as descriptors 3 and 4.
_HAND_OVER = """
import os, sys
ends = [os.dup(os.dup(os.dup(int(number)))) for number in sys.argv[1:3]]
for end, number in zip(ends, (3, 4)):
    os.dup2(end, number)
os.execv(sys.argv[3], sys.argv[3:])
"""
_PATIENCE = 120.0  # seconds for an answer, on a busy machine


def browser_path() -> str | None:
    """The program that the variable names, else the one on PATH; None if there is none."""
    named = os.environ.get(VARIABLE)
    return shutil.which(named) if named else shutil.which("chromium") or shutil.which("chromium-browser")


class Browser:
    """One tab. Whatever it complains of or asks the network for is kept."""

    def __init__(self, commands: int, answers: int) -> None:
        self._commands, self._answers, self._buffer = commands, answers, b""
        self._last = 0
        self._session: str | None = None
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self._events: list[str] = []
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._call(f"{domain}.enable")

    def show(self, page: Path | str, *, width: int, height: int = 900, scheme: str) -> None:
        """Load a file, or what an address has, in a window of this size, light or dark."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self._call("Emulation.setDeviceMetricsOverride", **size)
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self._call("Emulation.setEmulatedMedia", features=[feature])
        self._events.clear()
        self._call("Page.navigate", url=page if isinstance(page, str) else page.resolve().as_uri())
        while "Page.loadEventFired" not in self._events:
            self._take(self._receive())

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression in the page."""
        answer = self._call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def wait(self, expression: str) -> None:
        """Until the value of a JavaScript expression is true."""
        deadline = time.monotonic() + _PATIENCE
        while not self.evaluate(expression):
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"never true: {expression}; the page says {self.evaluate('document.body.innerText')}"
                )
            time.sleep(0.1)

    def screenshot(self, path: Path, *, whole: bool = False) -> None:
        """The window, or the whole page, as PNG."""
        answer = self._call("Page.captureScreenshot", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(answer["data"]))

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._last += 1
        message = {"id": self._last, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while (answer := self._receive()).get("id") != self._last:
            self._take(answer)
        assert "error" not in answer, (method, answer["error"])
        result: dict[str, Any] = answer["result"]
        return result

    def _receive(self) -> dict[str, Any]:
        deadline = time.monotonic() + _PATIENCE
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._answers], [], [], max(deadline - time.monotonic(), 0))
            if not ready:
                raise TimeoutError("the browser does not answer")
            piece = os.read(self._answers, 1 << 16)
            if not piece:
                raise ConnectionError("the browser has ended")
            self._buffer += piece
        whole, self._buffer = self._buffer.split(b"\0", 1)
        message: dict[str, Any] = json.loads(whole)
        return message

    def _take(self, message: dict[str, Any]) -> None:
        method, data = message.get("method", ""), message.get("params", {})
        self._events.append(method)
        if method == "Log.entryAdded":
            self.complaints.append(data["entry"]["text"])
        elif method in ("Runtime.exceptionThrown", "Runtime.consoleAPICalled"):
            self.complaints.append(json.dumps(data))
        elif method == "Network.requestWillBeSent":
            self.requests.append(data["request"]["url"])


@contextmanager
def open_browser(program: str, profile: Path) -> Iterator[Browser]:
    """Start the browser with an empty profile; it ends with the context."""
    to_read, commands = os.pipe()
    answers, to_write = os.pipe()

    arguments = [program, *_FLAGS, f"--user-data-dir={profile}", "--remote-debugging-pipe", "about:blank"]
    process = subprocess.Popen(
        [sys.executable, "-c", _HAND_OVER, str(to_read), str(to_write), *arguments],
        pass_fds=(to_read, to_write),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    os.close(to_read)
    os.close(to_write)
    try:
        yield Browser(commands, answers)
    finally:
        os.close(commands)
        os.close(answers)
        try:
            process.wait(timeout=10)  # it ends with its pipe
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.wait()

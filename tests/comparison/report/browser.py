"""A headless Chromium, spoken to over a pipe in its DevTools protocol; nothing but the standard library."""

from __future__ import annotations

import json
import os
import selectors
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")

# Chromium reads from the file numbered 3 and writes to the one numbered 4.
START = """
import os, sys
reading, writing = (os.dup(int(number)) + 0 for number in sys.argv[1:3])
os.dup2(reading, 20), os.dup2(writing, 21)
os.dup2(20, 3), os.dup2(21, 4)
os.execv(sys.argv[3], sys.argv[3:])
"""


def find_browser() -> str | None:
    """The browser that SOFTPROMPT_BROWSER names, or else the first that is installed."""
    named = os.environ.get("SOFTPROMPT_BROWSER")
    return shutil.which(named) if named else next((path for name in NAMES if (path := shutil.which(name))), None)


class Browser:
    """One page of a browser that runs until it is closed."""

    def __init__(self, path: str):
        self.profile = tempfile.mkdtemp()
        commands, self.to = os.pipe()
        self.answers, answers = os.pipe()
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--remote-debugging-pipe"]
        options += [f"--user-data-dir={self.profile}", "--no-first-run", "--disable-extensions", "about:blank"]
        self.process = subprocess.Popen(
            [sys.executable, "-c", START, str(commands), str(answers), path, *options],
            pass_fds=(commands, answers),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(commands)
        os.close(answers)
        self.number, self.rest, self.session = 0, b"", ""
        self.events: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def close(self) -> None:
        """End the browser and forget its profile."""
        os.close(self.to)
        os.close(self.answers)
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.profile, ignore_errors=True)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Have the browser do something; gives its answer."""
        self.number += 1
        message: dict[str, Any] = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.to, json.dumps(message).encode() + b"\0")
        while True:
            said = self._next()
            if said.get("id") == self.number:
                assert "error" not in said, said
                result: dict[str, Any] = said["result"]
                return result
            self.events.append(said)

    def open(self, page: Path, width: int, height: int = 844, dark: bool = False) -> None:
        """Show a page in a window so wide, and wait until it is loaded."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        phone = width < 600
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=phone)
        self.events.clear()
        self.call("Page.navigate", url=page.resolve().as_uri())
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self._next())

    def evaluate(self, expression: str) -> Any:
        """The value of an expression of JavaScript."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def complaints(self) -> list[str]:
        """What the console said since the page was opened: errors, warnings, exceptions."""
        wanted = ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded")
        return [json.dumps(event["params"]) for event in self.events if event.get("method") in wanted]

    def requests(self) -> list[str]:
        """What was fetched since the page was opened."""
        sent = [event["params"] for event in self.events if event.get("method") == "Network.requestWillBeSent"]
        return [each["request"]["url"] for each in sent]

    def _next(self, seconds: float = 30) -> dict[str, Any]:
        until = time.monotonic() + seconds
        with selectors.DefaultSelector() as selector:
            selector.register(self.answers, selectors.EVENT_READ)
            while b"\0" not in self.rest:
                if not selector.select(until - time.monotonic()):
                    raise TimeoutError(f"the browser said nothing for {seconds} seconds")
                found = os.read(self.answers, 1 << 20)
                if not found:
                    raise ConnectionError("the browser ended")
                self.rest += found
        message, _, self.rest = self.rest.partition(b"\0")
        said: dict[str, Any] = json.loads(message)
        return said

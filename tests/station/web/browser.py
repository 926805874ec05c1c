"""Drives Debian's chromium through its debugging pipe, for the test of the station's page."""

import base64
import json
import os
import shutil
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Self

CHROMIUM = shutil.which("chromium")
COMMAND = [
    *(CHROMIUM or "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
    *("--no-first-run", "--disable-dev-shm-usage", "--disable-background-networking"),
    "--remote-debugging-pipe",
]


class Browser:
    """One page in a browser of its own; speaks the DevTools protocol, messages ending in NUL."""

    def __init__(self, profile: Path, url: str, size_wh: tuple[int, int] = (1920, 1080)) -> None:
        self._ends = ExitStack()
        commands, to_browser = os.pipe()
        from_browser, answers = os.pipe()
        # the browser reads from descriptor 3 and writes to 4
        moved = ["bash", "-c", f'exec "$@" 3<&{commands} 4>&{answers}', "bash"]
        self._process = subprocess.Popen(
            [*moved, *COMMAND, f"--user-data-dir={profile}"],
            pass_fds=(commands, answers),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(commands)
        os.close(answers)
        self._to = self._ends.enter_context(os.fdopen(to_browser, "wb", buffering=0))
        self._from = self._ends.enter_context(os.fdopen(from_browser, "rb"))
        self._sent = 0
        self._session = ""
        page = self._ask("Target.createTarget", url="about:blank")["targetId"]
        attached = self._ask("Target.attachToTarget", targetId=page, flatten=True)
        self._session = attached["sessionId"]
        width, height = size_wh
        self._ask(
            "Emulation.setDeviceMetricsOverride",
            **{"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False},
        )
        self._ask("Page.navigate", url=url)

    def __enter__(self) -> Self:
        """Give the browser."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the browser."""
        self._session = ""
        self._ask("Browser.close")
        self._ends.close()
        self._process.wait(20)

    def value(self, script: str) -> object:
        """Evaluate an expression within the page."""
        return self._ask("Runtime.evaluate", expression=script)["result"].get("value")

    def wait_for(self, *words: str) -> str:
        """Give what the page says, as soon as it says all these words or after thirty seconds."""
        until = time.monotonic() + 30
        while True:
            text = str(self.value("document.body ? document.body.innerText : ''"))
            if all(word in text for word in words) or time.monotonic() > until:
                return text
            time.sleep(0.1)

    def picture(self) -> bytes:
        """Give the page as PNG."""
        return base64.b64decode(self._ask("Page.captureScreenshot")["data"])

    def _ask(self, method: str, **parameters: object) -> dict:
        self._sent += 1
        message = {"id": self._sent, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        self._to.write(json.dumps(message).encode() + b"\0")
        while True:
            answer = json.loads(self._read())
            if answer.get("id") == self._sent:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]

    def _read(self) -> bytes:
        message = bytearray()
        while (letter := self._from.read(1)) != b"\0":
            if not letter:
                raise EOFError("the browser has ended")
            message += letter
        return bytes(message)

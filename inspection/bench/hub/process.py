"""A hub as a process of its own, to be killed and to come back."""

import signal
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import httpx
import yaml

from inspection.bench.faults.network import HOST, free_port
from inspection.core.command import INSPECTION
from inspection.core.errors import InspectionError
from inspection.hub.settings import HubConfig

WAIT_S = 60.0  # for a hub to answer; far beyond what it needs on a busy machine
LOOK_S = 0.05


class HubProcess:
    """`inspection hub serve` over a database and a folder of artefacts.

    Args:
        folder: where its settings, log and artefacts lie.
        database: URL.
    """

    def __init__(self, folder: Path, database: str) -> None:
        self.port = free_port()
        self.url = f"http://{HOST}:{self.port}"
        values = {
            "port": self.port,
            "database": database,
            "artefacts": str(folder / "artefacts"),
            "cache_dir": str(folder / "cache"),
        }
        self.config = HubConfig.model_validate(values)
        self.config_path = folder / "hub.yaml"
        self.config_path.write_text(yaml.safe_dump(values), encoding="utf-8")
        self._log: IO[bytes] = (folder / "hub.log").open("ab")
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """Start it."""
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End it, and its log."""
        self.kill()
        self._log.close()

    @property
    def pid(self) -> int:
        """The number of its process."""
        if self._process is None:
            raise InspectionError("the hub was not started")
        return self._process.pid

    def start(self) -> None:
        """Start it; returns when it answers.

        Raises:
            InspectionError: it ended, or does not answer in time.
        """
        command = [*INSPECTION, "hub", "serve", "--config", str(self.config_path)]
        self._process = subprocess.Popen(  # noqa: S603 - our own command, no shell
            command, stdout=self._log, stderr=self._log
        )
        until = time.monotonic() + WAIT_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > until:
                self.kill()
                raise InspectionError(f"{self.config_path}: its hub does not come up; see hub.log")
            time.sleep(LOOK_S)

    def kill(self) -> None:
        """End it at once, as a power cut does."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/healthz", timeout=1).is_success
        except httpx.HTTPError:
            return False

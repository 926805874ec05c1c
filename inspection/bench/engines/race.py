"""Starts the engines' processes, says which are absent and why, and times the others in turn."""

import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from inspection.bench.command import last_words, told
from inspection.bench.engines import lane
from inspection.bench.frame import Times, time_lanes
from inspection.bench.lane import ask_ms
from inspection.core.errors import InspectionError

SCRIPT = str(Path(lane.__file__))


@dataclass(frozen=True)
class Entry:
    """One engine with one graph."""

    name: str
    engine: str
    model: Path
    python: str = sys.executable
    """Of the environment the engine is installed in."""


@dataclass(frozen=True)
class Ran:
    """What the engines gave."""

    times: Times
    maps: Mapping[str, NDArray[np.float32]]
    """By lane, (n, h, w)."""
    versions: Mapping[str, str]
    absent: Mapping[str, str]
    """By lane, why it did not run."""


def race(
    entries: Sequence[Entry],
    pictures: NDArray[np.uint8],
    folder: Path,
    *,
    threads: int,
    rounds: int,
) -> Ran:
    """Let every engine judge all pictures, and time those that can, in turn, on the first.

    Args:
        entries: engines and graphs.
        pictures: uint8 (n, h, w, 3).
        folder: for what goes between the processes.
        threads: of each engine.
        rounds: of the race.

    Raises:
        InspectionError: no engine runs, or one ends during the race.
    """
    np.save(folder / "pictures.npy", pictures)
    lanes, maps, versions = {}, {}, {}
    absent: dict[str, str] = {}
    with ExitStack() as stack:
        for number, entry in enumerate(entries):
            one = stack.enter_context(_Lane(entry, folder, number, threads))
            if one.version:
                lanes[entry.name], versions[entry.name] = one.time_ms, one.version
                maps[entry.name] = np.load(one.maps)
            else:
                absent[entry.name] = one.why
        times = time_lanes(lanes, rounds)
    return Ran(times, maps, versions, absent)


class _Lane:
    """The process of one engine; it has judged all pictures once it is here."""

    def __init__(self, entry: Entry, folder: Path, number: int, threads: int) -> None:
        self.maps, self._said = folder / f"{number}.npy", folder / f"{number}.txt"
        ours = entry.python == sys.executable
        command = [entry.python, *(["-m", lane.__name__] if ours else [SCRIPT]), entry.engine]
        command.append(str(entry.model))
        command += [str(folder / "pictures.npy"), str(self.maps), str(threads)]
        self._name = entry.name
        with self._said.open("wb") as said:
            self._process = subprocess.Popen(  # noqa: S603 - our own script, no shell
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, text=True
            )
        self.version = self._process.stdout.readline().strip() if self._process.stdout else ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()  # the end of its input ends it

    @property
    def why(self) -> str:
        """Why it does not run."""
        code = self._process.wait()
        last = told(last_words(self._said))
        return f"not installed ({last})" if code == lane.ABSENT else f"ended with {code}: {last}"

    def time_ms(self) -> float:
        """Let it judge a few times, timed by itself."""
        try:
            return ask_ms(self._process)
        except (OSError, ValueError) as error:
            raise InspectionError(f"{self._name}: ended during the race ({self.why})") from error

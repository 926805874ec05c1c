"""What a scenario of the fault suite is given and what it gives back."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from inspection.bench.frame import Goal

Row = tuple[str, str | float]
"""What was seen, and the number or the words for it."""


@dataclass(frozen=True)
class Options:
    """How long the faults last and how often they come."""

    kills: int = 10_000
    """Kill -9 at random points, a third each of files, camera triggers and parts of two frames."""
    step_kills: int = 50
    """Kill -9 at each of the named steps."""
    restarts: int = 5
    """Kill -9 of the command itself, for its time to READY."""
    tears: int = 20
    """Torn last writes."""
    fault_s: float = 5.0
    """How long a disk is full, a camera stands still, memory is gone."""
    thorough: bool = True
    """Flip a bit in each file of a bundle, not in one."""
    slow_clients: int = 2_000
    """Connections of clients that mean ill, at once."""
    siege_s: float = 30.0
    """How long they stay: longer than whoever asks nothing is borne."""
    outage_s: float = 60.0
    """How long a destination is gone: 30 times the longest pause between two tries, 2 s, so that
    nothing in the station would change in a longer one."""


SHORT = Options(
    kills=15,
    step_kills=1,
    restarts=1,
    tears=2,
    fault_s=0.5,
    thorough=False,
    slow_clients=400,
    siege_s=2.0,
    outage_s=1.0,
)


@dataclass(frozen=True)
class Finding:
    """What a scenario found."""

    goals: Sequence[Goal]
    rows: Sequence[Row] = ()


@dataclass(frozen=True)
class Scene:
    """Where a scenario takes place."""

    work: Path
    """An empty folder."""
    bundle: Path
    """Judges by redness, see `inspection.bench.redness`."""
    options: Options = Options()


@dataclass(frozen=True)
class Scenario:
    """One fault."""

    name: str
    play: Callable[[Scene], Finding]


def not_measured(name: str, reason: str) -> Finding:
    """Say why a scenario cannot take place here; it counts as not reached."""
    goal = Goal.at_most(f"{name}: events lost", 0, None, "events")
    return Finding((goal,), (("not measured", reason),))

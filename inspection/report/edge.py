"""Measures what a bundle costs on this machine: latency, throughput, RAM, CPU, energy, disk.

The judging runs in a fresh process (`inspection.report.probe`), because the reporting process has
loaded libraries that no station loads.
"""

import json
import math
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from pydantic import Field, StrictInt, ValidationError

from inspection.core.config import Settings
from inspection.core.errors import InspectionError

RAPL_ROOT = Path("/sys/class/powercap")
PROBE_TIMEOUT_S = 300


class ProbeRequest(Settings):
    """What the fresh process shall judge."""

    bundle: str
    images: tuple[str, ...] = Field(min_length=1, description="files, judged in turn")
    parts: StrictInt = Field(200, ge=1, description="parts judged and timed")
    warm_up: StrictInt = Field(10, ge=0, description="parts judged before, not timed")


class Edge(Settings):
    """The cost of judging on one machine, one part at a time, pixels already decoded."""

    machine: str = Field(description="processor and number of cores")
    parts: StrictInt
    open_s: float = Field(description="from the start of opening to a bundle ready to judge")
    p50_ms: float
    p95_ms: float
    p99_ms: float
    parts_per_s: float = Field(description="one process, one part after the other")
    peak_ram_mib: float = Field(description="most resident memory of the whole process")
    cpu_ms_per_part: float = Field(description="processor time over all cores")
    cores_used: float = Field(description="processor time over wall time")
    energy_mj_per_part: float | None = Field(
        description="millijoules of the whole processor package; none where not told"
    )


def measure_edge(request: ProbeRequest) -> Edge:
    """Judge parts in a fresh process and read what they cost.

    Raises:
        InspectionError: the process failed, took over 300 s, or answered something else.
    """
    command = [sys.executable, "-m", "inspection.report.probe"]
    try:
        done = subprocess.run(  # noqa: S603 -- our own module, no shell
            command,
            input=request.model_dump_json(),
            capture_output=True,
            text=True,
            timeout=PROBE_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise InspectionError(
            f"{request.bundle}: judging {request.parts} parts took over {PROBE_TIMEOUT_S} s; "
            "time fewer parts"
        ) from error
    lines = done.stdout.splitlines()
    if done.returncode or not lines:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise InspectionError(
            f"{request.bundle}: the measuring process ended with {done.returncode}: {reason}"
        )
    try:
        return Edge.model_validate(json.loads(lines[-1]))
    except (json.JSONDecodeError, ValidationError) as error:
        raise InspectionError(
            f"{request.bundle}: the measuring process answered {lines[-1][:200]!r}; wanted JSON"
        ) from error


def percentile(ascending: Sequence[float], share: float) -> float:
    """Give the smallest value that at least this share (0 to 1) of the values does not exceed."""
    if not ascending:
        raise InspectionError("percentile of no values; wanted at least 1")
    return ascending[max(0, math.ceil(share * len(ascending)) - 1)]


def size_on_disk(folder: Path) -> int:
    """Sum the bytes of all files under a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def read_energy_uj(root: Path = RAPL_ROOT) -> dict[str, int] | None:
    """Read the energy counters of all processor packages, microjoules by zone.

    Returns:
        none where the machine has no RAPL counters or does not let us read them.
    """
    readings: dict[str, int] = {}
    for zone in sorted(root.glob("intel-rapl:?")):  # packages; intel-rapl:0:1 lies within one
        try:
            readings[zone.name] = int((zone / "energy_uj").read_text())
        except (OSError, ValueError):
            return None
    return readings or None


def energy_between_uj(
    before: dict[str, int] | None, after: dict[str, int] | None, root: Path = RAPL_ROOT
) -> int | None:
    """Give the microjoules between two readings; a counter that wrapped once is mended."""
    if before is None or after is None or before.keys() != after.keys():
        return None
    total = 0
    for zone, start in before.items():
        spent = after[zone] - start
        if spent < 0:
            try:
                spent += int((root / zone / "max_energy_range_uj").read_text())
            except (OSError, ValueError):
                return None
        total += spent
    return total

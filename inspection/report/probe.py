"""Opens a bundle in a fresh process, judges parts and prints what they cost as one line of JSON.

Reads a `ProbeRequest` from stdin. Loads nothing that a station does not load.
"""

import resource
import sys
import time
from pathlib import Path

from inspection.bundles.bundle import Bundle, open_bundle
from inspection.core.errors import InspectionError
from inspection.core.imaging import Rgb, load_image
from inspection.core.origin import describe_origin
from inspection.report.edge import (
    Edge,
    ProbeRequest,
    energy_between_uj,
    percentile,
    read_energy_uj,
)

KIB = 1024


def measure(request: ProbeRequest) -> Edge:
    """Open the bundle, judge the parts one at a time and give their cost."""
    frames = [load_image(Path(path)) for path in request.images]
    started = time.perf_counter()
    bundle = open_bundle(Path(request.bundle), allow_refused=True)
    open_s = time.perf_counter() - started
    _judge(bundle, frames, request.warm_up)
    energy, cpu, wall = read_energy_uj(), time.process_time(), time.perf_counter()
    times_ms = sorted(_judge(bundle, frames, request.parts))
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    spent_uj = energy_between_uj(energy, read_energy_uj())
    return Edge(
        machine=describe_origin(()).machine,
        parts=request.parts,
        open_s=open_s,
        p50_ms=percentile(times_ms, 0.5),
        p95_ms=percentile(times_ms, 0.95),
        p99_ms=percentile(times_ms, 0.99),
        parts_per_s=request.parts / wall,
        peak_ram_mib=_peak_ram_mib(),
        cpu_ms_per_part=1000 * cpu / request.parts,
        cores_used=cpu / wall,
        energy_mj_per_part=None if spent_uj is None else spent_uj / 1000 / request.parts,
    )


def _judge(bundle: Bundle, frames: list[Rgb], parts: int) -> list[float]:
    """Judge `parts` frames in turn; milliseconds of each."""
    times_ms = []
    for index in range(parts):
        pixels = frames[index % len(frames)]
        started = time.perf_counter()
        bundle.judge(pixels)
        times_ms.append(1000 * (time.perf_counter() - started))
    return times_ms


def _peak_ram_mib() -> float:
    """Peak of this program alone; ru_maxrss would carry the parent's peak over exec on Linux."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:  # not Linux
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / KIB
    peak_kib = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
    return peak_kib / KIB


def main() -> int:
    """Answer one request on stdout; a refusal goes to stderr in one line."""
    try:
        request = ProbeRequest.model_validate_json(sys.stdin.read())
        sys.stdout.write(measure(request).model_dump_json() + "\n")
    except InspectionError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

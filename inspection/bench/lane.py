"""Times graphs in turn, each in a process of its own, as a graph on a line has one.

Compiled graphs of one process slow each other down for good: run in turn with four others, one of
1.3 ms takes 1.6 to 1.9 ms (reports/LOG.md).
"""

import argparse
import gc
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import openvino
from numpy.typing import NDArray

from inspection.bench.frame import Times, time_lanes
from inspection.bundles.graph import compile_graph, openvino_core
from inspection.core.errors import InspectionError

LANE = [sys.executable, "-m", "inspection.bench.lane"]
UNTIMED, TIMED = 2, 3  # calls per round


@dataclass(frozen=True)
class Competitor:
    """A graph, the one input it judges, and whether it computes in float32 as a station does.

    Otherwise the precision is left to OpenVINO, as Anomalib's inferencer does: bf16 on processors
    that have it.
    """

    model: openvino.Model
    image: NDArray[Any]
    pinned: bool = True


def race_graphs(competitors: Mapping[str, Competitor], rounds: int) -> Times:
    """Time every graph once per round, in order: the median of its calls in a row.

    Calls before those that count go untimed: a line that judges part after part finds its graph's
    weights in the cache and its threads awake.

    Raises:
        InspectionError: no competitors, no rounds, or a process that ends.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        lanes = {
            name: stack.enter_context(_Lane(folder / str(number), competitor))
            for number, (name, competitor) in enumerate(competitors.items())
        }
        return time_lanes({name: lane.time_ms for name, lane in lanes.items()}, rounds)


class _Lane:
    """The process of one competitor, seen from the race."""

    def __init__(self, stem: Path, competitor: Competitor) -> None:
        openvino.save_model(competitor.model, stem.with_suffix(".xml"), compress_to_fp16=False)
        np.save(stem.with_suffix(".npy"), competitor.image)
        command = [*LANE, str(stem), *(["--pinned"] if competitor.pinned else [])]
        self._process = subprocess.Popen(  # noqa: S603 - our own module, no shell
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()  # the end of its input ends it

    def time_ms(self) -> float:
        """Let it judge a few times, timed by itself."""
        try:
            return ask_ms(self._process)
        except (OSError, ValueError) as error:
            raise InspectionError(f"a lane of the race ended ({error}); see above") from error


def ask_ms(process: subprocess.Popen[str]) -> float:
    """Let a lane's process judge once more: it answers a line with milliseconds.

    Raises:
        OSError: its pipes are closed.
        ValueError: it answers something else, or nothing because it ended.
    """
    if process.stdin is None or process.stdout is None:
        raise OSError("no pipes")
    process.stdin.write("\n")
    process.stdin.flush()
    return float(process.stdout.readline())


def main() -> None:
    """Judge a few times for every line read, and print the median milliseconds."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("stem", type=Path, help="graph and input, without .xml and .npy")
    parser.add_argument("--pinned", action="store_true", help="compute in float32")
    arguments = parser.parse_args()
    model = openvino_core().read_model(arguments.stem.with_suffix(".xml"))
    if arguments.pinned:
        compiled = compile_graph(model)
    else:
        compiled = openvino_core().compile_model(model, "CPU", {"PERFORMANCE_HINT": "LATENCY"})
    request, image = compiled.create_infer_request(), np.load(arguments.stem.with_suffix(".npy"))
    gc.collect()
    gc.disable()  # its pauses belong to nobody's graph
    for _ in sys.stdin:
        times = []
        for _ in range(UNTIMED + TIMED):
            started = time.perf_counter()
            request.infer({0: image}, share_inputs=True)
            times.append(time.perf_counter() - started)
        sys.stdout.write(f"{np.median(times[UNTIMED:]) * 1e3}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()

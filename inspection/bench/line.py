"""Measures a line with frames in memory: trigger to verdict, four cameras, bundles that change."""

import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from inspection.bench.frame import Goal, Table
from inspection.bench.memory import MemorySource
from inspection.bench.ours import export_and_gate, renew
from inspection.bundles.bundle import GRAPH, read_card
from inspection.bundles.graph import Compiling, Graph
from inspection.core.decision import Verdict
from inspection.core.errors import InspectionError
from inspection.core.geometry import prepare
from inspection.core.imaging import Rgb
from inspection.core.records import Event, write_record
from inspection.data.check import check_dataset
from inspection.station.service import serve
from inspection.station.settings import StationConfig
from inspection.station.spool import SpoolReader
from inspection.station.state import StationStatus
from inspection.synthetic.dataset import Counts, Product, make_dataset, make_good

FRAME_HW = (1024, 1280)
CAMERAS = ("north", "east", "south", "west")
MOST_P50_OVER_GRAPH, MOST_P99_OVER_P50 = 2.0, 3.0
LEAST_OF_GRAPH = 0.85  # of the graph's own frames per second
DISTINCT = 16  # frames in memory, used in turn
WARM_PARTS = 200  # judged before those that count
GRAPH_EVERY, GRAPH_CALLS = 50, 50  # parts between two blocks of the graph alone, and their length
ROUNDS = 3  # station and graph alone in turn, several times, for a median of ratios
SWAP_PACE_S, SWAP_DEADLINE_MS = 0.02, 60  # fifty parts a second, each due within three of them
SWAPS = 5


@dataclass(frozen=True)
class LineOptions:
    """How much of it is run."""

    parts: int = 10_000
    """Parts whose latency is taken."""
    flood: int = 1_000
    """Parts of four frames in each round of the throughput."""
    swap_parts: int = 1_500
    """Parts during which bundles change."""


def run_line(work: Path, options: LineOptions) -> tuple[list[Goal], list[Table]]:
    """Make a MobileNetV2 bundle for 1280×1024 frames and run a station on frames in memory."""
    work.mkdir()
    bundle = make_bundle(work)
    frames = [large(make_good(Product.PLATE, f"line/{number}")) for number in range(DISTINCT)]
    latency_goals, latency = measure_latency(bundle, frames, work / "latency", options.parts)
    flood_goals, flood = measure_throughput(bundle, frames, work / "flood", options.flood)
    swap_goals, swap = measure_swaps(bundle, frames, work / "swaps", options.swap_parts)
    return [*latency_goals, *flood_goals, *swap_goals], [latency, flood, swap]


def large(pixels: Rgb) -> Rgb:
    """Enlarge a generated part to the frame of a 1.3 Mpx camera."""
    enlarged = cv2.resize(pixels, FRAME_HW[::-1], interpolation=cv2.INTER_CUBIC)
    return np.asarray(enlarged, np.uint8)


def make_bundle(work: Path) -> Path:
    """Train and gate a bundle on generated plates of the cameras' size."""
    counts = Counts(train_good=60, test_good=8, per_defect=2)
    root = make_dataset(work / "images", Product.PLATE, 0, counts)
    for path in sorted(root.rglob("*.png")):
        with Image.open(path) as image:
            pixels = np.asarray(image)
        size = FRAME_HW[::-1]
        enlarged = cv2.resize(pixels, size, interpolation=cv2.INTER_NEAREST)
        Image.fromarray(large(pixels) if pixels.ndim == 3 else enlarged).save(path)
    write_record(work / "manifest.json", check_dataset(root).manifest)
    return export_and_gate(work, work / "manifest.json")


def measure_latency(
    bundle: Path, frames: Sequence[Rgb], work: Path, parts: int
) -> tuple[list[Goal], Table]:
    """Hand in one part after the other; the graph alone is timed in between, in the same run."""
    config = configure(bundle, work)
    graph = Graph(bundle / GRAPH, Compiling(threads=config.inference.threads))
    tile = _tile(bundle, frames[0])
    alone_ms: list[float] = []

    def between(number: int) -> None:
        if number % GRAPH_EVERY == 0:
            alone_ms.extend(_timed(partial(graph, tile)) for _ in range(GRAPH_CALLS))

    source = MemorySource(["main"], frames, WARM_PARTS + parts, between=between)
    status = serve(config, source=source)
    _require_judged(status, WARM_PARTS + parts)
    took_ms = source.took_ms[WARM_PARTS:]
    p50, p95, p99 = (float(value) for value in np.percentile(took_ms, (50, 95, 99)))
    g50, g95, g99 = (float(value) for value in np.percentile(alone_ms, (50, 95, 99)))
    goals = [
        Goal.at_most("trigger → verdict, p50 over the graph alone", MOST_P50_OVER_GRAPH, p50 / g50),
        Goal.at_most("trigger → verdict, p99 over p50", MOST_P99_OVER_P50, p99 / p50),
    ]
    rows = (
        ("trigger → durable, signalled verdict", len(took_ms), p50, p95, p99),
        ("the graph alone", len(alone_ms), g50, g95, g99),
    )
    title = "One camera, 1280×1024 frames in memory, MobileNetV2 INT8"
    return goals, Table(
        title=title, columns=("what", "times", "p50 ms", "p95 ms", "p99 ms"), rows=rows
    )


def measure_throughput(
    bundle: Path, frames: Sequence[Rgb], work: Path, parts: int
) -> tuple[list[Goal], Table]:
    """Flood a station with parts of four frames; in turn with the graph alone on as many cores."""
    config = configure(bundle, work, CAMERAS, mode="throughput")
    threads = config.inference.threads
    compiling = Compiling("throughput", threads)
    graph, tile = Graph(bundle / GRAPH, compiling), _tile(bundle, frames[0])
    rows, ratios = [], []
    for number in range(ROUNDS):
        source = MemorySource(CAMERAS, frames, parts, pace_s=None)
        here = config.model_copy(update={"data_dir": work / str(number)})
        status = serve(here, source=source)
        _require_judged(status, parts)
        calls = parts * len(CAMERAS)
        station, alone = calls / source.span_s, _frames_per_s(graph, tile, threads, calls)
        ratios.append(station / alone)
        rows.append((number + 1, station, alone, station / alone))
    goal = Goal.at_least(
        "four cameras: frames/s over the graph's own", LEAST_OF_GRAPH, float(np.median(ratios))
    )
    columns = ("round", "station frames/s", "graph alone frames/s", "ratio")
    return [goal], Table(title="Four cameras, throughput", columns=columns, rows=tuple(rows))


def measure_swaps(
    bundle: Path, frames: Sequence[Rgb], work: Path, parts: int
) -> tuple[list[Goal], Table]:
    """Bring newer bundles while parts come at a steady pace, each due within its deadline."""
    incoming = work / "incoming"
    incoming.mkdir(parents=True)
    config = configure(
        bundle,
        work,
        deadline_ms=SWAP_DEADLINE_MS,
        queue_parts=max(16, math.ceil(SWAP_DEADLINE_MS / 1000 / SWAP_PACE_S)),
        updates={"bundles": (str(incoming),), "poll_ms": 100, "trial_parts": 50},
    )
    renewed = [renew(bundle, work / "made" / str(age), age) for age in range(1, SWAPS + 1)]
    every = parts // (SWAPS + 1)

    def between(number: int) -> None:
        turn, rest = divmod(number + 1, every)
        if rest == 0 and turn <= SWAPS:
            renewed[turn - 1].rename(incoming / str(turn))

    source = MemorySource(["main"], frames, parts, pace_s=SWAP_PACE_S, between=between)
    status = serve(config, source=source)
    late, faults = status.late, status.since_start[Verdict.FAULT]
    judged_by = {frame.bundle_id for event in _events(config) for frame in event.frames}
    p50, p99, most = (float(value) for value in np.percentile(source.took_ms, (50, 99, 100)))
    goals = [
        Goal.at_least("bundles that judged during the swaps", SWAPS + 1, len(judged_by), "bundles"),
        Goal.at_most("late parts during the swaps", 0, late, "parts"),
        Goal.at_most("FAULT parts during the swaps", 0, faults, "parts"),
    ]
    rows = ((len(judged_by) - 1, len(source.took_ms), p50, p99, most, SWAP_DEADLINE_MS),)
    columns = ("swaps", "parts", "p50 ms", "p99 ms", "longest ms", "deadline ms")
    return goals, Table(title="Bundle swaps under load", columns=columns, rows=rows)


def configure(
    bundle: Path,
    work: Path,
    cameras: Sequence[str] = ("main",),
    mode: str = "latency",
    **changes: object,
) -> StationConfig:
    """Configure a station of one product without outputs; what it keeps lies below `work`."""
    recipe = {"bundle": bundle}
    values = {
        "data_dir": work / "data",
        "recipes": {"default": dict.fromkeys(cameras, recipe)},
        "inference": {"mode": mode},
        "outputs": (),
        "source": {"kind": "cameras", "cameras": {name: {} for name in cameras}},
    }
    return StationConfig.model_validate(values | changes)


def _tile(bundle: Path, frame: Rgb) -> Rgb:
    return np.asarray(prepare(frame, read_card(bundle).geometry)[0])


def _timed(call: Callable[[], object]) -> float:
    began_s = time.perf_counter()
    call()
    return (time.perf_counter() - began_s) * 1e3


def _frames_per_s(graph: Graph, tile: Rgb, threads: int, calls: int) -> float:
    with ThreadPoolExecutor(threads) as pool:
        began_s = time.perf_counter()
        list(pool.map(lambda _: graph(tile), range(calls)))
        return calls / (time.perf_counter() - began_s)


def _require_judged(status: StationStatus, parts: int) -> None:
    """Refuse numbers of a station that judged nothing, or not all."""
    judged = sum(status.since_start.values())
    faults = status.since_start[Verdict.FAULT]
    if judged != parts or faults:
        raise InspectionError(
            f"station: gave {judged} events, {faults} of them FAULT; wanted {parts} and none; the "
            f"last says: {status.last[0].reason if status.last else 'nothing'}"
        )


def _events(config: StationConfig) -> list[Event]:
    with SpoolReader(config.data_dir) as record:
        return record.after(0)

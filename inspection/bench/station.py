"""Measures a real station process: folder → durable event, JPEG decode included; RAM and disk."""

import io
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from inspection.bench.frame import Goal, Table, begin_report, write_report
from inspection.bench.line import LineOptions, run_line
from inspection.bench.ours import export_and_gate, make_manifest
from inspection.bench.peak import peak_memory
from inspection.core.command import INSPECTION
from inspection.core.errors import DatasetError, InspectionError
from inspection.core.records import Event, write_record
from inspection.station.settings import CameraRecipe, GuardSettings, StationConfig
from inspection.station.sources.settings import CAMERA, FolderSettings
from inspection.synthetic.dataset import Counts, Product, make_defective, make_good
from inspection.synthetic.flaws import Flaw

LEAST_PARTS_PER_S, MOST_P99_OVER_P50 = 100.0, 3.0
MOST_INSTALL_MB, MOST_MEMORY_MB = 500.0, 300.0
MB = 1e6
DISTINCT, JPEG_QUALITY = 50, 92  # generated parts, one of them defective; then they repeat
WARM_PARTS = 20  # judged one at a time before those that count
TRAINER = ("torch", "anomalib", "lightning", "nncf", "sklearn", "scipy", "pandas", "timm")
PROJECT = Path(__file__).parents[2]
PROJECT_FILES = ("pyproject.toml", "README.md", "LICENSE")


@dataclass(frozen=True)
class Options:
    """What of the bench is run."""

    bundle: Path | None = None
    """Gated bundle that judges; none makes one of generated plates."""
    images: Path | None = None
    """Folder of JPEG parts, used in turn; none generates plates."""
    parts: int = 2_000
    singles: int = 300
    line: LineOptions | None = field(default_factory=LineOptions)
    """How much is run with frames in memory; none leaves it out."""
    install: bool = True
    """Also install the project without extras into a fresh environment, and weigh it."""


@dataclass
class Served:
    """What a station process did: its events in order, when each signal came, its memory."""

    events: list[Event] = field(default_factory=list)
    arrived_s: list[float] = field(default_factory=list)
    peak_bytes: int | None = None


@dataclass(frozen=True)
class Installed:
    """A station install: bytes on disk, and which packages of the trainer it has."""

    total_bytes: int
    largest: tuple[tuple[str, int], ...]
    trainer: tuple[str, ...]


def run(out: Path, *, options: Options | None = None) -> Path:
    """Run the station and write `station.json` and `station.md` into `out`.

    Raises:
        DatasetError: the folder of images holds no JPEG.
        InspectionError: the station did not judge every part, or an install failed.
    """
    options = options or Options()
    report = begin_report("station", vars(options))
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        bundle = options.bundle or make_open_bundle(work / "own")
        jpegs = read_jpegs(options.images) if options.images else generate_jpegs()
        flood = run_flood(bundle, jpegs, options.parts, work / "flood")
        singles = run_singles(bundle, jpegs, options.singles, work / "singles")
        goals, tables = [*judge_station(flood, singles)], [_speed(flood, singles), _verdicts(flood)]
        if options.line is not None:
            more_goals, more_tables = run_line(work / "line", options.line)
            goals, tables = [*more_goals, *goals], [*more_tables, *tables]
        installed = weigh_install(work / "install") if options.install else None
    if installed:
        goals += judge_install(installed)
        rows = tuple((name, round(size / MB, 1)) for name, size in installed.largest)
        tables.append(Table(title="Largest of the install", columns=("what", "MB"), rows=rows))
    notes = (
        f"{len(jpegs)} distinct JPEG parts, used in turn, "
        f"{'of ' + str(options.images) if options.images else 'generated plates'}; "
        f"bundle {'given' if options.bundle else 'of generated plates, gate without limits'}.",
        "A part's own time: from the rename into the watched folder to its signal on stdout, which "
        "comes after the event is durable; poll_ms 1, settle_ms 0.",
    )
    changes = {"goals": tuple(goals), "tables": tuple(tables), "notes": notes}
    return write_report(out, report.model_copy(update=changes))


def make_open_bundle(folder: Path) -> Path:
    """Make a bundle of generated plates that its gate lets through whatever the weights are."""
    folder.mkdir()
    counts = Counts(train_good=60, test_good=8, per_defect=2)
    return export_and_gate(folder, make_manifest(folder, Product.PLATE, counts))


def generate_jpegs() -> list[bytes]:
    """Generate plates as JPEG, one of them defective."""
    goods = [make_good(Product.PLATE, f"bench/{number}") for number in range(DISTINCT - 1)]
    defective, _ = make_defective(Product.PLATE, "bench/defective", Flaw.SCRATCH)
    encoded = []
    for pixels in (*goods, defective):
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, "JPEG", quality=JPEG_QUALITY)
        encoded.append(stream.getvalue())
    return encoded


def read_jpegs(folder: Path) -> list[bytes]:
    """Read every JPEG below a folder, sorted by path.

    Raises:
        DatasetError: there is none.
    """
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in {".jpg", ".jpeg"})
    if not paths:
        raise DatasetError(f"{folder}: found no JPEG; wanted parts; name another folder")
    return [path.read_bytes() for path in paths]


def run_flood(bundle: Path, jpegs: Sequence[bytes], parts: int, work: Path) -> Served:
    """Let a station judge a folder that is full when it starts."""
    incoming, config = _configure(bundle, work)
    for number in range(parts):
        (incoming / f"{number:06d}.jpg").write_bytes(jpegs[number % len(jpegs)])
    served = Served()
    with _station(config, work) as process:
        for _ in range(parts):
            _take(process, served)
        served.peak_bytes = peak_memory(process.pid)
    return served


def run_singles(bundle: Path, jpegs: Sequence[bytes], parts: int, work: Path) -> list[float]:
    """Hand parts to a watching station one at a time; ms from rename to signal of each."""
    incoming, config = _configure(bundle, work)
    times_ms, served = [], Served()
    with _station(config, work) as process:
        for number in range(-WARM_PARTS, parts):
            partial = incoming / f".{number + WARM_PARTS:06d}.partial"
            partial.write_bytes(jpegs[number % len(jpegs)])
            path = incoming / f"{number + WARM_PARTS:06d}.jpg"
            started = time.perf_counter()
            partial.rename(path)
            _take(process, served)
            if number >= 0:
                times_ms.append((served.arrived_s[-1] - started) * 1e3)
            path.unlink()  # a line takes judged files away, too
    return times_ms


def weigh_install(work: Path) -> Installed:
    """Install the project without extras into a fresh environment and weigh its site-packages.

    Raises:
        InspectionError: this is no checkout, it cannot be installed, or its station does not start.
    """
    missing = [name for name in PROJECT_FILES if not (PROJECT / name).is_file()]
    if missing:
        raise InspectionError(
            f"{PROJECT}: has no {', '.join(missing)}; wanted the project's checkout; run the bench "
            "from there, or leave the install out"
        )
    source, environment = work / "source", work / "environment"
    shutil.copytree(PROJECT / "inspection", source / "inspection")
    for name in PROJECT_FILES:
        shutil.copy(PROJECT / name, source)
    _call([sys.executable, "-m", "venv", "--without-pip", environment])
    python = environment / "bin" / "python"
    pip: list[str | Path] = [sys.executable, "-m", "pip", "--python", python]
    _call([*pip, "install", "--quiet", source])
    asked = "import inspection.station.service, importlib.util as u, sys, sysconfig\n"
    asked += "print(sysconfig.get_path('purelib'))\n"
    asked += "print(*[name for name in sys.argv[1:] if u.find_spec(name)])"
    packages, trainer = _call([python, "-c", asked, *TRAINER]).split("\n")[:2]
    sizes = {path.name: disk_bytes(path) for path in Path(packages).iterdir()}
    largest = sorted(sizes.items(), key=lambda item: -item[1])[:8]
    return Installed(sum(sizes.values()), tuple(largest), tuple(trainer.split()))


def disk_bytes(path: Path) -> int:
    """Give the bytes a file or a folder takes on the disk, as `du` counts them."""
    paths = [path, *path.rglob("*")] if path.is_dir() else [path]
    return sum(item.lstat().st_blocks * 512 for item in paths)


def judge_station(flood: Served, singles_ms: Sequence[float]) -> list[Goal]:
    """Hold speed, steadiness and memory against the goals."""
    p50, p99 = np.percentile(singles_ms, (50, 99))
    memory = None if flood.peak_bytes is None else flood.peak_bytes / MB
    return [
        Goal.at_least(
            "station, folder to durable event", LEAST_PARTS_PER_S, parts_per_s(flood), "parts/s"
        ),
        Goal.at_most("one at a time: p99 over p50", MOST_P99_OVER_P50, float(p99 / p50)),
        Goal.at_most("resident memory, most (VmHWM)", MOST_MEMORY_MB, memory, "MB"),
    ]


def judge_install(installed: Installed) -> list[Goal]:
    """Hold the install's size against its goal, and the trainer's absence from it."""
    trainer = ", ".join(installed.trainer) or "none"
    return [
        Goal.at_most("station install", MOST_INSTALL_MB, installed.total_bytes / MB, "MB"),
        Goal.at_most(
            f"packages of the trainer in it ({trainer})", 0, len(installed.trainer), "packages"
        ),
    ]


def parts_per_s(served: Served) -> float | None:
    """Give the rate from the first signal to the last; none for fewer than two."""
    if len(served.arrived_s) < 2:
        return None
    return (len(served.arrived_s) - 1) / (served.arrived_s[-1] - served.arrived_s[0])


def _configure(bundle: Path, work: Path) -> tuple[Path, StationConfig]:
    """Give the watched folder, made anew, and the station's configuration."""
    incoming = work / "incoming"
    incoming.mkdir(parents=True)
    return incoming, StationConfig(
        recipes={"default": {CAMERA: CameraRecipe(bundle=bundle)}},
        source=FolderSettings(path=incoming, poll_ms=1, settle_ms=0),
        data_dir=work / "data",
        guards=GuardSettings(frozen="off"),  # the same JPEGs come again and again
    )


@contextmanager
def _station(config: StationConfig, work: Path) -> Iterator["subprocess.Popen[str]"]:
    """Run `inspection station run` as a process of its own; it must end well on SIGTERM."""
    path, log = work / "station.yaml", work / "station.log"
    write_record(path, config)
    command = [*INSPECTION, "station", "run", str(path)]
    with (
        log.open("w", encoding="utf-8") as errors,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True) as process,  # noqa: S603 - our own command, no shell
    ):
        try:
            yield process
            process.send_signal(signal.SIGTERM)
            code = process.wait(60)
        finally:
            process.kill()
    if code != 0:
        said = log.read_text(encoding="utf-8").strip().splitlines()[-1:]
        raise InspectionError(f"station: ended with {code}: {' '.join(said)}; see its bundle")


def _take(process: "subprocess.Popen[str]", served: Served) -> None:
    """Read one signal."""
    line = process.stdout.readline() if process.stdout else ""
    served.arrived_s.append(time.perf_counter())
    if not line:
        raise InspectionError(
            f"station: ended after {len(served.events)} parts; wanted an event for each; run it "
            "by hand on the same bundle to see why"
        )
    served.events.append(Event.model_validate_json(line))


def _call(command: Sequence[str | Path]) -> str:
    words = [str(word) for word in command]
    done = subprocess.run(words, capture_output=True, text=True, check=False)  # noqa: S603 - fixed words, no shell
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["nothing was said"])[-1]
        raise InspectionError(f"{' '.join(words[:4])} …: ended with {done.returncode}: {said}")
    return done.stdout


def _speed(flood: Served, singles_ms: Sequence[float]) -> Table:
    own = [event.latency_ms for event in flood.events]
    p50, p95, p99 = (float(value) for value in np.percentile(singles_ms, (50, 95, 99)))
    q50, q95, q99 = (float(value) for value in np.percentile(own, (50, 95, 99)))
    rows = (
        ("one at a time, rename → signal", len(singles_ms), p50, p95, p99),
        ("full folder, turn → verdict, as in the events", len(own), q50, q95, q99),
    )
    return Table(title="Times", columns=("what", "parts", "p50 ms", "p95 ms", "p99 ms"), rows=rows)


def _verdicts(flood: Served) -> Table:
    counted = Counter(str(event.verdict) for event in flood.events)
    rows = tuple((verdict, counted[verdict]) for verdict in sorted(counted))
    return Table(title="Verdicts of the full folder", columns=("verdict", "parts"), rows=rows)

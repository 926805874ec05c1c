"""Measures what half the latency costs: a champion, the ladder, and the gates of both.

Each step is the real command in a fresh process. The test split is read by the gates of the
champion and of what the ladder chose.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from inspection.bench.command import timed_command
from inspection.bench.fit import MAGNETIC_TILE_COUNTS, REAL, find_dataset
from inspection.bench.frame import Cell, Goal, Table, begin_report, working_in, write_report
from inspection.bench.lane import Competitor, race_graphs
from inspection.bench.ours import read_shipped
from inspection.compression.compress import REPORT, CompressReport
from inspection.compression.distil import RECORD, StudentRecord
from inspection.compression.ranking import Step
from inspection.core.gate import GateRecord
from inspection.core.records import read_record
from inspection.synthetic.dataset import Counts

HALF, MOST_COST = 0.5, 0.03  # of the champion's time; recall
CHAMPION = "champion"


@dataclass(frozen=True)
class Options:
    """What is compressed."""

    dataset: str = REAL
    counts: Counts = MAGNETIC_TILE_COUNTS
    """Of a generated product."""
    train_config: Path = Path("configs/train-imagenet.yaml")
    export_config: Path = Path("configs/export.yaml")
    rounds: int = 150
    """Of the race of both graphs."""


def run(out: Path, *, options: Options | None = None, work: Path | None = None) -> Path:
    """Train a champion, compress it to half its time; write `compress.json` and `compress.md`.

    Args:
        out: folder of the evidence; `compress-PRODUCT` of a generated one.
        options: what is compressed.
        work: folder that keeps run and candidates, and may hold them; none throws them away.

    Raises:
        DatasetError: the data set is absent.
        ConfigError: the data set is neither magnetic_tile nor a product.
    """
    with working_in(work) as folder:
        return _run(out, options or Options(), folder)


def _run(out: Path, options: Options, work: Path) -> Path:
    name = "compress" if options.dataset == REAL else f"compress-{options.dataset}"
    report = begin_report(name, vars(options))
    champion = _champion(options, work)
    seconds = _compress(champion, options, work)
    found = read_record(work / "compressed" / REPORT, CompressReport)
    first = work / "compressed" / f"{found.champion_bundle}"
    bundles = {CHAMPION: first}
    if found.bundle is not None:
        bundles[str(found.chosen)] = work / "compressed" / found.bundle
    graphs = {name: read_shipped(bundle) for name, bundle in bundles.items()}
    lanes = {name: Competitor(model, tile[None]) for name, (model, tile) in graphs.items()}
    times = race_graphs(lanes, options.rounds)
    race = times.race("Graphs alone", [(name, CHAMPION) for name in lanes if name != CHAMPION])
    changes = {
        "goals": judge(found),
        "races": (race,),
        "tables": (_ladder(found), *_gates(found), *_students(work)),
        "notes": (
            found.words,
            "The ladder is ranked on generated defects; the test split was read by the gates of "
            f"{', '.join(_gated(found))} only. Milliseconds are whole parts, resizing included, "
            f"beside the champion. inspection compress took {seconds:.0f} s, the champion's "
            "training and what --work held already not in it.",
        ),
    }
    return write_report(out, report.model_copy(update=changes))


def judge(found: CompressReport) -> tuple[Goal, ...]:
    """Hold what was chosen against its goals; nothing chosen reaches none."""
    chosen = next((row for row in found.rows if row.name == found.chosen), None)
    share = chosen.ratio.value if chosen and chosen.ratio else None
    cost = found.cost.value if found.cost else None
    return (
        Goal.at_most("time of the compressed bundle over the champion's", HALF, share),
        Goal.at_most("recall lost at the promised false-reject rate, test", MOST_COST, cost, ""),
    )


def _gated(found: CompressReport) -> list[str]:
    """Name what a gate has judged."""
    refused = [row.name for row in found.rows if row.refused is not None]
    return [CHAMPION, *refused, *([str(found.chosen)] if found.chosen else [])]


def _champion(options: Options, work: Path) -> Path:
    """Train the champion, unless it was."""
    champion, manifest = work / "run", work / "manifest.json"
    if not champion.exists():
        images = find_dataset(options.dataset, work / "images", options.counts)
        timed_command(["dataset", "check", images, "--out", manifest, "--accept-problems"])
        timed_command(["train", options.train_config, "--data", manifest, "--out", champion])
    return champion


def _compress(champion: Path, options: Options, work: Path) -> float:
    command: tuple[str | Path, ...] = (
        *("compress", champion, "--budget-share", f"{HALF}"),
        *("--out", work / "compressed", "--config", options.export_config),
    )
    return timed_command(command, may_refuse=True)


def _ladder(found: CompressReport) -> Table:
    rows = [_row(step, found) for step in (found.champion, *found.rows)]
    columns = (
        *("candidate", "what", "ms", "of champion's", "low", "high", "AUROC"),
        *("recall", "cost in recall", "low", "high", ""),
    )
    defects = found.champion.measured.defects if found.champion.measured else 0
    return Table(title=f"Ladder, {defects} generated defects", columns=columns, rows=tuple(rows))


def _row(step: Step, found: CompressReport) -> tuple[Cell, ...]:
    if not (step.measured and step.took and step.ratio and step.cost):
        return (step.name, step.how, *(None,) * 9, f"failed: {step.failed}")
    mark = "chosen" if step.name == found.chosen else ""
    slow = step.took.p50_ms.value > found.budget_ms
    return (
        *(step.name, step.how, step.took.p50_ms.value),
        *(step.ratio.value, step.ratio.low, step.ratio.high),
        *(step.measured.auroc.value, step.measured.recall.value),
        *(step.cost.value, step.cost.low, step.cost.high),
        step.refused or mark or ("too slow" if slow else ""),
    )


def _gates(found: CompressReport) -> Sequence[Table]:
    if found.champion_gate is None or found.gate is None or found.cost is None:
        return ()
    rows = [
        (name, *_accuracy(gate))
        for name, gate in ((CHAMPION, found.champion_gate), (str(found.chosen), found.gate))
    ]
    cost = ("cost in recall, paired", None, found.cost.value, found.cost.low, found.cost.high)
    title = f"Gate on {found.gate.evidence}"
    columns = ("bundle", "image AUROC", "recall", "low", "high")
    return (Table(title=title, columns=columns, rows=(*rows, cost)),)


def _accuracy(gate: GateRecord) -> tuple[Cell, ...]:
    return gate.auroc.value, gate.recall.value, gate.recall.low, gate.recall.high


def _students(work: Path) -> Sequence[Table]:
    """Say how well each student that was taught computes what the champion does."""
    made = sorted(work.glob(f"compressed/*/student/{RECORD}"))
    laps = [
        (path.parent.parent.name.rpartition("-")[0], lap.epoch, lap.seconds, lap.fine, lap.coarse)
        for path in made
        for lap in read_record(path, StudentRecord).laps
    ]
    columns = ("student", "step", "seconds", "fine", "coarse")
    title = "Share of the champion's features explained"
    return (Table(title=title, columns=columns, rows=tuple(laps)),) if laps else ()

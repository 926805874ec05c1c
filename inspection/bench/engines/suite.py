"""Races engines on the same graphs: one trained model each for OpenVINO, ONNX Runtime and torch.

DeepSparse, which is discontinued, takes part where it is installed; what is absent is named.
"""

import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inspection.bench.engines.graphs import Made, make_graphs
from inspection.bench.engines.lane import TIMED, UNTIMED
from inspection.bench.engines.race import Entry, Ran, race
from inspection.bench.frame import Cell, Goal, Race, Table, begin_report, write_report
from inspection.bench.ours import make_manifest
from inspection.core.decision import part_score
from inspection.core.errors import ConfigError
from inspection.core.geometry import prepare
from inspection.core.parts import load_part
from inspection.core.records import Label, Split, read_manifest
from inspection.core.settings import BackboneConfig, PatchcoreConfig, TrainConfig
from inspection.export.evidence import Correlation
from inspection.metrics.image import auroc
from inspection.synthetic.dataset import Counts, Product

PARTS = Counts(train_good=120, test_good=40, per_defect=8)
BASE = {"INT8": "OpenVINO INT8", "FP32": "OpenVINO FP32"}  # what the others are held against
LEAST_AGREEMENT = {"INT8": 0.99, "FP32": 0.9999}  # correlation of scores
OURS = BackboneConfig(name="formulanet", layers=("fine", "coarse"))  # named, or STFPM has its own
CASES: Mapping[str, TrainConfig] = {
    "patchcore": TrainConfig(patchcore=PatchcoreConfig(bank_size=2_048), accelerator="cpu"),
    "stfpm": TrainConfig(model="Stfpm", backbone=OURS, accelerator="cpu"),
}
COLUMNS = (
    *("case", "lane", "version", "image AUROC", "score correlation", "largest score difference"),
    "with",
)


@dataclass(frozen=True)
class Options:
    """How large the race is."""

    only: tuple[str, ...] = ()
    """Cases; () is all."""
    rounds: int = 150
    parts: Counts = PARTS
    deepsparse: str = sys.executable
    """Python of the environment DeepSparse is installed in, whose needs are older than ours."""


@dataclass(frozen=True)
class Raced:
    """What one case gave."""

    race: Race
    rows: tuple[tuple[Cell, ...], ...]
    goals: tuple[Goal, ...]
    absent: Mapping[str, str]
    made: Made


def run(out: Path, *, options: Options | None = None) -> Path:
    """Race the cases and write `engines.json` and `engines.md` into `out`.

    Raises:
        ConfigError: no case has that name.
    """
    options, threads = options or Options(), len(os.sched_getaffinity(0))
    cases = choose_cases(options.only)
    settings = {"cases": [*cases], "rounds": options.rounds, "threads": threads}
    report = begin_report("engines", {**settings, **options.parts.model_dump()})
    with tempfile.TemporaryDirectory() as folder:
        manifest = make_manifest(Path(folder), Product.PLATE, options.parts)
        raced = [
            race_case(name, config, manifest, options, threads) for name, config in cases.items()
        ]
    absent = [(one.race.name, lane, why) for one in raced for lane, why in one.absent.items()] or [
        ("–", "none", "every engine ran")
    ]
    graphs = [
        (one.race.name, one.made.note, ", ".join(map(str, one.made.record.weights)))
        for one in raced
    ]
    changes = {
        "goals": tuple(goal for one in raced for goal in one.goals),
        "races": tuple(one.race for one in raced),
        "tables": (
            Table(
                title="Scores of the test parts",
                columns=COLUMNS,
                rows=tuple(row for one in raced for row in one.rows),
            ),
            Table(title="Absent", columns=("case", "lane", "why"), rows=tuple(absent)),
            Table(title="Graphs", columns=("case", "INT8", "weights"), rows=tuple(graphs)),
        ),
        "notes": _notes(),
    }
    return write_report(out, report.model_copy(update=changes))


def choose_cases(only: Sequence[str]) -> dict[str, TrainConfig]:
    """Give the cases of these names, or all.

    Raises:
        ConfigError: no case has that name.
    """
    if unknown := sorted(set(only) - CASES.keys()):
        raise ConfigError(f"only: found {', '.join(unknown)}; wanted some of {', '.join(CASES)}")
    return {name: config for name, config in CASES.items() if not only or name in only}


def race_case(
    name: str, config: TrainConfig, manifest: Path, options: Options, threads: int
) -> Raced:
    """Train one model, make it a graph for every engine, let all judge and race them."""
    known = read_manifest(manifest)
    entries = known.of(Split.TEST)
    defective = np.array([entry.label is Label.DEFECT for entry in entries])
    tiles = [prepare(load_part(known, entry), config.geometry)[0] for entry in entries]
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        made = make_graphs(config, manifest, folder)
        ran = race(
            _entries(made, options.deepsparse),
            np.stack(tiles),
            folder,
            threads=threads,
            rounds=options.rounds,
        )
    scores = {
        lane: np.array([part_score(one, config.score, config.geometry) for one in maps])
        for lane, maps in ran.maps.items()
    }
    agreement = {lane: _agreement(lane, scores) for lane in scores}
    rows = [
        (name, lane, ran.versions[lane], auroc(row[~defective], row[defective]), *agreement[lane])
        for lane, row in scores.items()
    ]
    return Raced(_race(name, ran), tuple(rows), _goals(name, agreement), ran.absent, made)


def _entries(made: Made, deepsparse: str) -> list[Entry]:
    found = [Entry(BASE[kind], "openvino", made.openvino[kind]) for kind in BASE]
    found += [Entry(f"ONNX Runtime {kind}", "onnxruntime", made.onnx[kind]) for kind in BASE]
    found.append(Entry("torch FP32", "torch", made.torch))
    return found + [
        Entry(f"DeepSparse {kind}", "deepsparse", made.onnx[kind], deepsparse) for kind in BASE
    ]


def _kind(lane: str) -> str:
    return lane.rsplit(" ", 1)[1]


def _race(name: str, ran: Ran) -> Race:
    """Compare OpenVINO's INT8 with every other lane, and each engine with OpenVINO's FP32."""
    names = [*ran.maps]
    pairs = [(BASE["INT8"], lane) for lane in names if lane != BASE["INT8"]]
    pairs += [
        (BASE["FP32"], lane) for lane in names if _kind(lane) == "FP32" and lane != BASE["FP32"]
    ]
    return ran.times.race(name, pairs)


def _agreement(lane: str, scores: Mapping[str, NDArray[np.float64]]) -> tuple[float, float, str]:
    """Hold a lane's scores against OpenVINO's of its precision; OpenVINO's INT8 against FP32."""
    base = BASE["FP32"] if lane == BASE["INT8"] else BASE[_kind(lane)]
    correlation = Correlation()
    correlation.add(scores[lane], scores[base])
    apart = np.abs(scores[lane] - scores[base]).max() / np.abs(scores[base]).max()
    return correlation.value, float(apart), base


def _goals(name: str, agreement: Mapping[str, tuple[float, float, str]]) -> tuple[Goal, ...]:
    return tuple(
        Goal.at_least(
            f"{name}: scores of {lane} with {base}", LEAST_AGREEMENT[_kind(lane)], value, ""
        )
        for lane, (value, _, base) in agreement.items()
        if lane not in BASE.values()
    )


def _notes() -> tuple[str, ...]:
    return (
        "One model is trained once. OpenVINO runs the bundle's INT8 graph and its FP32 reference, "
        "ONNX Runtime the same two translated by inspection bundle export, torch the trained "
        "module, traced and frozen. PatchCore's INT8 graph searches in two stages, its FP32 "
        "compares every patch with the whole bank, in every engine alike.",
        "INT8 races even where an export would fall back to FP16. In ONNX it is marked by "
        "QuantizeLinear and DequantizeLinear; ONNX Runtime fuses those around a convolution whose "
        "output is quantised at once, not those before a residual sum.",
        f"Every lane is a process of its own; a round is the median of {TIMED} calls after "
        f"{UNTIMED} that do not count. Each gets as many threads as there are cores, float32 "
        "where it is not INT8, uint8 pixels, and gives the raw map.",
        "Score correlation and largest difference, as a share of the largest score, are over the "
        "test parts.",
    )

"""Races our INT8 graphs against stock Anomalib's FP32 and PTQ graphs, one image at a time.

Every stock graph runs twice: pinned to float32 as ours is ('stock FP32'), and as OpenVINO runs it
by default, which is bf16 on processors that have it; both ratios are reported.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import openvino

from inspection.bench.frame import Goal, Race, Table, begin_report, write_report
from inspection.bench.lane import TIMED, UNTIMED, Competitor, race_graphs
from inspection.bench.ours import Built, build_shipped, make_manifest
from inspection.bench.stock import quantise_stock, random_image, stock_patchcore, stock_stfpm
from inspection.bundles.graph import openvino_core
from inspection.core.errors import ConfigError
from inspection.core.settings import (
    BackboneConfig,
    ExportConfig,
    GateLimits,
    PatchcoreConfig,
    TrainConfig,
)
from inspection.synthetic.dataset import Counts, Product
from inspection.training.weights import declared_weights

PARTS = Counts(train_good=44, test_good=0, per_defect=0)  # enough cells for a bank of 21,400
LARGE_BANK_FACTOR = 1.3


@dataclass(frozen=True)
class Case:
    """One model of the issue's table with its goals."""

    name: str
    backbone: str
    layers: tuple[str, ...]
    banks: tuple[int, ...]
    """PatchCore's banks, the first is the one the goals speak of; () is STFPM."""
    least_fp32: float
    """Goal of stock FP32 time over our time."""
    least_ptq: float

    def config(self, bank: int) -> TrainConfig:
        """Configure our training of this case; random weights do, latency knows no difference."""
        backbone = BackboneConfig(name=self.backbone, layers=self.layers, allow_random_weights=True)
        if not self.banks:
            return TrainConfig(model="Stfpm", backbone=backbone, epochs=1)
        return TrainConfig(
            backbone=backbone, patchcore=PatchcoreConfig(bank_size=bank, candidates=4 * bank)
        )


CASES = (
    Case("mobilenetv2", "mobilenetv2_100", ("blocks.2", "blocks.4"), (2_048, 10_000), 10, 3.5),
    Case("resnet18", "resnet18", ("layer2", "layer3"), (2_048, 21_400), 7.5, 3),
    Case("wideresnet50", "wide_resnet50_2", ("layer2", "layer3"), (2_048,), 5, 2),
    Case("stfpm", "resnet18", ("layer1", "layer2", "layer3"), (), 3.5, 1.25),
)


@dataclass(frozen=True)
class Raced:
    """What one case gave."""

    race: Race
    goals: tuple[Goal, ...]
    built: dict[str, Built]


def run(out: Path, *, only: Sequence[str] = (), rounds: int = 150) -> Path:
    """Race the cases and write `latency.json` and `latency.md` into `out`.

    Args:
        out: folder of the evidence.
        only: names of cases; () is all.
        rounds: rounds of each race.

    Raises:
        ConfigError: no case has that name.
    """
    cases = choose_cases(only)
    report = begin_report("latency", {"rounds": rounds, "cases": [case.name for case in cases]})
    with tempfile.TemporaryDirectory() as folder:
        manifest = make_manifest(Path(folder), Product.PLATE, PARTS)
        raced = [race_case(case, manifest, rounds) for case in cases]
    lanes = [
        (one.race.name, lane, built.precision, built.note, ", ".join(map(str, built.weights)))
        for one in raced
        for lane, built in one.built.items()
    ]
    columns = ("case", "lane", "precision", "how", "weights")
    changes = {
        "goals": tuple(goal for one in raced for goal in one.goals),
        "races": tuple(one.race for one in raced),
        "tables": (Table(title="What ran in our lanes", columns=columns, rows=tuple(lanes)),),
        "notes": (
            "Banks are selected from features of generated plates; stock graphs have random banks "
            "and weights, latency does not depend on them.",
            "Our lanes take uint8 pixels and give the raw map; stock lanes take float32 pixels and "
            "give Anomalib's whole post-processed batch, as its inferencer asks for it.",
            f"Every lane is a process of its own; a round is the median of {TIMED} calls after "
            f"{UNTIMED} that do not count.",
        ),
    }
    return write_report(out, report.model_copy(update=changes))


def choose_cases(only: Sequence[str]) -> tuple[Case, ...]:
    """Give the cases of these names, or all.

    Raises:
        ConfigError: no case has that name.
    """
    known = [case.name for case in CASES]
    unknown = sorted(set(only) - set(known))
    if unknown:
        raise ConfigError(f"only: found {', '.join(unknown)}; wanted some of {', '.join(known)}")
    return tuple(case for case in CASES if not only or case.name in only)


def race_case(case: Case, manifest: Path, rounds: int) -> Raced:
    """Build all lanes of one case and race them."""
    built: dict[str, Built] = {}
    competitors: dict[str, Competitor] = {}
    pairs: list[tuple[str, str]] = []
    for bank in case.banks or (0,):
        lane = f"ours INT8{_bank(bank)}"
        with tempfile.TemporaryDirectory() as folder:
            built[lane] = _build(case, bank, manifest, Path(folder) / "run")
        competitors[lane] = Competitor(built[lane].model, built[lane].tile[None])
    for bank, lane in zip(case.banks or (0,), list(built), strict=True):
        stock = stock_competitors(_stock_graph(case, bank), _bank(bank))
        competitors |= stock
        pairs += [(lane, other) for other in stock]
    times = race_graphs(competitors, rounds)
    if len(built) == 2:
        large, small = reversed(built)
        pairs.append((small, large))
    race = times.race(case.name, pairs)
    return Raced(race, tuple(judge_race(case, race)), built)


def stock_competitors(model: openvino.Model, suffix: str) -> dict[str, Competitor]:
    """Give a stock graph and its PTQ, each pinned to float32 and as OpenVINO runs it here."""
    precision = openvino_core().get_property("CPU", "INFERENCE_PRECISION_HINT").get_type_name()
    image = random_image(0)
    competitors: dict[str, Competitor] = {}
    for name, graph in (("FP32", model), ("PTQ", quantise_stock(model))):
        competitors[f"stock {name}{suffix}"] = Competitor(graph, image)
        word = "default" if name == "FP32" else "PTQ default"
        unpinned = Competitor(graph, image, pinned=False)
        competitors[f"stock {word} ({precision}){suffix}"] = unpinned
    return competitors


def judge_race(case: Case, race: Race) -> list[Goal]:
    """Hold the ratios of a race against the case's goals; both readings of stock."""
    first, *larger = [lane.name for lane in race.lanes if lane.name.startswith("ours")]
    goals = []
    for ratio in race.ratios:
        what = f"{case.name}: {ratio.slow} over {ratio.fast}"
        if ratio.slow in larger:
            goals.append(Goal.at_most(what, LARGE_BANK_FACTOR, ratio.median))
        elif ratio.fast == first:
            least = case.least_ptq if "PTQ" in ratio.slow else case.least_fp32
            goals.append(Goal.at_least(what, least, ratio.median))
    return goals


def _build(case: Case, bank: int, manifest: Path, run_folder: Path) -> Built:
    """Build our lane; one epoch on random weights says nothing of scores, so INT8 is not refused.

    The FP32 fallback of real exports is judged in `bench fit`.
    """
    export = ExportConfig(gate=GateLimits(score_correlation=0))
    return build_shipped(case.config(bank), export, manifest, run_folder)


def _stock_graph(case: Case, bank: int) -> openvino.Model:
    if case.banks:
        return stock_patchcore(case.backbone, case.layers, bank)
    with declared_weights(case.config(bank).backbone):
        return stock_stfpm(case.backbone, case.layers)


def _bank(bank: int) -> str:
    return f", bank {bank:,}" if bank else ""

"""The ladder is climbed until the budget is kept at little cost; the choice passed its gate."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from inspection.bench.ours import OPEN_LIMITS
from inspection.bundles.bundle import open_bundle
from inspection.compression import compress as module
from inspection.compression import distil
from inspection.compression.compress import CompressConfig, CompressReport, compress
from inspection.compression.ladder import Rung
from inspection.core.errors import TrainingError
from inspection.core.records import read_record, write_record
from inspection.core.settings import BackboneConfig, TrainConfig
from inspection.export.build import read_run
from tests.bench.libraries import quiet
from tests.command import inspection
from tests.training.tiny import EXPORT, GEOMETRY

OPEN = EXPORT.model_copy(update={"gate": OPEN_LIMITS})
TIMES = {"champion": 10.0, "bank": 9.0, "half": 4.0, "half-taught": 4.2}
HALF = TrainConfig(
    backbone=BackboneConfig(name="formulanet_050", layers=("fine",)), geometry=GEOMETRY
)


def rungs(*_: object) -> tuple[Rung, ...]:
    """A ladder of each kind of rung, and one nobody can make."""
    small = HALF.model_copy(
        update={"patchcore": HALF.patchcore.model_copy(update={"bank_size": 64})}
    )
    return (
        Rung(name="bank", how="less", export=OPEN, bank=32),
        Rung(name="unknown", how="?", export=OPEN, train=TrainConfig(model="Nosuch")),
        Rung(name="half", how="pruned", export=OPEN, train=small, student=True),
        Rung(
            name="half-taught",
            how="taught",
            export=OPEN,
            train=small,
            student=True,
            taught=True,
            after="half",
        ),
    )


def do_here(work: Callable[[], object], _what: str) -> None:
    """Work in this process, whose libraries are loaded."""
    work()


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch):
    """A short ladder, in this process, and times that no machine decides."""

    def timed(bundles, _parts):
        noise = np.linspace(0.99, 1.01, 200).reshape(20, 10)
        return {name: TIMES[name] * noise for name in bundles}

    monkeypatch.setattr(module, "lay_ladder", rungs)
    monkeypatch.setattr(module, "do_alone", do_here)
    monkeypatch.setattr(module, "time_in_turn", timed)
    monkeypatch.setattr(distil, "PICTURES", 32)
    monkeypatch.setattr("inspection.export.evidence.TIMED_RUNS", 5)
    monkeypatch.setattr("inspection.export.evidence.WARM_RUNS", 1)


@quiet
def test_the_best_that_keeps_the_budget_is_chosen_and_its_cost_told(run: Path, tmp_path: Path):
    """All are rows; a failure too; another call makes nothing anew; too small a budget is told."""
    out = tmp_path / "out"
    config = CompressConfig(budget_ms=5.0, most_cost=0.0, export=OPEN)
    report = compress(run, config, out)
    rows = {row.name: row for row in report.rows}
    assert rows["unknown"].failed.startswith("model: 'Nosuch' is no Anomalib image model")
    assert rows["bank"].ratio.value == pytest.approx(0.9)
    assert report.chosen in {"half", "half-taught"}
    best = max(rows[name].measured.recall.value for name in ("half", "half-taught") if name in rows)
    assert rows[report.chosen].measured.recall.value == best
    lost = report.champion.measured.recall.value - rows[report.chosen].measured.recall.value
    assert rows[report.chosen].cost.value == pytest.approx(lost)
    assert report.gate.passed
    on_test = report.champion_gate.recall.value - report.gate.recall.value
    assert report.cost.value == pytest.approx(on_test)
    assert report.cost.low <= report.cost.value <= report.cost.high
    assert read_record(out / "compress.json", CompressReport) == report
    bundle = open_bundle(out / report.bundle)  # as a station does
    weights = [str(one) for one in bundle.card.weights]
    assert "formulanet_050." in weights[0]
    (kept,) = out.glob("bank-*/run")
    assert read_run(kept).config.patchcore.bank_size == 32
    done_at = {path: path.stat().st_mtime_ns for path in out.glob("*/measured.json")}
    write_record(tmp_path / "export.yaml", OPEN)  # JSON is YAML
    said = inspection(
        *("compress", run, "--out", out, "--config", tmp_path / "export.yaml"),
        *("--budget-ms", 1, "--most-cost", 0),
    )
    assert said.code == 1
    assert "None of 2 candidates keeps it. The fastest is half (pruned): 4.00 ms" in said.out
    assert {path: path.stat().st_mtime_ns for path in out.glob("*/measured.json")} == done_at
    enough = compress(run, config.model_copy(update={"budget_ms": 11.0}), out)
    assert (enough.chosen, enough.rows, enough.cost.value) == ("champion", (), 0.0)
    assert enough.words.endswith("there is nothing to compress.")


def test_a_run_that_is_none_is_refused(tmp_path: Path):
    """Before anything is written."""
    with pytest.raises(TrainingError, match="no finished run here"):
        compress(tmp_path, CompressConfig(budget_ms=1.0), tmp_path / "out")
    assert not (tmp_path / "out").exists()

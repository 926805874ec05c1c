"""Models compared on a product: ranked without the test split, resumed, failures as rows."""

import csv
import warnings
from pathlib import Path

import pytest

with warnings.catch_warnings():  # timm and Anomalib warn of their own imports
    warnings.simplefilter("ignore")
    import anomalib.models  # noqa: F401

from inspection.bench.ours import OPEN_LIMITS
from inspection.bench.redness import gate_of
from inspection.core.config import load_config
from inspection.core.errors import DatasetError
from inspection.core.records import Interval, Split, read_manifest, read_record, write_record
from inspection.core.settings import TrainConfig
from inspection.report.charts import Point, draw_pareto
from inspection.retraining import tune as tuning
from inspection.retraining.candidates import Candidate, TuneConfig
from inspection.retraining.race import Took
from inspection.retraining.tune import Measured, Row, TuneReport, explain, rank, recommend, tune
from tests.bench.libraries import quiet
from tests.retraining.tune_stand_in import break_down, die
from tests.training.tiny import EXPORT, tiny_config, write_manifest

SMALL, LARGE = tiny_config(bank_size=32), tiny_config(bank_size=96)
UNKNOWN = TrainConfig(model="Nosuch")


def config(latency_ms: float = 1e4, **candidates: TrainConfig) -> TuneConfig:
    """Candidates by name, with no limit of the gate: their weights are random."""
    return TuneConfig(
        latency_ms=latency_ms,
        export=EXPORT.model_copy(update={"gate": OPEN_LIMITS}),
        candidates=tuple(Candidate(name=name, train=one) for name, one in candidates.items()),
    )


def sure(value: float, reach: float = 0.0) -> Interval:
    return Interval(value=value, low=value - reach, high=value + reach)


def measured(auroc: float, reach: float = 0.0) -> Measured:
    """What a candidate showed."""
    return Measured(
        auroc=sure(auroc, reach),
        recall=sure(0.9),
        aupro=sure(0.8),
        megabytes=2.0,
        precision="INT8",
        normals=9,
        defects=18,
    )


def ranked(failed: tuple[str, ...] = (), **shown: tuple[float, float]) -> tuple[Row, ...]:
    """Rank candidates by their AUROC and median, and some that failed."""
    times = {
        name: Took(p50_ms=sure(p50_ms, 0.5), p95_ms=2 * p50_ms)
        for name, (_, p50_ms) in shown.items()
    }
    found = {name: measured(auroc) for name, (auroc, _) in shown.items()}
    return rank(found | dict.fromkeys(failed, "no weights"), times)


@pytest.fixture
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.delenv("INSPECTION_WEIGHTS", raising=False)
    monkeypatch.setenv("INSPECTION_SIGNING_KEY", str(tmp_path / "signing.key"))
    monkeypatch.setattr("inspection.export.evidence.TIMED_RUNS", 5)
    monkeypatch.setattr("inspection.export.evidence.WARM_RUNS", 1)


@quiet
@pytest.mark.usefixtures("_alone")
def test_candidates_are_compared_once_and_the_best_alone_is_gated(tmp_path: Path, monkeypatch):
    """A failing one is a row; another call trains only what is new; the others saw no test part."""
    manifest = write_manifest(tmp_path / "set", fit=8, calibrate=9)
    first = tune(config(small=SMALL, unknown=UNKNOWN), manifest, tmp_path / "out")
    assert [(row.name, row.best) for row in first.rows] == [("small", True), ("unknown", False)]
    assert first.rows[1].failed.startswith("model: 'Nosuch' is no Anomalib image model")
    assert first.recommended == "small"
    assert (first.rows[0].measured.normals, first.rows[0].measured.defects) == (9, 18)
    (before,) = (tmp_path / "out").glob("small-*/measured.json")
    done_at = before.stat().st_mtime_ns
    report = tune(config(small=SMALL, large=LARGE), manifest, tmp_path / "out")
    assert before.stat().st_mtime_ns == done_at
    assert {row.name: row.measured for row in report.rows}["small"] == first.rows[0].measured
    assert read_record(tmp_path / "out" / "tune.json", TuneReport) == report
    gates = [path.parent.parent.name for path in (tmp_path / "out").glob("*/bundle/gate.json")]
    assert {name.rpartition("-")[0] for name in gates} == {"small", report.recommended}
    assert report.gate.evidence == "test defects"
    with (tmp_path / "out" / "tune.csv").open(newline="") as stream:
        assert [row["name"] for row in csv.DictReader(stream)] == [row.name for row in report.rows]
    assert (tmp_path / "out" / "pareto.svg").read_text().startswith("<svg xmlns=")


@pytest.mark.usefixtures("_alone")
def test_a_set_without_calibrate_parts_is_refused(tmp_path: Path):
    """Without held-out normals there is nothing to choose on."""
    manifest = write_manifest(tmp_path / "set", fit=3, calibrate=1)
    data = read_manifest(manifest)
    kept = tuple(entry for entry in data.entries if entry.split is not Split.CALIBRATE)
    write_record(manifest, data.model_copy(update={"entries": kept}))
    with pytest.raises(DatasetError, match="split 'calibrate' is empty"):
        tune(config(small=SMALL), manifest, tmp_path / "out")


@pytest.mark.parametrize(
    ("work", "why"),
    [
        (die, "candidate 'one': its process died; most likely memory was short"),
        (break_down, "RuntimeError: no such kernel"),
    ],
    ids=["killed", "broken"],
)
@pytest.mark.usefixtures("_alone")
def test_a_candidate_that_dies_or_breaks_down_is_a_row(tmp_path: Path, monkeypatch, work, why):
    """Each has a process of its own, so the others and the report go on."""
    manifest = write_manifest(tmp_path / "set", fit=3, calibrate=2)
    monkeypatch.setattr(tuning, "make", work)
    report = tune(config(one=SMALL), manifest, tmp_path / "out")
    assert why in report.rows[0].failed
    assert report.words.startswith("Nothing can be recommended: every candidate failed")


def test_the_most_accurate_stand_first_and_what_another_beats_is_marked():
    """Slower and no more accurate than another is not the best of anything."""
    shown = {"slow": (0.9, 9), "quick": (0.8, 1), "beaten": (0.7, 2), "later": (0.9, 12)}
    rows = ranked(("broken",), **shown)
    assert [(row.name, row.best) for row in rows] == [
        *(("slow", True), ("later", False), ("quick", True)),
        *(("beaten", False), ("broken", False)),
    ]
    assert rows[-1].failed == "no weights"


def test_of_two_alike_in_both_neither_beats_the_other():
    rows = ranked(one=(0.9, 5), other=(0.9, 5), less=(0.8, 5))
    assert [(row.name, row.best) for row in rows] == [
        *(("one", True), ("other", True), ("less", False)),
    ]


def test_what_is_no_number_is_refused_before_it_is_ranked():
    with pytest.raises(ValueError, match="finite"):
        sure(float("nan"))


@pytest.mark.parametrize(
    ("budget_ms", "wanted"), [(10, "slow"), (9, "slow"), (8, "quick"), (0.5, None)], ids=str
)
def test_the_most_accurate_within_the_budget_is_recommended(budget_ms, wanted):
    chosen = recommend(ranked(("broken",), slow=(0.9, 9), quick=(0.8, 1)), budget_ms)
    assert (chosen and chosen.name) == wanted


def test_where_nothing_keeps_the_budget_it_says_what_was_found():
    rows = ranked(slow=(0.9, 9), quick=(0.8, 4))
    assert explain(rows, None, 2, None) == (
        "Nothing can be recommended: the fastest takes 4.0 ms, the budget is 2 ms. Try smaller "
        "inputs or banks, or allow more."
    )
    assert "every candidate failed" in explain(ranked(("one",)), None, 2, None)


@pytest.mark.parametrize(("budget_ms", "close"), [(9.4, True), (9.6, False)], ids=["near", "far"])
def test_a_median_that_may_lie_beyond_the_budget_is_said(budget_ms, close):
    """9 ms, 8.5 to 9.5."""
    rows = ranked(slow=(0.9, 9))
    words = explain(rows, rows[0], budget_ms, gate_of("b" * 64))
    assert "at 9.0 ms per part (median, 8.5 to 9.5)." in words
    assert ("reaches beyond the budget: time it again" in words) == close


def test_the_plot_names_every_model_and_marks_the_chosen():
    """Every name stands in the picture, and the file can be opened by itself."""
    points = [
        Point("quick", 1, sure(0.8, 0.05), best=True, chosen=False),
        Point("slow", 9, sure(0.9), best=True, chosen=True),
    ]
    drawn = draw_pareto(points, 10.0)
    assert drawn.startswith('<svg xmlns="http://www.w3.org/2000/svg"')
    assert ">quick<" in drawn
    assert ">slow<" in drawn


def test_the_configuration_that_ships_is_sound():
    """Four to six candidates, each of its own name, all of weights that the project knows."""
    shipped = load_config(Path(__file__).parents[2] / "configs" / "tune.yaml", TuneConfig)
    assert len(shipped.candidates) == 6
    assert {one.train.backbone.name for one in shipped.candidates} == {"mobilenetv2_100"}


def test_a_name_may_stand_once(tmp_path: Path):
    """Two candidates of one name would share a row."""
    with pytest.raises(ValueError, match="'a' stands twice; wanted each name once"):
        TuneConfig(candidates=(Candidate(name="a"), Candidate(name="a")))

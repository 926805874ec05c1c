"""Models compared on a product: ranked without the test split, resumed, failures as rows."""

import csv
import warnings
from collections.abc import Iterable
from pathlib import Path

import pytest

with warnings.catch_warnings():  # timm and Anomalib warn of their own imports
    warnings.simplefilter("ignore")
    import anomalib.models  # noqa: F401

from inspection.bench.ours import OPEN_LIMITS
from inspection.bench.redness import gate_of
from inspection.bundles.seal import verify_bundle, write_gate
from inspection.core.config import load_config
from inspection.core.errors import DatasetError
from inspection.core.records import Split, read_manifest, read_record, write_record
from inspection.core.settings import TrainConfig
from inspection.report.charts import Point, draw_pareto
from inspection.retraining import tune as tuning
from inspection.retraining.candidates import Candidate, TuneConfig
from inspection.retraining.tune import TuneReport, tune
from tests.bench.libraries import quiet
from tests.command import Said, inspection
from tests.retraining.test_ranking import sure
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


@pytest.fixture
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.delenv("INSPECTION_WEIGHTS", raising=False)
    monkeypatch.setenv("INSPECTION_KEYS", str(tmp_path / "keys"))
    monkeypatch.setattr("inspection.export.evidence.TIMED_RUNS", 5)
    monkeypatch.setattr("inspection.export.evidence.WARM_RUNS", 1)


@quiet
@pytest.mark.usefixtures("_alone")
def test_candidates_are_compared_once_and_gated_until_one_passes(tmp_path: Path):
    """A failing one is a row; another call trains only what is new; the others saw no test part."""
    manifest = write_manifest(tmp_path / "set", fit=8, calibrate=9)
    given = config(small=SMALL, unknown=UNKNOWN, resnet=shipped()["patchcore-resnet18"])
    first = tune(given, manifest, tmp_path / "out")
    assert [(row.name, row.best) for row in first.rows] == [
        *(("small", True), ("unknown", False), ("resnet", False)),
    ]
    assert first.rows[1].failed.startswith("model: 'Nosuch' is no Anomalib image model")
    assert first.rows[2].failed.startswith("resnet18: no weights found; looked at backbone.weights")
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
    other = {"small": "large", "large": "small"}[report.recommended]
    for refused, recommended, code in (
        ({report.recommended}, other, 0),
        ({report.recommended, other}, None, 1),
    ):
        refuse(tmp_path / "out", refused)
        said = ask(tmp_path, manifest)
        table = {line.split()[0]: line.split()[-1] for line in said.out.splitlines()[1:3]}
        assert (said.code, {name for name, mark in table.items() if mark == "refused"}) == (
            *(code, refused),
        )
        assert f"{report.recommended} refused: recall 0.2" in said.out
        found = read_record(tmp_path / "out" / "tune.json", TuneReport)
        assert found.recommended == recommended
        assert {row.name for row in found.rows if row.refused} == refused
        assert (found.gate is None) == (recommended is None)


def refuse(out: Path, names: Iterable[str]) -> None:
    """Let the gates of candidates have refused them."""
    for name in names:
        (bundle,) = out.glob(f"{name}-*/bundle")
        write_gate(bundle, gate_of(verify_bundle(bundle), passed=False))


def ask(folder: Path, manifest: Path) -> Said:
    """Compare the two that were made, by the command."""
    write_record(folder / "tune.yaml", config(small=SMALL, large=LARGE))  # JSON is YAML
    return inspection("tune", folder / "tune.yaml", "--data", manifest, "--out", folder / "out")


def shipped() -> dict[str, TrainConfig]:
    """Read the candidates that ship, by name."""
    read = load_config(Path(__file__).parents[2] / "configs" / "tune.yaml", TuneConfig)
    return {one.name: one.train for one in read.candidates}


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
    write_record(tmp_path / "tune.yaml", config(one=SMALL))
    said = inspection("tune", tmp_path / "tune.yaml", "--data", manifest, "--out", tmp_path / "out")
    assert (said.code, why in said.out) == (3, True)


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
    """Each of its own name; those on weights that are not at hand leave others."""
    backbones = [one.backbone.name for one in shipped().values()]
    assert len(backbones) == 7
    assert set(backbones) == {"formulanet", "mobilenetv2_100", "resnet18"}


def test_a_name_may_stand_once(tmp_path: Path):
    """Two candidates of one name would share a row."""
    with pytest.raises(ValueError, match="'a' stands twice; wanted each name once"):
        TuneConfig(candidates=(Candidate(name="a"), Candidate(name="a")))

"""From a folder of parts to verdicts and a report, by the command line, as a user goes."""

import json
import shutil
import sqlite3
from pathlib import Path

import pytest

from inspection.bundles.bundle import open_bundle
from inspection.core.decision import Verdict, decide
from inspection.core.gate import GateRecord
from inspection.core.imaging import load_image
from inspection.core.records import Card, RunRecord, read_record
from inspection.station.spool import SpoolReader
from tests.command import done, inspection
from tests.end_to_end.conftest import Line
from tests.end_to_end.settings import EXPORT, PADIM, STATION, STFPM

pytestmark = pytest.mark.usefixtures("alone")


def test_patchcore_goes_from_folder_to_gated_bundle(line: Line):
    """Run, bundle and gate hold what their records say; random weights are named in the card."""
    run = read_record(line.run / "run.json", RunRecord)
    assert (run.config.model, run.config.patchcore.bank_size) == ("Patchcore", 64)
    bundle = open_bundle(line.bundle)
    assert bundle.card.weights[0].source == "random"
    assert "RANDOM WEIGHTS" in done("bundle", "show", line.bundle).out
    assert bundle.gate is not None
    assert (bundle.gate.passed, len(bundle.gate.rows)) == (True, 20)
    said = done("bundle", "verify", line.bundle)
    assert said.out.startswith(bundle.bundle_id)
    assert said.out.count("reproduced") == 4  # two of them golden defects


def test_judge_says_what_the_bundle_says(line: Line, tmp_path: Path):
    """Verdict and score on the command line are those of the open bundle; overlays are pictures."""
    parts = sorted((line.images / "test").rglob("*.png"))[::4]
    said = done("judge", line.bundle, *parts, "--overlay", tmp_path / "o", "--json")
    found = json.loads(said.out)
    bundle = open_bundle(line.bundle)
    assert found["bundle_id"] == bundle.bundle_id
    for part, judged in zip(parts, found["parts"], strict=True):
        judgement = bundle.judge(load_image(part))
        assert judged["verdict"] == judgement.verdict == decide(judged["score"], bundle.card.band)
        assert judged["score"] == pytest.approx(judgement.score)
        assert len(judged["regions"]) == len(judgement.regions)
        assert load_image(Path(judged["overlay"])).shape[1] >= 480
    text = done("judge", line.bundle, *parts).out
    assert "RANDOM WEIGHTS, verdicts mean nothing on real parts" in text
    assert text.splitlines()[-1].endswith("0 FAULT")


def test_station_records_one_event_per_file_and_says_it_once(line: Line, tmp_path: Path):
    """Each file gets one JSON line with the verdict of judge; a second run adds none."""
    source = tmp_path / "in"
    shutil.copytree(line.images / "test", source)
    config = tmp_path / "station.yaml"
    config.write_text(STATION.format(bundle=line.bundle, source=source, data_dir=tmp_path / "data"))
    events = [json.loads(text) for text in done("station", "run", config).out.splitlines()]
    assert sorted(event["frames"][0]["source"] for event in events) == sorted(
        path.relative_to(source).as_posix() for path in source.rglob("*.png")
    )
    bundle = open_bundle(line.bundle)
    for event in events:
        [frame] = event["frames"]
        assert event["verdict"] == bundle.judge(load_image(source / frame["source"])).verdict
    with sqlite3.connect(tmp_path / "data" / "events.sqlite") as spool:
        tables = [name for (name,) in spool.execute("SELECT name FROM sqlite_master")]
    spool.close()
    assert tables
    again = done("station", "run", config, "--once")
    assert again.out == ""
    assert "0 FAULT" in again.err


def test_report_is_one_page_that_names_the_bundle(line: Line, tmp_path: Path):
    """The page stands alone: it names the bundle's id and loads nothing from elsewhere."""
    page = tmp_path / "report.html"
    assert done("report", line.bundle, "--out", page).out == f"{page}\n"
    text = page.read_text()
    assert open_bundle(line.bundle).bundle_id in text
    assert 'src="http' not in text


def test_results_are_json_on_request(line: Line, tmp_path: Path):
    """--json of show, list, verify, gate and report is JSON and nothing else."""
    shown = json.loads(done("bundle", "show", line.bundle, "--json").out)
    assert Card.model_validate(shown["card"]) == open_bundle(line.bundle).card
    listed = json.loads(done("bundle", "list", line.bundle.parent, "--json").out)
    assert [(one["name"], one["state"]) for one in listed] == [("bundle", "passed")]
    assert json.loads(done("bundle", "verify", line.bundle, "--json").out)["bundle_id"]
    copy = shutil.copytree(line.bundle, tmp_path / "copy")
    gated = GateRecord.model_validate_json(done("gate", copy, "--json").out)
    assert gated.bundle_id == shown["bundle_id"]
    page = json.loads(
        done("report", copy, "--out", tmp_path / "r.html", "--no-images", "--json").out
    )
    assert page == {"report": str(tmp_path / "r.html")}


@pytest.mark.parametrize("model", [STFPM, PADIM], ids=["STFPM", "a generic model"])
def test_other_models_go_the_same_way(model: str, manifest: Path, tmp_path: Path):
    """STFPM and a model by its Anomalib name train, export, pass the gate and judge alike."""
    config, export = tmp_path / "train.yaml", tmp_path / "export.yaml"
    config.write_text(model)
    export.write_text(EXPORT)
    done("train", config, "--data", manifest, "--out", tmp_path / "run")
    done("export", tmp_path / "run", "--out", tmp_path / "bundle", "--config", export)
    said = inspection("gate", tmp_path / "bundle")
    assert said.code == 0, said.out
    part = manifest.parent / "set" / "test" / "stain" / "000.png"
    judged = json.loads(done("judge", tmp_path / "bundle", part, "--json").out)["parts"]
    assert Verdict(judged[0]["verdict"]) is not Verdict.FAULT


def test_a_refused_bundle_is_shown_and_not_opened(line: Line, tmp_path: Path):
    """The gate ends with 1 and the numbers; judge and station refuse; show and a desk may look."""
    export, bundle = tmp_path / "export.yaml", tmp_path / "bundle"
    export.write_text(EXPORT.replace("feature_correlation: 0.9", "feature_correlation: 1.0"))
    done("export", line.run, "--out", bundle, "--config", export)
    never = inspection("judge", bundle, line.images / "test/stain/000.png")
    assert (never.code, "was never put to the gate" in never.err) == (1, True)
    refused = inspection("gate", bundle)
    assert refused.code == 1
    assert "REFUSED" in refused.out
    assert "correlates with FP32 by 0." in refused.out
    judge = inspection("judge", bundle, line.images / "test/stain/000.png")
    assert (judge.code, "the gate refused it" in judge.err) == (1, True)
    done("judge", bundle, line.images / "test/stain/000.png", "--allow-refused")
    assert "REFUSED" in done("bundle", "show", bundle).out
    config = tmp_path / "station.yaml"
    config.write_text(
        STATION.format(bundle=bundle, source=line.images / "test", data_dir=tmp_path / "data")
    )
    assert inspection("station", "run", config).code == 1
    with SpoolReader(tmp_path / "data") as record:
        assert record.after(0) == []

"""A bundle of the first days: a few good parts, no promise, nothing rejected, and it says so."""

import warnings
from pathlib import Path

import numpy as np
import pytest

with warnings.catch_warnings():  # open_clip warns of its own imports
    warnings.simplefilter("ignore")
    pytest.importorskip("open_clip", reason="WinCLIP's extra is not installed")

from inspection.bundles.bundle import open_bundle
from inspection.cli.tables import card_text
from inspection.core.decision import Verdict
from inspection.core.errors import CalibrationMissing
from inspection.core.imaging import load_image
from inspection.core.settings import ExportConfig, GateLimits
from inspection.export.build import export_bundle
from inspection.export.calibrate import guess_band
from inspection.export.gate import gate_bundle
from inspection.report.writer import write_report
from inspection.training.fit import train
from tests.bench.libraries import quiet
from tests.training.tiny import write_manifest
from tests.training.tiny_clip import winclip_config, write_clip

EXPORT = ExportConfig(calibration_images=8, golden_frames=2, gate=GateLimits(auroc_least=0))


@pytest.fixture(scope="module")
def day0(tmp_path_factory: pytest.TempPathFactory, _trainer: None) -> Path:
    """A gated WinCLIP bundle of 3 fit and 4 calibrate parts; read only."""
    folder = tmp_path_factory.mktemp("day0")
    manifest = write_manifest(folder / "set", fit=3, calibrate=4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        train(winclip_config(write_clip(folder / "clip")), manifest, folder / "run")
    export_bundle(folder / "run", EXPORT, folder / "bundle")
    assert gate_bundle(folder / "bundle").passed
    return folder / "bundle"


@quiet
def test_a_station_opens_it_and_it_holds_but_never_rejects(day0: Path):
    """A part above all good ones is REVIEW; the most unlike picture there is, too."""
    bundle = open_bundle(day0)
    assert all(golden.reproduced for golden in bundle.selftest())
    images = day0.parent / "set" / "images"
    judged = [
        bundle.judge(load_image(path)) for path in sorted((images / "train/good").glob("*.png"))
    ]
    held = [one for one in judged if one.verdict is not Verdict.PASS]
    assert len(held) <= 3  # the four it is calibrated on pass
    noise = np.random.default_rng(0).integers(0, 256, (72, 96, 3), dtype=np.uint8)
    found = bundle.judge(noise)
    assert 0 < found.score < 1
    assert found.verdict in {Verdict.REVIEW, Verdict.PASS}
    above = bundle.card.band.model_copy(update={"review_above": found.score / 2})
    tiles = bundle.prepare(noise)
    assert bundle.judge_tiles(tiles, (72, 96), above).verdict is Verdict.REVIEW


@quiet
def test_its_card_and_report_say_that_nothing_is_promised(day0: Path, tmp_path: Path):
    """And which weights judged; INT8 kept its score, and each of its features was compared."""
    bundle = open_bundle(day0)
    assert bundle.card.certificate is None
    assert bundle.card.band.review_above == bundle.card.calibrate_scores[-1]
    assert bundle.card.precision == "INT8, FP32 tail"
    assert set(bundle.gate.feature_correlations) == {
        f"feature.embedding.{name}" for name in ("whole", "patches", "windows_0", "windows_1")
    }
    said = card_text(bundle.card)
    assert "NONE PROMISED: threshold guessed from 4 good parts; it rejects nothing" in said
    assert "weights        clip (file" in said
    page = write_report(day0, tmp_path / "page.html", manifest=day0 / "manifest.json")
    text = page.read_text()
    assert "No false-reject rate is promised." in text
    assert "the threshold is a first guess; nothing is rejected" in text


def test_with_enough_good_parts_it_promises_as_any_other():
    """99 for 1 %; below that the largest score, and no rejects."""
    few = guess_band([0.2, 0.5, 0.3], ExportConfig())
    assert (few.certificate, few.band.review_above, few.band.reject_above) == (None, 0.5, 1.0)
    many = guess_band(list(np.linspace(0.1, 0.5, 99)), ExportConfig())
    assert many.certificate.target == 0.01
    assert many.band.reject_above < 1.0


@pytest.mark.parametrize("scores", [[], [float("nan")], [0.2, 1.5]])
def test_scores_that_are_none_make_no_band(scores):
    """A fault is never a threshold."""
    with pytest.raises(CalibrationMissing, match="are no number from 0 to 1"):
        guess_band(scores, ExportConfig())

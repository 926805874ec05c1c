import shutil
from pathlib import Path

import pytest

from inspection.bench import choose
from inspection.bench.choose import Options, Scored, list_candidates
from inspection.bench.frame import BenchReport
from inspection.core.errors import ConfigError, DatasetError
from inspection.core.geometry import Geometry
from inspection.core.records import Interval, Manifest, Split, read_record, write_record
from inspection.core.settings import BackboneConfig, TrainConfig
from inspection.data.check import check_dataset
from tests.bench.libraries import quiet
from tests.synthetic import write_mvtec_tree

pytestmark = quiet
BASE = TrainConfig(
    backbone=BackboneConfig(
        name="test_resnet", layers=("layer2", "layer3"), allow_random_weights=True
    ),
    geometry=Geometry(height_px=64, width_px=96),
)
OPTIONS = Options(
    first_weights=(1.0, 0.5),
    pools=(3,),
    sigmas=(0.0, 1.0),
    defects_per_normal=2,
    bank_size=32,
    candidates=1000,
)


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Give the manifest of a small set."""
    root = write_mvtec_tree(tmp_path / "set", train_good=30)
    path = tmp_path / "manifest.json"
    write_record(path, check_dataset(root).manifest)
    return path


def scored(value: float, sigma: float) -> Scored:
    """Make a candidate with a proxy."""
    config = TrainConfig.model_validate({"score": {"smooth_sigma": sigma}})
    return Scored(config, Interval(value=value, low=0, high=1), 1.0)


def test_choice_is_made_without_the_test_images(manifest: Path, tmp_path: Path):
    """With every test image gone from the disk the choice is made all the same, best first."""
    shutil.rmtree(tmp_path / "set" / "test")
    path = choose.run(tmp_path / "out", manifest=manifest, config=BASE, options=OPTIONS)
    report = read_record(path, BenchReport)
    chosen, _, all_rows = report.tables
    assert len(all_rows.rows) == 2 * 2 * 1 * 2
    proxies = [row[4] for row in all_rows.rows]
    assert proxies == sorted(proxies, reverse=True)
    assert chosen.rows == (all_rows.rows[0],)
    normals = len(read_record(manifest, Manifest).of(Split.CALIBRATE))
    assert report.notes[0].startswith(f"{normals} calibrate normals against {2 * normals} gen")
    assert report.goals == ()


def test_set_without_calibrate_is_refused(manifest: Path, tmp_path: Path):
    """Without held-out normals there is nothing to choose on."""
    known = read_record(manifest, Manifest)
    kept = tuple(entry for entry in known.entries if entry.split is not Split.CALIBRATE)
    write_record(manifest, known.model_copy(update={"entries": kept}))
    with pytest.raises(DatasetError, match="split 'calibrate' is empty"):
        choose.run(tmp_path / "out", manifest=manifest, config=BASE, options=OPTIONS)


def test_other_models_have_no_such_choice(manifest: Path, tmp_path: Path):
    """Pooling and layer weights are PatchCore's alone."""
    config = TrainConfig(model="Stfpm")
    with pytest.raises(ConfigError, match="found Stfpm; wanted Patchcore"):
        choose.run(tmp_path / "out", manifest=manifest, config=config)


def test_largest_proxy_is_chosen_and_of_equals_the_first():
    """The choice follows the proxy alone."""
    first, second, third = scored(0.9, 0.0), scored(0.95, 1.0), scored(0.95, 1.5)
    assert choose.choose([first, second, third]) is second


def test_candidates_are_all_combinations_and_keep_the_rest():
    """Two normalisations × three weights × two poolings by default, on the given backbone."""
    candidates = list_candidates(BASE, Options())
    keys = {(c.backbone.normalise, c.patchcore.layer_weights, c.patchcore.pool) for c in candidates}
    assert len(candidates) == len(keys) == 12
    assert ("per_image", (0.7, 1.0), 5) in keys
    assert {(c.backbone.name, c.geometry, c.patchcore.bank_size) for c in candidates} == {
        ("test_resnet", BASE.geometry, 2_048)
    }

"""The run folder: whole or absent, reproducible from its record, true to the geometry."""

import signal
from pathlib import Path

import numpy as np
import openvino
import pytest
import timm
import torch
from safetensors.numpy import load_file
from safetensors.torch import save_file

from inspection.bundles.graph import openvino_core
from inspection.bundles.saving import load_arrays
from inspection.core.errors import DatasetError, InspectionError, TrainingError
from inspection.core.geometry import Geometry, Roi, judged_tile_cells
from inspection.core.parts import FitTiles
from inspection.core.records import (
    Manifest,
    RunRecord,
    Split,
    hash_file,
    read_manifest,
    read_record,
    write_record,
)
from inspection.core.settings import BackboneConfig, PatchcoreConfig, TrainConfig
from inspection.training.fit import train
from inspection.training.frames import FitData
from inspection.training.models import build_model, input_norm
from inspection.training.patchcore import BankPatchcore
from inspection.training.weights import declared_weights
from tests.training.tiny import SIZE_HW, tiny_config

ROWS = 16  # of cells of layer1 at 64 px


def bank_of(run: Path) -> list[tuple[int, int]]:
    """Give (tile, cell) of each vector of a run's bank."""
    stored = load_arrays(run / "bank.npz")
    return list(zip(stored["tile"].tolist(), stored["cell"].tolist(), strict=True))


@pytest.fixture(scope="module")
def run(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with all defaults that do not cost time."""
    out = tmp_path_factory.mktemp("fit") / "run"
    train(tiny_config(), manifest, out)
    return out


def test_run_folder_is_complete_and_hashed(run: Path, manifest: Path):
    """Export finds everything in one folder, and each file's hash in the record."""
    names = {path.name for path in run.iterdir()}
    assert names == {"run.json", "manifest.json", "graph.xml", "graph.bin", "bank.npz"}
    record = read_record(run / "run.json", RunRecord)
    assert record.files == {name: hash_file(run / name) for name in names - {"run.json"}}
    assert record.manifest_sha256 == read_manifest(manifest).sha256
    assert record.config == tiny_config()
    assert record.graph == "features"
    assert [weights.source for weights in record.weights] == ["random"]
    assert set(record.origin.versions) >= {"anomalib", "torch", "lightning", "timm", "python"}


def test_manifest_of_a_run_still_finds_its_images(run: Path, manifest: Path):
    """The copy in the run folder leads to the same files."""
    assert read_manifest(run / "manifest.json") == read_manifest(manifest)


def test_graph_takes_one_uint8_part_and_names_its_features(run: Path):
    """uint8 1×H×W×3 in, one float32 map per layer out, by name."""
    model = openvino_core().read_model(run / "graph.xml")
    (pixels,) = model.inputs
    assert pixels.any_name == "pixels"
    assert pixels.element_type == openvino.Type.u8
    assert list(pixels.shape) == [1, 64, 96, 3]
    assert [output.any_name for output in model.outputs] == ["feature.layer1", "feature.layer2"]
    assert [list(output.shape)[2:] for output in model.outputs] == [[16, 24], [8, 12]]


def test_same_seed_gives_the_same_bank_and_another_seed_another(
    run: Path, manifest: Path, tmp_path: Path
):
    """A run can be done again from its record."""
    again = read_record(run / "run.json", RunRecord).config
    train(again, manifest, tmp_path / "again")
    train(tiny_config(seed=1), manifest, tmp_path / "other")
    assert bank_of(tmp_path / "again") == bank_of(run)
    assert bank_of(tmp_path / "other") != bank_of(run)


def test_bank_has_the_size_that_was_asked_for_and_no_cell_twice(run: Path):
    """The budget is kept exactly, and every fit part may give to it."""
    bank = bank_of(run)
    assert len(set(bank)) == len(bank) == 96
    assert {tile for tile, _ in bank} == set(range(6))


def test_bank_larger_than_the_candidates_takes_them_all(manifest: Path, tmp_path: Path):
    """A small set gives what it has."""
    train(tiny_config(bank_size=5_000), manifest, tmp_path / "run")
    per_tile = -(-1_000 // 6)
    assert len(bank_of(tmp_path / "run")) == 6 * per_tile


def test_graph_gives_the_features_training_saw(run: Path, manifest: Path, tmp_path: Path):
    """The bank's cells point at the same vectors in torch and in OpenVINO."""
    config = tiny_config()
    tiles = FitTiles(read_manifest(manifest), config.geometry)
    weights = write_state(tmp_path, seed=4)
    backbone = config.backbone.model_copy(update={"weights": str(weights)})
    config = config.model_copy(update={"backbone": backbone})
    train(config, manifest, tmp_path / "run")
    with declared_weights(backbone):
        model = build_model(config, tiles)
    data = FitData(tiles, input_norm(config), batch_size=6, seed=0, shuffle=False)
    with torch.inference_mode():
        image = next(iter(data.train_dataloader())).image
        wanted = [value.numpy() for value in model.model.feature_extractor(image).values()]
    graph = openvino.compile_model(
        tmp_path / "run" / "graph.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    for number in range(6):
        found = graph(tiles[number][None])
        for layer, value in enumerate(wanted):
            np.testing.assert_allclose(found[layer][0], value[number], rtol=1e-3, atol=1e-4)


def write_state(folder: Path, seed: int, name: str = "test_resnet") -> Path:
    """Write a random state with statistics that are not those of birth."""
    torch.manual_seed(seed)
    model = timm.create_model(name, pretrained=False)
    with torch.no_grad():
        model.train()(torch.rand(4, 3, 64, 96))
    path = folder / f"{name}.safetensors"
    save_file({key: value.contiguous() for key, value in model.state_dict().items()}, path)
    return path


def test_weights_of_a_file_stand_in_the_record(manifest: Path, tmp_path: Path):
    """Which bytes judged can be read off the run."""
    path = write_state(tmp_path, seed=2)
    backbone = BackboneConfig(name="test_resnet", layers=("layer1", "layer2"), weights=str(path))
    record = train(tiny_config(backbone=backbone), manifest, tmp_path / "run")
    assert [(w.source, w.sha256) for w in record.weights] == [("file", hash_file(path))]


def test_layer_weights_change_the_bank(run: Path, manifest: Path, tmp_path: Path):
    """A factor on a layer acts before distances, so other cells are chosen."""
    train(tiny_config(layer_weights=(0.0, 1.0)), manifest, tmp_path / "run")
    assert bank_of(tmp_path / "run") != bank_of(run)


LEFT_HALF = ((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0))
GEOMETRIES = {
    "exclude": Geometry(height_px=64, width_px=96, exclude=(LEFT_HALF,)),
    "include": Geometry(height_px=64, width_px=96, include=(LEFT_HALF,)),
    "roi and exclude": Geometry(
        height_px=64,
        width_px=96,
        roi=Roi(top=0.25, left=0.25, bottom=1.0, right=0.75),
        exclude=(LEFT_HALF,),
    ),
    "tiles": Geometry(height_px=64, width_px=96, tile_rows=2, tile_columns=3, exclude=(LEFT_HALF,)),
    "padding": Geometry(height_px=64, width_px=160, aspect="pad"),
}


@pytest.mark.parametrize("name", GEOMETRIES)
def test_cells_that_are_not_judged_never_enter_the_bank(name: str, manifest: Path, tmp_path: Path):
    """ROI, excluded areas, tiles and padding act in the bank as they do in the score."""
    geometry = GEOMETRIES[name]
    train(tiny_config(geometry=geometry), manifest, tmp_path / "run")
    judged = judged_tile_cells(geometry, ROWS, geometry.width_px // 4, SIZE_HW)
    bank = bank_of(tmp_path / "run")
    assert len(bank) == 96
    assert not judged.all()
    for tile, cell in bank:
        assert judged[tile % geometry.tiles].flat[cell], f"tile {tile}, cell {cell}"
    assert max(tile for tile, _ in bank) < 6 * geometry.tiles


def test_tiles_of_every_place_give_to_the_bank(manifest: Path, tmp_path: Path):
    """With tiling, tile numbers run over all parts and all places that are judged."""
    train(tiny_config(geometry=GEOMETRIES["tiles"]), manifest, tmp_path / "run")
    places = {tile % 6 for tile, _ in bank_of(tmp_path / "run")}
    assert places == {1, 2, 4, 5}  # 0 and 3 lie in the left half, which is excluded


def test_nothing_judged_is_refused(manifest: Path, tmp_path: Path):
    """A geometry that excludes the whole part is named, not fitted."""
    whole = ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0))
    geometry = Geometry(height_px=64, width_px=96, exclude=(whole,))
    with pytest.raises(TrainingError, match="no cell is judged; widen include or narrow exclude"):
        train(tiny_config(geometry=geometry), manifest, tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_features_that_are_no_numbers_are_refused(manifest: Path, tmp_path: Path):
    """Weights with a NaN inside never become a bank."""
    path = write_state(tmp_path, seed=2)
    state = {key: torch.from_numpy(value) for key, value in load_file(path).items()}
    state["conv1.0.weight"][0] = torch.nan
    save_file(state, path)
    backbone = BackboneConfig(name="test_resnet", layers=("layer1", "layer2"), weights=str(path))
    with pytest.raises(TrainingError, match="features are not finite"):
        train(tiny_config(backbone=backbone), manifest, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_ctrl_c_in_the_middle_leaves_nothing_and_stays_ctrl_c(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Lightning would exit with code 1 and ignore every further Ctrl-C."""

    def interrupted(*_: object) -> None:
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(BankPatchcore, "training_step", interrupted)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        train(tiny_config(), manifest, tmp_path / "run")
    assert signal.getsignal(signal.SIGINT) is before
    assert list(tmp_path.iterdir()) == []


def test_leftover_of_a_killed_run_is_replaced(manifest: Path, tmp_path: Path):
    """What a power cut left beside the run's place is nobody's run."""
    leftover = tmp_path / ".run.partial"
    leftover.mkdir()
    (leftover / "graph.xml").write_text("half")
    train(tiny_config(bank_size=16), manifest, tmp_path / "run")
    assert {path.name for path in tmp_path.iterdir()} == {"run"}


def test_finished_run_is_never_overwritten(run: Path, manifest: Path):
    """A second training into the same folder is refused before anything is read."""
    before = hash_file(run / "run.json")
    with pytest.raises(InspectionError, match="exists already; name a new folder or remove it"):
        train(tiny_config(), manifest, run)
    assert hash_file(run / "run.json") == before


def changed(manifest: Path, folder: Path, **update: object) -> Path:
    """Write a changed copy of a manifest."""
    record = read_manifest(manifest).model_copy(update=update)
    write_record(folder / "manifest.json", record)
    return folder / "manifest.json"


def test_empty_fit_split_is_refused(manifest: Path, tmp_path: Path):
    """There is nothing to learn from parts that are for other purposes."""
    entries = tuple(e for e in read_manifest(manifest).entries if e.split is not Split.FIT)
    path = changed(manifest, tmp_path, entries=entries)
    with pytest.raises(DatasetError, match="split 'fit' is empty; run inspection dataset split"):
        train(tiny_config(), path, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_changed_image_is_refused_and_leaves_nothing(manifest: Path, tmp_path: Path):
    """Bytes that are not the manifest's do not train."""
    record: Manifest = read_manifest(manifest)
    first = record.of(Split.FIT)[0].model_copy(update={"sha256": "0" * 64})
    entries = tuple(first if e.path == first.path else e for e in record.entries)
    path = changed(manifest, tmp_path, entries=entries)
    with pytest.raises(DatasetError, match=r"000.png: sha256 is .* the manifest says 000000000000"):
        train(tiny_config(), path, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_missing_gpu_is_a_clear_error(manifest: Path, tmp_path: Path):
    """Asking for an accelerator this machine lacks is no traceback."""
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    config = tiny_config().model_copy(update={"accelerator": "gpu"})
    with pytest.raises(TrainingError, match="Patchcore: fitting failed"):
        train(config, manifest, tmp_path / "run")


def test_stfpm_is_reproducible(manifest: Path, tmp_path: Path):
    """The same seed gives the same student to the last bit, another seed another."""
    hashes = []
    for number, seed in enumerate((3, 3, 4)):
        config = TrainConfig(
            model="Stfpm",
            backbone=BackboneConfig(
                name="test_resnet", layers=("layer1", "layer2"), allow_random_weights=True
            ),
            geometry=Geometry(height_px=64, width_px=96),
            patchcore=PatchcoreConfig(),
            epochs=2,
            batch_size=3,
            seed=seed,
            accelerator="cpu",
        )
        record = train(config, manifest, tmp_path / str(number))
        hashes.append(record.files["graph.bin"])
    assert hashes[0] == hashes[1] != hashes[2]

"""Pooling, upsampling and the bank against Anomalib's own PatchCore in torch."""

from pathlib import Path

import numpy as np
import openvino
import pytest

from inspection.bundles.graph import compile_graph, openvino_core
from inspection.core.errors import TrainingError
from inspection.core.parts import FitTiles
from inspection.core.records import RunRecord, read_manifest, read_record
from inspection.export.bank import (
    BankIndex,
    fill_bank,
    fit_correction,
    read_bank_index,
)
from inspection.export.graph import EXACT, Search, add_embedding, add_search
from tests.export.test_graph import feature_graph
from tests.training.tiny import tiny_config

ROUGH = Search(pool=3, layer_weights=(1.0, 1.0), coarse=24, dimensions=0, refine=1, int8=False)
SHAPES = {"fine": (3, 8, 12), "deep": (5, 4, 6), "odd": (2, 3, 5)}


@pytest.mark.usefixtures("_trainer")
@pytest.mark.parametrize("pool", [1, 3, 5])
def test_embedding_is_anomalibs(pool: int):
    """AvgPool2d with its padding counted, then bilinear to the finest layer, as in PatchcoreModel.

    Also for a layer whose size is no whole fraction of the finest.
    """
    import torch
    from anomalib.models.image.patchcore.torch_model import PatchcoreModel

    rng = np.random.default_rng(0)
    features = {
        name: rng.random((1, *shape), dtype=np.float32) for name, shape in SHAPES.items()
    }  # positive: the graph's ReLU lets them through
    search = Search(
        pool=pool, layer_weights=(1.0,) * len(SHAPES), coarse=0, dimensions=0, refine=1, int8=False
    )
    found = compile_graph(add_embedding(feature_graph(SHAPES), search))(list(features.values()))[0]
    pooler = torch.nn.AvgPool2d(pool, 1, pool // 2)
    pooled = {name: pooler(torch.from_numpy(value)) for name, value in features.items()}
    model = PatchcoreModel.__new__(PatchcoreModel)
    torch.nn.Module.__init__(model)
    model.layers = list(SHAPES)
    wanted = model.generate_embedding(pooled).numpy()
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-6)


@pytest.fixture(scope="module")
def fitted(manifest: Path, tmp_path_factory: pytest.TempPathFactory, _trainer: None):
    """A run with trained-like statistics, its tiles, and the torch model that made it."""
    import torch

    from inspection.training.fit import train
    from inspection.training.frames import FitData
    from inspection.training.models import build_model, input_norm
    from inspection.training.weights import declared_weights
    from tests.training.test_fit import write_state

    folder = tmp_path_factory.mktemp("fitted")
    config = tiny_config(layer_weights=(0.5, 1.5))
    backbone = config.backbone.model_copy(update={"weights": str(write_state(folder, seed=4))})
    config = config.model_copy(update={"backbone": backbone})
    train(config, manifest, folder / "run")
    tiles = FitTiles(read_manifest(manifest), config.geometry)
    with declared_weights(backbone):
        model = build_model(config, tiles)
    norm = input_norm(config)
    data = FitData(tiles, norm, batch_size=len(tiles), seed=0, shuffle=False)
    with torch.inference_mode():
        model.training_step(next(iter(data.train_dataloader())))
    model.fit()
    return folder / "run", tiles, model, norm


def embedding_of(run: Path) -> tuple[openvino.Model, BankIndex]:
    """The FP32 embedding graph of a run and its bank index."""
    settings = read_record(run / "run.json", RunRecord).config
    features = openvino_core().read_model(run / "graph.xml")
    weights = settings.patchcore.layer_weights or (1.0, 1.0)
    search = Search(pool=3, layer_weights=weights, coarse=0, dimensions=0, refine=1, int8=False)
    return add_embedding(features, search), read_bank_index(run / "bank.npz")


def test_bank_read_again_is_the_bank_training_chose(fitted):
    """Cell by cell, the graph's vectors are the ones the coreset saw."""
    run, tiles, model, _ = fitted
    embedding, index = embedding_of(run)
    assert np.array_equal(index.tile, model.bank_tile.numpy())
    assert np.array_equal(index.cell, model.bank_cell.numpy())
    bank = fill_bank(embedding, index, tiles)
    np.testing.assert_allclose(bank, model.model.memory_bank.numpy(), rtol=1e-3, atol=1e-3)


def test_bank_parts_are_at_distance_nothing_from_themselves(fitted):
    """A cell that gave a vector to the bank scores zero there in the FP32 graph."""
    run, tiles, _, _ = fitted
    embedding, index = embedding_of(run)
    bank = fill_bank(embedding, index, tiles)
    search = Search(pool=3, layer_weights=(0.5, 1.5), coarse=0, dimensions=0, refine=1, int8=False)
    graph = compile_graph(add_search(embedding, bank, search))
    tile = int(index.tile[0])
    found = graph(tiles[tile][None])[0][0, 0].ravel()
    own = index.cell[index.tile == tile]
    assert found[own].max() < 0.02 * found.max()


def test_bank_is_in_the_order_of_the_index(fitted):
    """Vector i is that of cell i, whatever order the tiles are read in."""
    run, tiles, _, _ = fitted
    embedding, index = embedding_of(run)
    order = np.random.default_rng(0).permutation(len(index.tile))
    bank = fill_bank(embedding, index, tiles)
    turned = fill_bank(embedding, BankIndex(index.tile[order], index.cell[order]), tiles)
    assert np.array_equal(turned, bank[order])


@pytest.mark.parametrize("content", [b"", b"no arrays"], ids=["empty", "text"])
def test_damaged_bank_index_is_refused(tmp_path: Path, content: bytes):
    """A bank index that cannot be read names the file and the remedy."""
    path = tmp_path / "bank.npz"
    path.write_bytes(content)
    with pytest.raises(TrainingError, match=r"bank.npz: no bank index .*; train again"):
        read_bank_index(path)


def test_correction_is_a_line_through_distances_to_other_parts(fitted):
    """The estimate grows with the coarse distance and lies at or below it on average."""
    run, tiles, _, _ = fitted
    embedding, index = embedding_of(run)
    bank = fill_bank(embedding, index, tiles)
    correction = fit_correction(embedding, bank, index, tiles, ROUGH)
    assert correction.slope > 0
    near = np.array([2.0, 4.0, 8.0])
    assert (correction.offset + correction.slope * near <= near * 1.05).all()


def test_correction_without_other_parts_changes_nothing(fitted):
    """A bank of one part gives no honest pair to fit on."""
    run, tiles, _, _ = fitted
    embedding, index = embedding_of(run)
    lonely = BankIndex(np.zeros_like(index.tile), index.cell)
    bank = fill_bank(embedding, lonely, tiles)
    one = FitTiles(tiles.manifest.model_copy(update={"entries": tiles.entries[:1]}), tiles.geometry)
    assert fit_correction(embedding, bank, lonely, one, ROUGH) == EXACT

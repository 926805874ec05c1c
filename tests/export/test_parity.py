"""The same pixels get the same verdict from torch, from the FP32 graph and from the INT8 graph."""

from pathlib import Path

import numpy as np
import pytest

from inspection.bundles.bundle import REFERENCE, map_part, open_bundle
from inspection.bundles.graph import Graph
from inspection.core.decision import decide, part_score
from inspection.core.geometry import prepare
from inspection.core.parts import FitTiles, load_part
from inspection.core.records import Manifest, RunRecord, Split, read_manifest, read_record
from inspection.export.bank import fill_bank, read_bank_index
from tests.export.test_embedding import embedding_of

BORDER = 0.02  # of the threshold: closer to it, two graphs may decide differently


@pytest.fixture(scope="module")
def data(manifest: Path) -> Manifest:
    """The set."""
    return read_manifest(manifest)


@pytest.fixture(scope="module")
def parts(data: Manifest) -> list[np.ndarray]:
    """Every calibrate and test part."""
    splits = (Split.CALIBRATE, Split.TEST)
    return [load_part(data, entry) for split in splits for entry in data.of(split)]


@pytest.fixture(scope="module")
def maps(run: Path, bundle: Path, data: Manifest, parts: list[np.ndarray]):
    """The raw map of every part from each of the three."""
    opened = open_bundle(bundle)
    reference = Graph(bundle / REFERENCE)
    return {
        "torch": torch_maps(run, data, parts),
        "fp32": [map_part(reference, pixels, opened.card.geometry) for pixels in parts],
        "int8": [opened.score_map(pixels) for pixels in parts],
    }, opened.card


def torch_maps(run: Path, data: Manifest, parts: list[np.ndarray]) -> list[np.ndarray]:
    """Score with Anomalib's own PatchcoreModel, the bank of the run in it."""
    import torch

    from inspection.training.models import build_model, input_norm
    from inspection.training.weights import declared_weights

    config = read_record(run / "run.json", RunRecord).config
    tiles = FitTiles(data, config.geometry)
    torch.manual_seed(config.seed)  # gives the run's own random backbone again
    with declared_weights(config.backbone) as log:
        model = build_model(config, tiles, log).model.eval()
    assert tuple(log.loaded) == read_record(run / "run.json", RunRecord).weights
    embedding, _ = embedding_of(run)
    bank = fill_bank(embedding, read_bank_index(run / "bank.npz"), tiles)
    norm = input_norm(config)
    found = []
    with torch.inference_mode():
        for pixels in parts:
            image = norm(torch.from_numpy(prepare(pixels, config.geometry)))
            features = model.feature_extractor(image)
            pooled = {name: model.feature_pooler(value) for name, value in features.items()}
            patches = model.generate_embedding(pooled)  # (1, d, h, w)
            _, depth, height, width = patches.shape
            flat = patches.permute(0, 2, 3, 1).reshape(-1, depth)
            model.memory_bank = torch.from_numpy(bank)
            scores, _ = model.nearest_neighbors(flat, n_neighbors=1)
            found.append(scores.reshape(height, width).numpy())
    return found


def test_maps_agree(maps):
    """Torch and FP32 give the same distances; INT8 gives them within a few per cent."""
    found, _ = maps
    torch_side, fp32, int8 = (np.stack(found[name]) for name in ("torch", "fp32", "int8"))
    scale = fp32.max()
    assert np.abs(torch_side - fp32).max() < 2e-3 * scale
    assert np.abs(int8 - fp32).mean() < 0.04 * scale
    assert (
        np.corrcoef(int8.ravel(), fp32.ravel())[0, 1] > 0.9
    )  # tiny random net, 8 calibration tiles


def test_verdicts_agree(maps):
    """No verdict differs between the three, but within two per cent of a threshold."""
    found, card = maps
    compared = 0
    for number in range(len(found["fp32"])):
        scores = {
            name: part_score(side[number], card.score, card.geometry)
            for name, side in found.items()
        }
        thresholds = (card.band.review_above, card.band.reject_above)
        if min(abs(scores["fp32"] / limit - 1) for limit in thresholds) < BORDER:
            continue
        assert len({decide(score, card.band) for score in scores.values()}) == 1, scores
        compared += 1
    assert compared >= 12

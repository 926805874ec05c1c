"""Our own network: what timm makes of it, and that it learns."""

from pathlib import Path

import pytest
import timm
import torch

from inspection.core.records import hash_file
from inspection.core.settings import BackboneConfig
from inspection.networks.formulanet import COARSE, FINE, LAYERS, NAME
from inspection.pretraining.modelcard import CARD
from inspection.pretraining.settings import BackboneRecipe
from inspection.pretraining.shipping import FILE, make_backbone
from inspection.training.weights import declared_weights

MOST_BYTES = 8_000_000


@pytest.mark.fast
def test_timm_gives_its_two_layers():
    model = timm.create_model(NAME, features_only=True, out_indices=(2, 3))
    assert tuple(model.feature_info.module_name()) == LAYERS
    assert model.feature_info.reduction() == [8, 16]
    with torch.no_grad():
        fine, coarse = model.eval()(torch.rand(2, 3, 96, 64))
    assert (fine.shape, coarse.shape) == ((2, FINE, 12, 8), (2, COARSE, 6, 4))


@pytest.mark.fast
def test_it_is_small_enough_to_ship():
    state = timm.create_model(NAME).state_dict().values()
    assert sum(one.numel() * one.element_size() for one in state) <= MOST_BYTES


def test_it_learns_from_a_few_small_pictures_and_timm_loads_it(tmp_path: Path):
    recipe = BackboneRecipe(pictures=384, side_px=64, epochs=3, batch_size=16)
    record = make_backbone(recipe, tmp_path / "weights")
    assert [one.epoch for one in record.laps] == [1, 2, 3]
    assert record.laps[-1].fine > max(0.03, record.laps[0].fine)
    assert record.laps[-1].coarse > record.laps[0].coarse
    file = tmp_path / "weights" / FILE
    assert (record.file, record.sha256) == (FILE, hash_file(file))
    card = (tmp_path / "weights" / CARD).read_text()
    assert all(told in card for told in (record.sha256, "Apache-2.0", "## Known limits"))
    named = BackboneConfig(name=NAME, layers=LAYERS, weights=str(file))
    with declared_weights(named) as log:
        timm.create_model(NAME, pretrained=True, features_only=True, out_indices=(2, 3))
    assert [one.sha256 for one in log.loaded] == [record.sha256]

"""What is tried, in which order, and what each rung changes."""

import pytest

from inspection.compression.ladder import lay_ladder
from inspection.core.geometry import Geometry
from inspection.core.settings import BackboneConfig, ExportConfig, PatchcoreConfig, TrainConfig

pytestmark = pytest.mark.fast

EXPORT = ExportConfig(false_reject_rate=0.05)
CHAMPION = TrainConfig(
    backbone=BackboneConfig(
        name="mobilenetv2_100", layers=("blocks.2", "blocks.4"), normalise="per_image"
    ),
    patchcore=PatchcoreConfig(layer_weights=(0.5, 1.0), pool=5),
)


def names(config: TrainConfig, layers=("fine", "coarse")) -> list[str]:
    """Name the rungs."""
    return [rung.name for rung in lay_ladder(config, layers, EXPORT)]


def inputs(config: TrainConfig, layers: tuple[str, ...]) -> list[tuple[int, int]]:
    """Give the sizes of rungs that change the input alone."""
    rungs = [one for one in lay_ladder(config, layers, EXPORT) if one.name[:5] == "input"]
    own = [one.train.geometry for one in rungs if not one.name.endswith("-bank")]
    return [(one.height_px, one.width_px) for one in own]


def test_the_cheapest_to_make_come_first_and_students_are_timed_before_they_are_taught():
    """No training, then a fit, then minutes of teaching."""
    assert names(CHAMPION) == [
        *("search", "bank", "cut", "input-75", "input-75-bank", "input-62", "input-62-bank"),
        *("input-56", "input-56-bank", "input-50", "input-50-bank"),
        *("formulanet-100", "formulanet-75", "formulanet_050-100", "formulanet_050-75"),
        *("formulanet-100-taught", "formulanet-75-taught"),
        *("formulanet_050-100-taught", "formulanet_050-75-taught"),
    ]
    rungs = {rung.name: rung for rung in lay_ladder(CHAMPION, ("fine", "coarse"), EXPORT)}
    for name, rung in rungs.items():
        assert rung.taught == name.endswith("-taught")
        assert rung.after == (name.removesuffix("-taught") if rung.taught else None)
        assert rung.student == (rung.taught or name.startswith("formulanet_050"))
    assert rungs["formulanet-75-taught"].unless == "formulanet-100"
    assert rungs["formulanet-100-taught"].unless is None


def test_a_rung_changes_what_it_says_and_keeps_the_rest():
    """Students learn features already weighed; smoothing keeps its reach on the part."""
    rungs = {rung.name: rung for rung in lay_ladder(CHAMPION, ("fine", "coarse"), EXPORT)}
    assert {rung.export.false_reject_rate for rung in rungs.values()} == {0.05}
    assert (rungs["search"].train, rungs["search"].bank) == (None, None)
    assert rungs["search"].export.coarse_bank < EXPORT.coarse_bank
    assert (rungs["bank"].train, rungs["bank"].bank) == (None, 2_048)
    cut = rungs["cut"].train
    assert (cut.backbone.layers, cut.patchcore.layer_weights) == (("blocks.2",), (0.5,))
    small = rungs["input-75"].train
    assert (small.geometry.height_px, small.geometry.width_px) == (192, 192)
    assert small.score.smooth_sigma == pytest.approx(0.75)
    assert small.backbone == CHAMPION.backbone
    assert rungs["input-75-bank"].train.patchcore.bank_size == 2_048
    assert rungs["input-75-bank"].unless == "input-75", "a bank that fits need not shrink"
    student = rungs["formulanet_050-75-taught"].train
    assert student.backbone.name == "formulanet_050"
    assert (student.backbone.normalise, student.patchcore.layer_weights) == ("per_image", None)
    assert (student.geometry.height_px, student.patchcore.pool) == (192, 5)


@pytest.mark.parametrize(
    ("config", "layers", "wanted", "absent"),
    [
        (TrainConfig(), ("fine", "coarse"), "formulanet_050-100-taught", "formulanet-100"),
        (
            TrainConfig(backbone=BackboneConfig(name="formulanet_050")),
            ("fine", "coarse"),
            "input-75",
            "formulanet_050-100",
        ),
        (TrainConfig(model="Stfpm"), (), "input-50", "search"),
        (
            TrainConfig(patchcore=PatchcoreConfig(bank_size=2_048)),
            ("fine",),
            "search",
            "bank",
        ),
        (
            TrainConfig(backbone=BackboneConfig(layers=("fine",))),
            ("fine",),
            "input-75",
            "cut",
        ),
        (
            TrainConfig(geometry=Geometry(height_px=64, width_px=64)),
            ("fine", "coarse"),
            "input-75",
            "input-50",
        ),
        (
            TrainConfig(geometry=Geometry(height_px=32, width_px=96)),
            ("fine", "coarse"),
            "cut",
            "input-75",
        ),
    ],
    ids=[
        "formulanet",
        "half",
        "no-patchcore",
        "small-bank",
        "one-layer",
        "same-size",
        "small-input",
    ],
)
def test_what_cannot_make_it_faster_is_left_out(config, layers, wanted, absent):
    """A student is narrower than its champion; no input goes below the least there is."""
    assert wanted in names(config, layers)
    assert len(sizes := inputs(config, layers)) == len(set(sizes)), "each size once"
    assert absent not in names(config, layers)

"""The configuration models: defaults hold, limits are told."""

import pytest

from inspection.core.config import parse_config
from inspection.core.errors import ConfigError
from inspection.core.settings import ExportConfig, TrainConfig

pytestmark = pytest.mark.fast


def test_train_defaults_are_the_measured_patchcore():
    """All defaults: PatchCore on our backbone, two layers, a bank of 10,000, 256×256, no tiles."""
    config = TrainConfig()
    assert (config.model, config.backbone.name) == ("Patchcore", "formulanet")
    assert config.backbone.layers == ("fine", "coarse")
    assert config.patchcore.bank_size == 10_000
    assert (config.geometry.height_px, config.geometry.width_px, config.geometry.tiles) == (
        256,
        256,
        1,
    )
    assert config.backbone.allow_random_weights is False


def test_export_defaults_are_int8_with_one_percent_false_rejects():
    """All defaults: INT8 and a promised false-reject rate of 1 %."""
    config = ExportConfig()
    assert (config.precision, config.false_reject_rate) == ("int8", 0.01)


REFUSED = {
    "random weights by a text": ("backbone: {allow_random_weights: 'yes'}", "valid boolean"),
    "random weights by a number": ("backbone: {allow_random_weights: 1}", "valid boolean"),
    "even pool": ("patchcore: {pool: 2}", "Input should be 1, 3 or 5"),
    "no layers": ("backbone: {layers: []}", "at least 1 item"),
    "tiny input": ("geometry: {height_px: 16}", "greater than or equal to 32"),
    "polygon of two points": (
        "geometry: {include: [[[0, 0], [1, 1]]]}",
        "a polygon needs three points",
    ),
    "polygon in px": (
        "geometry: {exclude: [[[0, 0], [40, 0], [40, 30]]]}",
        "fractions of width and height, 0 to 1",
    ),
    "ROI upside down": ("geometry: {roi: {top: 0.5, bottom: 0.4}}", "top must lie above bottom"),
    "ROI without width": ("geometry: {roi: {left: 0.5, right: 0.5}}", "left before right"),
}


@pytest.mark.parametrize(("text", "message"), REFUSED.values(), ids=REFUSED)
def test_impossible_training_is_refused(text, message):
    """A value outside its range is refused in the words of the range."""
    with pytest.raises(ConfigError, match=message):
        parse_config(text, TrainConfig, "train.yaml")


@pytest.mark.parametrize("rate", ["0", "0.5", "1", "-0.1"])
def test_false_reject_rate_that_promises_nothing_is_refused(rate):
    """The promised false-reject rate lies strictly between 0 and one half."""
    with pytest.raises(ConfigError, match=r"export\.yaml:1: false_reject_rate: .* than 0"):
        parse_config(f"false_reject_rate: {rate}", ExportConfig, "export.yaml")

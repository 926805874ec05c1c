"""Stock Anomalib 2.7 as it comes: what the other lanes race against. Nothing of ours is in it.

Its pre-processor, model and post-processor are converted from the torch module at batch 1, because
its own ONNX export is frozen at batch 2. Bank and images are random: latency does not depend on
them.
"""

import contextlib
import logging
import sys
import warnings
from collections.abc import Sequence

import nncf
import numpy as np
import openvino
import torch
from anomalib.models import Patchcore, Stfpm
from anomalib.models.components import AnomalibModule
from anomalib.models.components.sampling import KCenterGreedy
from torch import Tensor, nn

SIDE_PX = 256  # Anomalib's own input size
PTQ_IMAGES = 16
NORMALISATION = {  # without them its post-processor gives NaN or warns at every call
    "_image_threshold": 0.5,
    "_pixel_threshold": 0.5,
    "image_min": 0.0,
    "image_max": 1.0,
    "pixel_min": 0.0,
    "pixel_max": 1.0,
}


class StockGraph(nn.Module):
    """Anomalib's pre-processor, model and post-processor, as its inferencer runs them."""

    def __init__(self, model: AnomalibModule) -> None:
        super().__init__()
        self.before, self.model, self.after = model.pre_processor, model.model, model.post_processor

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Judge float32 1×3×H×W in [0, 1]; gives all that the post-processor gives."""
        batch = self.after(self.model(self.before(image)))
        return tuple(value for value in batch._asdict().values() if value is not None)


def stock_patchcore(backbone: str, layers: Sequence[str], bank_size: int) -> openvino.Model:
    """Convert Anomalib's PatchCore with a random bank; its backbone's weights are random too."""
    model = Patchcore(backbone=backbone, layers=list(layers), pre_trained=False).eval()
    depth = sum(model.model.feature_extractor.out_dims)
    model.model.memory_bank = torch.rand(bank_size, depth)
    return _converted(model)


def stock_stfpm(backbone: str, layers: Sequence[str]) -> openvino.Model:
    """Convert Anomalib's STFPM; its teacher's weights must be declared by the caller."""
    return _converted(Stfpm(backbone=backbone, layers=list(layers)).eval())


def quantise_stock(model: openvino.Model) -> openvino.Model:
    """Quantise the whole graph by NNCF's defaults, as Anomalib's INT8_PTQ means to."""
    images = [random_image(seed) for seed in range(PTQ_IMAGES)]
    logging.getLogger("nncf").setLevel(logging.ERROR)
    with contextlib.redirect_stdout(sys.stderr):  # its progress bar must not stand among results
        return nncf.quantize(model, nncf.Dataset(images), subset_size=len(images))


def stock_coreset(points: Tensor, size: int, seed: int) -> Tensor:
    """Select `size` rows of float32 (n, d) by Anomalib's own k-center greedy; int64 (size,)."""
    torch.manual_seed(seed)
    greedy = KCenterGreedy(embedding=points, sampling_ratio=(size + 0.5) / len(points))
    greedy.model.random_state = seed  # of its projection, which torch's seed does not reach
    return torch.tensor(greedy.select_coreset_idxs())


def random_image(seed: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Draw float32 1×3×256×256 in [0, 1], as Anomalib's graphs take them."""
    return np.random.default_rng(seed).random((1, 3, SIDE_PX, SIDE_PX), np.float32)


def _converted(model: AnomalibModule) -> openvino.Model:
    for name, value in NORMALISATION.items():
        if hasattr(model.post_processor, name):
            getattr(model.post_processor, name).fill_(value)
    size = [1, 3, SIDE_PX, SIDE_PX]
    graph = StockGraph(model).eval()
    with warnings.catch_warnings():
        # dozens, of Anomalib's code; torch does not export the name
        warnings.simplefilter("ignore", torch.jit.TracerWarning)  # type: ignore[attr-defined]
        return openvino.convert_model(graph, example_input=torch.rand(size), input=size)

"""Quantises a graph to INT8 by NNCF, and keeps in float32 what INT8 is known to spoil.

What stays float32, and why: the tail behind the features (its terms cancel), and pooling,
interpolation and concatenation of features (OpenVINO computes a wrong graph, see design §5). The
first convolutions and all before them are kept from NNCF, which would round the pixels a second
time and cost a third of INT8's whole error; they read the camera's own numbers, see `stem`.
"""

import contextlib
import logging
import sys
from collections.abc import Sequence

import nncf
import openvino
from nncf.quantization.advanced_parameters import AdvancedQuantizationParameters, OverflowFix
from nncf.quantization.range_estimator import RangeEstimatorParametersSet

from inspection.core.imaging import Rgb
from inspection.core.records import PixelNorm
from inspection.export.stem import CONVOLUTIONS, before, first_convolutions, integer_stems, is_a

PRODUCTS = CONVOLUTIONS | {"MatMul"}
FLOAT_TYPES = {"AvgPool", "Interpolate", "Concat"}
IMMATERIAL = {"Constant", "Parameter", "Result"}


def quantise(model: openvino.Model, pixels: PixelNorm, tiles: Sequence[Rgb]) -> openvino.Model:
    """Quantise a graph on prepared uint8 (H, W, 3) tiles.

    Args:
        model: a graph with uint8 1×H×W×3 input; unchanged.
        pixels: how it normalises them.
        tiles: what NNCF collects its ranges from, all of them.
    """
    kept = float_nodes(model)
    types = sorted({n.get_type_name() for n in model.get_ordered_ops()} & FLOAT_TYPES)
    scope = nncf.IgnoredScope(names=sorted(kept), types=types, validate=False)
    # The overflow fix halves the weights' range for CPUs without VNNI; the golden frames would
    # show such a CPU, and the halved range costs a fifth of the accuracy that INT8 loses.
    # MINMAX keeps the largest value that was seen; NNCF's mean over tiles would clip defects.
    advanced = AdvancedQuantizationParameters(
        overflow_fix=OverflowFix.DISABLE,
        activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX,
    )
    data = nncf.Dataset(list(tiles), lambda tile: tile[None])
    nncf_log = logging.getLogger("nncf")
    nncf_log.setLevel(logging.ERROR)
    with contextlib.redirect_stdout(sys.stderr):  # its progress bar must not stand among results
        small = nncf.quantize(
            model,
            data,
            subset_size=len(tiles),
            preset=nncf.QuantizationPreset.PERFORMANCE,
            ignored_scope=scope,
            model_type=nncf.ModelType.TRANSFORMER if _attends(model) else None,
            advanced_parameters=advanced,
        )
    return integer_stems(small, pixels, tiles[0])


def _attends(model: openvino.Model) -> bool:
    """Say whether a graph has attention, whose products NNCF then leaves alone."""
    return any(is_a(node, {"ScaledDotProductAttention"}) for node in model.get_ordered_ops())


def float_nodes(model: openvino.Model) -> set[str]:
    """Name the nodes that stay float32: up to the first convolutions, and the tail."""
    nodes = {node.get_friendly_name(): node for node in model.get_ordered_ops()}
    stems = first_convolutions(model)
    features = [
        result.input_value(0).get_node()
        for result, output in zip(model.get_results(), model.outputs, strict=True)
        if any(name.startswith("feature.") for name in output.get_names())
    ]
    products = [node for node in nodes.values() if is_a(node, PRODUCTS)]
    kept = before(stems)
    kept |= {name: nodes[name] for name in nodes.keys() - before(features or products).keys()}
    return {name for name, node in kept.items() if not is_a(node, IMMATERIAL)}

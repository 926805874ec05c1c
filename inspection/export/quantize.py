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

from inspection.bundles.graph import Tensors
from inspection.core.imaging import Rgb
from inspection.core.records import PixelNorm
from inspection.export.stem import CONVOLUTIONS, before, first_convolutions, integer_stems, is_a

PRODUCTS = CONVOLUTIONS | {"MatMul"}
FLOAT_TYPES = {"AvgPool", "Interpolate", "Concat"}
HEAD_FLOAT_TYPES = {"ROIAlign", "Multiply", "Add", "ReduceMax", "ReduceMean"}  # cut and weigh only
IMMATERIAL = {"Constant", "Parameter", "Result"}


def quantise(
    model: openvino.Model, pixels: PixelNorm, tiles: Sequence[Rgb], *, deep: bool = False
) -> openvino.Model:
    """Quantise a graph on prepared uint8 (H, W, 3) tiles.

    Args:
        model: a graph with uint8 1×H×W×3 input; unchanged.
        pixels: how it normalises them.
        tiles: what NNCF collects its ranges from, all of them.
        deep: many layers lie behind each other, as in a detector: activations get a zero point and
            biases are corrected layer by layer, each by what those before it leave. A CenterMask
            loses 0.005 of its masks' AP50 so, and 0.029 otherwise (reports/LOG.md).
    """
    data = nncf.Dataset(list(tiles), lambda tile: tile[None])
    small = _quantised(model, data, len(tiles), float_nodes(model), FLOAT_TYPES, deep=deep)
    return integer_stems(small, pixels, tiles[0])


def quantise_head(model: openvino.Model, inputs: Sequence[Tensors]) -> openvino.Model:
    """Quantise a graph that sees features, on inputs by name, all of them; unchanged itself."""
    data = nncf.Dataset(list(inputs), dict)
    return _quantised(model, data, len(inputs), set(), FLOAT_TYPES | HEAD_FLOAT_TYPES)


def _quantised(
    model: openvino.Model,
    data: nncf.Dataset,
    size: int,
    kept: set[str],
    float_types: set[str],
    *,
    deep: bool = False,
) -> openvino.Model:
    types = sorted({n.get_type_name() for n in model.get_ordered_ops()} & float_types)
    scope = nncf.IgnoredScope(names=sorted(kept), types=types, validate=False)
    logging.getLogger("nncf").setLevel(logging.ERROR)
    with contextlib.redirect_stdout(sys.stderr):  # its progress bar must not stand among results
        small: openvino.Model = nncf.quantize(
            model,
            data,
            subset_size=size,
            preset=preset(deep=deep),
            ignored_scope=scope,
            fast_bias_correction=not deep,
            model_type=nncf.ModelType.TRANSFORMER if _attends(model) else None,
            advanced_parameters=ranges(),
        )
    return small


def preset(*, deep: bool) -> nncf.QuantizationPreset:
    """Say whether activations get a zero point."""
    return nncf.QuantizationPreset.MIXED if deep else nncf.QuantizationPreset.PERFORMANCE


def ranges() -> AdvancedQuantizationParameters:
    """Say how NNCF takes its ranges.

    The overflow fix halves the weights' range for CPUs without VNNI; the golden frames would show
    such a CPU, and the halved range costs a fifth of the accuracy that INT8 loses. MINMAX keeps the
    largest value that was seen; NNCF's mean over tiles would clip defects.
    """
    return AdvancedQuantizationParameters(
        overflow_fix=OverflowFix.DISABLE,
        activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX,
    )


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

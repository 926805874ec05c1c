"""Quantises a graph to INT8 by NNCF, and keeps in float32 what INT8 is known to spoil.

What stays float32, and why: the first convolutions and all before them (quantising the input again
costs a third of the whole error), the tail behind the features (its terms cancel), and pooling,
interpolation and concatenation of features (OpenVINO computes a wrong graph, see design §5).
"""

import contextlib
import logging
import sys
from collections.abc import Iterable, Sequence

import nncf
import openvino
from nncf.quantization.advanced_parameters import AdvancedQuantizationParameters, OverflowFix
from openvino import Node

from inspection.core.imaging import Rgb

CONVOLUTIONS = {"Convolution", "GroupConvolution"}
PRODUCTS = CONVOLUTIONS | {"MatMul"}
FLOAT_TYPES = {"AvgPool", "Interpolate", "Concat"}
IMMATERIAL = {"Constant", "Parameter", "Result"}


def quantise(model: openvino.Model, tiles: Sequence[Rgb]) -> openvino.Model:
    """Quantise a graph on prepared uint8 (H, W, 3) tiles of fit normals.

    Args:
        model: a graph with uint8 1×H×W×3 input; unchanged.
        tiles: what NNCF collects its ranges from, all of them.
    """
    kept = float_nodes(model)
    types = sorted({n.get_type_name() for n in model.get_ordered_ops()} & FLOAT_TYPES)
    scope = nncf.IgnoredScope(names=sorted(kept), types=types, validate=False)
    # The overflow fix halves the weights' range for CPUs without VNNI; the golden frames would
    # show such a CPU, and the halved range costs a fifth of the accuracy that INT8 loses.
    advanced = AdvancedQuantizationParameters(overflow_fix=OverflowFix.DISABLE)
    data = nncf.Dataset(list(tiles), lambda tile: tile[None])
    nncf_log = logging.getLogger("nncf")
    nncf_log.setLevel(logging.ERROR)
    with contextlib.redirect_stdout(sys.stderr):  # its progress bar must not stand among results
        return nncf.quantize(
            model,
            data,
            subset_size=len(tiles),
            preset=nncf.QuantizationPreset.PERFORMANCE,
            ignored_scope=scope,
            advanced_parameters=advanced,
        )


def float_nodes(model: openvino.Model) -> set[str]:
    """Name the nodes that stay float32: up to the first convolutions, and the tail."""
    nodes = {node.get_friendly_name(): node for node in model.get_ordered_ops()}
    convolutions = [node for node in nodes.values() if _is(node, CONVOLUTIONS)]
    stems = [node for node in convolutions if not _any(_sources(node), CONVOLUTIONS)]
    features = [
        result.input_value(0).get_node()
        for result, output in zip(model.get_results(), model.outputs, strict=True)
        if any(name.startswith("feature.") for name in output.get_names())
    ]
    products = [node for node in nodes.values() if _is(node, PRODUCTS)]
    kept = _before(stems)
    kept |= {name: nodes[name] for name in nodes.keys() - _before(features or products).keys()}
    return {name for name, node in kept.items() if not _is(node, IMMATERIAL)}


def _before(ends: Iterable[Node]) -> dict[str, Node]:
    """Give these nodes and everything they are computed from, by name.

    By name, because comparing two nodes builds a comparison node instead.
    """
    found: dict[str, Node] = {}
    stack = list(ends)
    while stack:
        node = stack.pop()
        if node.get_friendly_name() not in found:
            found[node.get_friendly_name()] = node
            stack += _sources(node)
    return found


def _sources(node: Node) -> list[Node]:
    return [port.get_source_output().get_node() for port in node.inputs()]


def _any(nodes: Iterable[Node], kinds: set[str]) -> bool:
    return any(_is(node, kinds) for node in _before(nodes).values())


def _is(node: Node, kinds: set[str]) -> bool:
    return node.get_type_name() in kinds

"""Writes a bundle's graph as ONNX, with a card that says what it is and how well it agrees.

What comes out is a folder for other runtimes: no station opens it. Its maps want the same
preparation before them and the same score and thresholds behind; the card tells both.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
import openvino
from numpy.typing import NDArray
from pydantic import Field, StrictInt

from inspection.bundles.bundle import GOLDEN, GRAPH, REFERENCE, Bundle
from inspection.bundles.graph import openvino_core
from inspection.bundles.saving import save_arrays
from inspection.bundles.seal import seal_bundle
from inspection.core.config import Settings
from inspection.core.decision import Band, ScoreRule
from inspection.core.defects import generate_defect
from inspection.core.errors import BundleError, InspectionError
from inspection.core.folders import new_folder
from inspection.core.geometry import Geometry
from inspection.core.imaging import load_image
from inspection.core.origin import describe_origin
from inspection.core.parts import DEFECT_SEED
from inspection.core.records import Origin, Record, Weights, hash_file, write_record
from inspection.portability.parity import Parity, Picture, compare
from inspection.portability.runtime import OnnxGraph
from inspection.portability.translate import to_onnx
from inspection.portability.writer import IR_VERSION, OPSET

MODEL, CARD, SAMPLES = "model.onnx", "onnx.json", "samples.npz"
PACKAGES = ("numpy", "onnx", "onnxruntime", "openvino", "opencv-python-headless")
MOST_BYTES = (1 << 31) - 1  # of one protobuf file
MEANINGS = {
    "pixels": "RGB of the prepared part, grey levels of 0 to 255; normalised inside",
    "score_map": "raw distance to normal of each cell, larger is worse; no threshold inside",
    "embedding": "how the backbone sees the whole picture; nothing is decided by it",
}
Precision = Literal["shipped", "fp32"]


class PortCard(Settings):
    """An input or output of the model."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    meaning: str


class OnnxCard(Record):
    """What an ONNX model is, which bundle it comes from, how well it agrees with it."""

    name: str
    bundle_id: str = Field(description="of the bundle, which alone a station opens")
    bundle_name: str
    model: str = Field(description="what was trained")
    graph: Literal["the graph that ships", "its FP32 reference"]
    precision: str = Field(description="in words")
    weights: tuple[Weights, ...]
    opset: StrictInt
    ir_version: StrictInt
    sha256: str = Field(description="of model.onnx")
    inputs: tuple[PortCard, ...]
    outputs: tuple[PortCard, ...]
    geometry: Geometry = Field(description="how a part becomes the input")
    score: ScoreRule = Field(description="how the map becomes the score")
    band: Band = Field(description="thresholds of the score, as the bundle's card has them")
    parity: Parity
    origin: Origin


@dataclass(frozen=True)
class Wish:
    """What is asked for."""

    precision: Precision = "shipped"
    """shipped: the graph that ships, INT8 as QuantizeLinear and DequantizeLinear where it is INT8;
    fp32: the FP32 reference of the same bundle."""
    pictures: tuple[Path, ...] = ()
    """Judged by both beside the golden frames, as they are and with generated defects."""


def export_onnx(bundle: Bundle, out: Path, wish: Wish | None = None) -> OnnxCard:
    """Write `model.onnx`, `onnx.json` and `samples.npz`, sealed, whole or not at all.

    Args:
        bundle: an open one.
        out: folder to make.
        wish: precision and pictures.

    Raises:
        BundleError: the graph has operations without an ONNX form, is too large for one file, or
            ONNX Runtime does not agree with the bundle.
        ImageError: a picture cannot be read.
    """
    wish = wish or Wish()
    reference = wish.precision == "fp32"
    path = bundle.path / (REFERENCE if reference else GRAPH)
    pictures = _pictures(bundle, wish.pictures)
    with new_folder(out) as folder:
        graph = openvino_core().read_model(path)
        _save(to_onnx(graph), folder / MODEL)
        found = compare(bundle, folder / MODEL, pictures, reference=reference)
        parity = found.model_copy(update={"generated": len(bundle.card.golden)})
        save_arrays(_samples(bundle, folder / MODEL), folder / SAMPLES)
        card = _card(bundle, graph, folder / MODEL, parity, name=out.name)
        write_record(folder / CARD, card)
        seal_bundle(folder)
    return card


def _pictures(bundle: Bundle, further: Sequence[Path]) -> list[Picture]:
    """Give the golden frames, each with a generated defect, too, and further pictures.

    Golden frames are normals; only what is far from normal shows how far apart large scores lie.
    """
    paths = [bundle.path / GOLDEN / f"{name}.png" for name in bundle.card.golden]
    golden = [(path.name, load_image(path)) for path in paths]
    broken = [
        (f"{name} with a generated defect", generate_defect(pixels, DEFECT_SEED, number).pixels)
        for number, (name, pixels) in enumerate(golden)
    ]
    return [*golden, *broken, *((path.name, load_image(path)) for path in further)]


def _save(model: onnx.ModelProto, path: Path) -> None:
    if model.ByteSize() > MOST_BYTES:
        raise BundleError(
            f"the ONNX model takes {model.ByteSize() / 1e9:.1f} GB; wanted 2 at most, which is all "
            "that one file holds; export the graph that ships, or a smaller model"
        )
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        raise BundleError(
            f"the ONNX model breaks ONNX's own rules ({error}); wanted one that any runtime takes; "
            "judge by OpenVINO, and report the graph"
        ) from error
    try:
        path.write_bytes(model.SerializeToString(deterministic=True))
    except OSError as error:
        raise InspectionError(
            f"{path.name}: cannot be written ({error}); free space or rights"
        ) from error


def _samples(bundle: Bundle, model: Path) -> dict[str, NDArray[np.generic]]:
    """Give prepared inputs and the maps ONNX Runtime made of them here, for other runtimes."""
    runtime = OnnxGraph(model)
    parts = [load_image(bundle.path / GOLDEN / f"{name}.png") for name in bundle.card.golden]
    tiles = np.concatenate([bundle.prepare(pixels) for pixels in parts])
    return {"pixels": tiles, "score_map": np.stack([runtime(tile) for tile in tiles])}


def _card(
    bundle: Bundle, graph: openvino.Model, model: Path, parity: Parity, *, name: str
) -> OnnxCard:
    card, reference = bundle.card, parity.reference
    return OnnxCard(
        name=name,
        bundle_id=bundle.bundle_id,
        bundle_name=card.name,
        model=card.model,
        graph="its FP32 reference" if reference else "the graph that ships",
        precision="FP32" if reference else card.precision,
        weights=card.weights,
        opset=OPSET,
        ir_version=IR_VERSION,
        sha256=hash_file(model),
        inputs=tuple(_port(port) for port in graph.inputs),
        outputs=tuple(_port(port) for port in graph.outputs),
        geometry=card.geometry,
        score=card.score,
        band=card.band,
        parity=parity,
        origin=describe_origin(PACKAGES),
    )


def _port(port: openvino.Output) -> PortCard:
    name = port.get_any_name()
    return PortCard(
        name=name,
        dtype=np.dtype(port.get_element_type().to_dtype()).name,
        shape=tuple(port.get_shape()),
        meaning=MEANINGS.get(name, ""),
    )

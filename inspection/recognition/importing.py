"""Takes a detector that another framework exported: reads, checks, quantises and seals it.

Nothing is kept of a layout that the graph's outputs speak against; a picture beside shows why.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import openvino

from inspection.bundles.graph import NamedGraph
from inspection.bundles.overlay import write_picture
from inspection.bundles.saving import save_graph
from inspection.bundles.seal import seal_bundle
from inspection.core.errors import BundleError, ConfigError, GateRefused
from inspection.core.folders import new_folder
from inspection.core.imaging import Rgb, load_image
from inspection.core.origin import describe_origin
from inspection.core.progress import follow
from inspection.core.records import PixelNorm, Weights, hash_file, hash_json, write_record
from inspection.detectors.decoding import Limits, read_candidates
from inspection.detectors.detections import Candidates, Detections
from inspection.detectors.detector import CARD, GRAPH, Detector, DetectorCard, Parity
from inspection.detectors.fitting import Fit
from inspection.detectors.layout import Layout
from inspection.export.quantize import quantise
from inspection.recognition.agreement import compare
from inspection.recognition.picture import draw_detections
from inspection.recognition.plausible import doubts
from inspection.recognition.reading import read_graph

PACKAGES = ("nncf", "numpy", "openvino", "opencv-python-headless")
SAMPLE = "sample.png"  # the picture with most found, drawn
MOST_DRAWN = 50  # of what a refused layout reads
LEAST_AGREEMENT = 0.95  # F1 of INT8's boxes with FP32's
LEAST_IOU = 0.9  # of the boxes both find, and of their masks, mean


@dataclass(frozen=True)
class Wish:
    """What is imported, and how it is to be read."""

    model: Path
    """.onnx or .xml."""
    layout: Layout
    types: tuple[str, ...]
    """What it knows, in its own order, background left out."""
    name: str
    size_hw: tuple[int, int] | None = None
    """Of its input; none takes the model's own."""
    least_score: float = 0.3
    int8: bool = True


def import_detector(wish: Wish, pictures: Sequence[Path], out: Path) -> DetectorCard:
    """Import a detector.

    Args:
        wish: what and how.
        pictures: on which at least one of its types shows; they set INT8's ranges, too.
        out: folder to make; a picture of what is refused stands beside it.

    Raises:
        ConfigError: no picture, no type or one twice, no score, or `out` is there.
        ImageError: a picture cannot be read.
        BundleError: the graph cannot be read, or its outputs are unlike the layout.
        GateRefused: INT8 finds something else than FP32.
    """
    if not pictures or not wish.types or len(set(wish.types)) < len(wish.types):
        raise ConfigError(
            f"import of {wish.model}: {len(pictures)} pictures, types {', '.join(wish.types)}; "
            "wanted pictures that show some, and each type once"
        )
    if not 0 < wish.least_score < 1:
        raise ConfigError(f"least score {wish.least_score:g}; wanted one between 0 and 1")
    out = out.resolve()
    with new_folder(out) as folder:
        parts = [load_image(path) for path in pictures]
        graph, input_hw = read_graph(wish.model, wish.layout.picture, wish.size_hw)
        detector = Detector(_card(wish, graph, input_hw), NamedGraph(graph))
        found = _require_plausible(detector, parts, out.with_name(f"{out.name}-refused.png"))
        card = detector.card
        if wish.int8:
            graph, parity = _quantised(detector, graph, parts, found)
            card = card.model_copy(update={"precision": "int8", "parity": parity})
        save_graph(graph, folder / GRAPH)
        write_record(folder / CARD, card)
        write_picture(folder / SAMPLE, _drawn(card, parts, found))
        seal_bundle(folder)
    return card


def _card(wish: Wish, graph: openvino.Model, input_hw: tuple[int, int]) -> DetectorCard:
    return DetectorCard(
        name=wish.name,
        types=wish.types,
        layout=wish.layout,
        input_hw=input_hw,
        precision="fp32",
        weights=Weights(name=wish.model.name, source="file", sha256=_hash(graph)),
        limits=Limits(least_score=wish.least_score),
        parity=None,
        origin=describe_origin(PACKAGES),
    )


def _hash(graph: openvino.Model) -> str:
    """Hash a graph as it was read, its weights included, whatever files it stood in."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / GRAPH
        save_graph(graph, path)
        return hash_json([hash_file(path), hash_file(path.with_suffix(".bin"))])


def _require_plausible(detector: Detector, parts: Sequence[Rgb], refused: Path) -> list[Detections]:
    """Give what is found on each picture; refuse a layout that makes no sense of the outputs."""
    card, types = detector.card, len(detector.card.types)
    read, found = [], []
    for part in follow(parts, "reading"):
        fit, outputs = detector.fit(part), detector.outputs(part)
        try:
            read.append(read_candidates(outputs, card.layout, card.input_hw, types))
            found.append(detector.decoded(outputs, fit))
        except BundleError as error:
            shapes = ", ".join(f"'{name}' {values.shape}" for name, values in outputs.items())
            write_picture(refused, fit.lay(part))
            raise BundleError(
                f"{card.weights.name}: {error}; its outputs are {shapes}; {refused} shows what it "
                "was given"
            ) from error
    least, dense = card.limits.least_score, not card.layout.suppressed
    odd = list(doubts(read, card.input_hw, least, dense=dense))
    if odd:
        found = [
            _as_read(one, detector.fit(part), least) for one, part in zip(read, parts, strict=True)
        ]
    elif not any(map(len, found)):
        odd.append(
            f"nothing is found on any of {len(parts)} pictures from score {least:g}; bring some "
            "that show a type, or look at the layout"
        )
    if odd:
        write_picture(refused, _drawn(card, parts, found))
        raise BundleError(f"{card.weights.name}: {'; '.join(odd)}; {refused} shows what was read")
    return found


def _as_read(read: Candidates, fit: Fit, least_score: float) -> Detections:
    """Give the surest candidates as a person can see them, however little sense they make."""
    sure = read.at(np.argsort(-read.scores, kind="stable")[:MOST_DRAWN])
    sure = sure.at(np.flatnonzero(sure.scores >= least_score))
    corners = np.sort(sure.boxes.reshape(-1, 2, 2), axis=1).reshape(-1, 4)
    boxes = fit.cut(fit.back(corners))
    shown = np.flatnonzero((boxes[:, 2:] > boxes[:, :2]).all(axis=1))
    return Detections(boxes[shown], sure.scores[shown], sure.types[shown])


def _drawn(card: DetectorCard, parts: Sequence[Rgb], found: Sequence[Detections]) -> Rgb:
    most = max(range(len(parts)), key=lambda i: len(found[i]))
    return draw_detections(parts[most], found[most], card.types)


def _quantised(
    plain: Detector, graph: openvino.Model, parts: Sequence[Rgb], found: Sequence[Detections]
) -> tuple[openvino.Model, Parity]:
    card, picture = plain.card, plain.card.layout.picture
    norm = PixelNorm(mean=picture.mean, std=picture.std, grey_level=None)
    small = quantise(graph, norm, [plain.fit(part).lay(part) for part in parts], deep=True)
    shipped = Detector(card, NamedGraph(small))
    parity = compare([shipped.find(part) for part in parts], found)
    least = min(value for value in (parity.box_iou, parity.mask_iou, 1.0) if value is not None)
    if parity.agreement < LEAST_AGREEMENT or least < LEAST_IOU:
        raise GateRefused(
            f"{card.weights.name}: INT8 agrees {parity.agreement:.3f} with FP32 on {parity.found} "
            f"boxes, which overlap by {least:.3f}; wanted {LEAST_AGREEMENT} and {LEAST_IOU}; bring "
            "more pictures, or import it with --precision fp32"
        )
    return small, parity

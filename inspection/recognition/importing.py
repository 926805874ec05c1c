"""Takes a detector that another framework exported: reads, checks, quantises and seals it.

Nothing is kept of a layout that the graph's outputs speak against; a picture beside shows why.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
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
from inspection.core.records import PixelNorm, Weights, hash_file, write_record
from inspection.detectors.decoding import Candidates, read_candidates
from inspection.detectors.detections import Detections
from inspection.detectors.detector import CARD, GRAPH, PIXELS, Detector, DetectorCard, Parity
from inspection.detectors.fitting import Fit
from inspection.detectors.layout import Layout
from inspection.export.quantize import quantise
from inspection.recognition.agreement import agreement
from inspection.recognition.picture import draw_detections
from inspection.recognition.plausible import doubts
from inspection.recognition.reading import read_graph

PACKAGES = ("nncf", "numpy", "openvino", "opencv-python-headless")
SAMPLE = "sample.png"  # the picture with most found, drawn
MOST_DRAWN = 50  # of what a refused layout reads
LEAST_AGREEMENT = 0.95  # F1 of INT8's boxes with FP32's


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
        out: folder to make.

    Raises:
        ConfigError: no picture, no type, or one twice.
        ImageError: a picture cannot be read.
        BundleError: the graph cannot be read, or its outputs are unlike the layout; where they can
            be drawn, the picture stands beside `out`.
        GateRefused: INT8 finds something else than FP32.
    """
    if not pictures or not wish.types or len(set(wish.types)) < len(wish.types):
        raise ConfigError(
            f"import of {wish.model}: {len(pictures)} pictures, types {', '.join(wish.types)}; "
            "wanted pictures that show some, and each type once"
        )
    parts = [load_image(path) for path in pictures]
    graph, input_hw = read_graph(wish.model, wish.layout.picture, wish.size_hw)
    card = _card(wish, input_hw)
    plain = Detector(card, NamedGraph(graph))
    found = _require_plausible(plain, graph, parts, out)
    if wish.int8:
        graph, parity = _quantised(card, graph, parts, found)
        card = card.model_copy(update={"precision": "int8", "parity": parity})
    with new_folder(out) as folder:
        save_graph(graph, folder / GRAPH)
        write_record(folder / CARD, card)
        write_picture(folder / SAMPLE, _drawn(card, parts, found))
        seal_bundle(folder)
    return card


def _card(wish: Wish, input_hw: tuple[int, int]) -> DetectorCard:
    weights = Weights(name=wish.model.name, source="file", sha256=hash_file(wish.model))
    return DetectorCard(
        name=wish.name,
        types=wish.types,
        layout=wish.layout,
        input_hw=input_hw,
        precision="fp32",
        weights=weights,
        least_score=wish.least_score,
        parity=None,
        origin=describe_origin(PACKAGES),
    )


def _require_plausible(
    detector: Detector, graph: openvino.Model, parts: Sequence[Rgb], out: Path
) -> list[Detections]:
    """Give what is found on each picture; refuse a layout that makes no sense of the outputs."""
    card, compiled = detector.card, NamedGraph(graph)
    odd: dict[str, None] = {}
    as_read = []
    for part in follow(parts, "reading"):
        fit = Fit(card.layout.picture, card.input_hw, (part.shape[0], part.shape[1]))
        outputs = compiled({PIXELS: fit.lay(part)[None]})
        read = read_candidates(outputs, card.layout, card.input_hw, len(card.types))
        told = doubts(read, fit, card.least_score, dense=not card.layout.suppressed)
        odd |= dict.fromkeys(told)
        as_read.append(_as_read(read, fit, card.least_score))
    found = [detector.find(part) for part in parts] if not odd else as_read
    if not odd and not any(map(len, found)):
        words = (
            f"nothing is found on any of {len(parts)} pictures from score {card.least_score:g}; "
            "bring some that show a type, or look at the layout"
        )
        odd[words] = None
    if odd:
        shown = out.with_name(f"{out.name}-refused.png")
        shown.parent.mkdir(parents=True, exist_ok=True)
        write_picture(shown, _drawn(card, parts, found))
        raise BundleError(f"{card.weights.name}: {'; '.join(odd)}; {shown} shows what was read")
    return found


def _as_read(read: Candidates, fit: Fit, least_score: float) -> Detections:
    """Give the surest candidates as a person can see them, however little sense they make."""
    sure = read.at(np.argsort(-read.scores, kind="stable")[:MOST_DRAWN])
    sure = sure.at(np.flatnonzero(sure.scores >= least_score))
    corners = np.sort(np.nan_to_num(sure.boxes).reshape(-1, 2, 2), axis=1).reshape(-1, 4)
    sure = replace(sure, boxes=fit.back(corners.astype(np.float32)))
    sure = sure.at(np.flatnonzero((sure.boxes[:, 2:] > sure.boxes[:, :2]).all(axis=1)))
    return Detections(sure.boxes, sure.scores, sure.types)


def _drawn(card: DetectorCard, parts: Sequence[Rgb], found: Sequence[Detections]) -> Rgb:
    most = max(range(len(parts)), key=lambda i: len(found[i]))
    return draw_detections(parts[most], found[most], card.types)


def _quantised(
    card: DetectorCard, graph: openvino.Model, parts: Sequence[Rgb], found: Sequence[Detections]
) -> tuple[openvino.Model, Parity]:
    picture = card.layout.picture
    laid = [Fit(picture, card.input_hw, (part.shape[0], part.shape[1])).lay(part) for part in parts]
    norm = PixelNorm(mean=picture.mean, std=picture.std, grey_level=None)
    small = quantise(graph, norm, laid)
    shipped = Detector(card, NamedGraph(small))
    again = [shipped.find(part) for part in parts]
    parity = Parity(
        pictures=len(parts),
        found=sum(map(len, found)),
        agreement=agreement(zip(again, found, strict=True)),
    )
    if parity.agreement < LEAST_AGREEMENT:
        raise GateRefused(
            f"{card.weights.name}: INT8 agrees {parity.agreement:.3f} with FP32 on "
            f"{parity.found} boxes; wanted {LEAST_AGREEMENT}; bring more pictures, or import it "
            "with --precision fp32"
        )
    return small, parity

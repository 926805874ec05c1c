"""Makes a sealed detector of a run: converts, quantises, judges, and quantises in training if need.

INT8 is judged beside FP32 on the parts that never taught: where it loses more of the box or mask
AP50 than the configuration allows, it is trained to be INT8, and where that does not help either
nothing is made.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import openvino
import torch

from inspection.bundles.graph import NamedGraph, Tensors
from inspection.bundles.overlay import write_picture
from inspection.bundles.saving import save_graph
from inspection.bundles.seal import seal_bundle
from inspection.core.errors import DatasetError, GateRefused
from inspection.core.folders import new_folder
from inspection.core.imaging import Rgb
from inspection.core.origin import describe_origin
from inspection.core.progress import follow
from inspection.core.records import PixelNorm, Weights, write_record
from inspection.detectors.decoding import Limits
from inspection.detectors.detections import Detections
from inspection.detectors.detector import CARD, GRAPH, PIXELS, Detector, DetectorCard
from inspection.detectors.fitting import Fit
from inspection.detectors.layout import Picture
from inspection.detectors.regions import look_again
from inspection.detectors.scores import Scores
from inspection.export.quantize import quantise, quantise_head
from inspection.recognition.aware import quantise_aware
from inspection.recognition.graphs import Graphs, convert, convert_first
from inspection.recognition.labels import LabelledPicture
from inspection.recognition.networks.network import Taken
from inspection.recognition.picture import draw_detections
from inspection.recognition.scoring import MOST, score
from inspection.recognition.settings import DetectorExport
from inspection.recognition.teaching import PACKAGES, RecogniserRun, read_recogniser

SAMPLE = "sample.png"  # the judging part with most found, drawn
WHOLE_CURVE = 0.01  # a score so low that the curve of precision over recall is whole
How = Literal["after training", "in training"]


@dataclass(frozen=True)
class Judged:
    """Graphs, and what they find on the parts that judge."""

    graphs: Graphs
    found: tuple[Detections, ...]
    scores: Scores


def export_recogniser(run: Path, out: Path, precision: str | None = None) -> DetectorCard:
    """Make the detector of a run.

    Args:
        run: folder of `train_recogniser`.
        out: folder to make, whole or not at all.
        precision: int8 or fp32, in place of the configuration's.

    Raises:
        TrainingError: the run is damaged, or OpenVINO cannot convert it.
        DatasetError: its labels have changed, or none of them judge.
        GateRefused: INT8 loses too much, also after training for it.
    """
    record, network, labels = read_recogniser(run)
    settings = record.config.export
    judging = labels.of("test")
    if not any(one.defects for one in judging):
        raise DatasetError(
            f"{run}: no labelled defect judges; raise labels.test_share, train again"
        )
    with new_folder(out) as folder:
        taken = network.take_apart(record.config.input_hw)
        card = _card(record, taken, out.name)
        plain = _judged(convert(taken, record.config.input_hw), card, judging)
        made, how = plain, None
        if (precision or settings.precision) == "int8":
            taught = _spread(labels.of("train"), settings.calibration_pictures)
            made, how = _int8(plain, taken, card, taught, judging, settings)
        card = card.model_copy(
            update={
                "precision": "int8" if how else "fp32",
                "quantised": how,
                "scores": made.scores,
                "fp32": plain.scores if how else None,
            }
        )
        _write(folder, made, card, judging)
    return card


def _card(record: RecogniserRun, taken: Taken, name: str) -> DetectorCard:
    settings = record.config.export
    return DetectorCard(
        name=name,
        types=record.types,
        layout=taken.layout,
        regions=taken.regions,
        input_hw=record.config.input_hw,
        precision="fp32",
        weights=Weights(
            name=f"{record.config.network.name} on {record.weights[0]}",
            source="file",
            sha256=record.network_sha256,
        ),
        limits=Limits(
            least_score=settings.least_score,
            most_overlap=settings.most_overlap,
            most=settings.most,
        ),
        origin=describe_origin(PACKAGES),
    )


def open_graphs(graphs: Graphs, card: DetectorCard) -> Detector:
    """Open graphs that are not yet sealed."""
    heads = {name: NamedGraph(head) for name, head in graphs.heads.items()}
    return Detector(card, NamedGraph(graphs.first), heads)


def _judged(graphs: Graphs, card: DetectorCard, judging: Sequence[LabelledPicture]) -> Judged:
    low = card.limits.model_copy(update={"least_score": WHOLE_CURVE, "most": MOST})
    detector = open_graphs(graphs, card).with_limits(low)
    found = tuple(detector.find(one.pixels) for one in follow(judging, "judging"))
    return Judged(graphs, found, score(judging, found, card.types, card.limits.least_score))


def _int8(
    plain: Judged,
    taken: Taken,
    card: DetectorCard,
    taught: Sequence[LabelledPicture],
    judging: Sequence[LabelledPicture],
    settings: DetectorExport,
) -> tuple[Judged, How]:
    """Quantise after training, and where that loses too much in training."""
    picture: Picture = taken.layout.picture
    tiles = [Fit(picture, card.input_hw, one.size_hw).lay(one.pixels) for one in taught]
    norm = PixelNorm(mean=picture.mean, std=picture.std, grey_level=None)
    first = quantise(plain.graphs.first, norm, tiles, deep=True)
    graphs = Graphs(first, _heads(plain.graphs, card, tiles))
    after = _judged(graphs, card, judging)
    made: tuple[Judged, How] = after, "after training"
    told = _told(after.scores)
    if lost(plain.scores, after.scores) > settings.most_drop and settings.again_epochs:
        images = [_normalised(tile, picture) for tile in tiles]
        trained = quantise_aware(taken.first, images, settings.again_epochs)
        aware = replace(graphs, first=convert_first(trained, taken, card.input_hw))
        made = _judged(aware, card, judging), "in training"
        told = f"{told} after training, {_told(made[0].scores)} in training"
    if (least := lost(plain.scores, made[0].scores)) > settings.most_drop:
        raise GateRefused(
            f"{card.name}: INT8 loses {least:.3f} of the AP50 of FP32 ({_told(plain.scores)}; INT8 "
            f"{told}); wanted at most {settings.most_drop:g}; raise export.again_epochs, or take "
            "--precision fp32"
        )
    return made


def lost(plain: Scores, small: Scores) -> float:
    """Give how much AP50 is lost, of boxes or of masks, whichever is more."""
    of_masks = 0.0
    if plain.mask_ap50 is not None and small.mask_ap50 is not None:
        of_masks = plain.mask_ap50 - small.mask_ap50
    return max(plain.box_ap50 - small.box_ap50, of_masks)


def _told(scores: Scores) -> str:
    masks = "" if scores.mask_ap50 is None else f", masks {scores.mask_ap50:.3f}"
    return f"boxes {scores.box_ap50:.3f}{masks}"


def _heads(graphs: Graphs, card: DetectorCard, tiles: Sequence[Rgb]) -> dict[str, openvino.Model]:
    """Quantise the heads on what the float graphs give them."""
    if card.regions is None:
        return {}
    seen: dict[str, list[Tensors]] = {name: [] for name in graphs.heads}
    heads = {}
    for name, head in graphs.heads.items():
        opened = NamedGraph(head)

        def watched(inputs: Tensors, name: str = name, opened: NamedGraph = opened) -> Tensors:
            seen[name].append({key: np.array(value) for key, value in inputs.items()})
            return opened(inputs)

        heads[name] = watched
    first = NamedGraph(graphs.first)
    types, limits = len(card.types), card.limits
    for tile in follow(tiles, "features"):
        look_again(first({PIXELS: tile[None]}), heads, card.regions, card.input_hw, types, limits)
    return {name: quantise_head(head, seen[name]) for name, head in graphs.heads.items()}


def _spread(pictures: Sequence[LabelledPicture], count: int) -> list[LabelledPicture]:
    """Choose pictures: half of them good ones, as far as there are so many, by their hashes."""
    ordered = sorted(pictures, key=lambda one: one.sha256)
    good = [one for one in ordered if not one.defects]
    bad = [one for one in ordered if one.defects]
    shown = min(len(good), max(count // 2, count - len(bad)))
    return bad[: count - shown] + good[:shown]


def _normalised(tile: Rgb, picture: Picture) -> torch.Tensor:
    mean, std = (np.array(one, np.float32) for one in (picture.mean, picture.std))
    image = (tile.astype(np.float32) - mean) / std
    return torch.from_numpy(image).permute(2, 0, 1).contiguous()


def _write(
    folder: Path, made: Judged, card: DetectorCard, judging: Sequence[LabelledPicture]
) -> None:
    save_graph(made.graphs.first, folder / GRAPH)
    for name, head in made.graphs.heads.items():
        save_graph(head, folder / f"{name}.xml")
    write_record(folder / CARD, card)
    sure = [_from(one, card.limits.least_score) for one in made.found]
    most = max(range(len(sure)), key=lambda i: len(sure[i]))
    write_picture(folder / SAMPLE, draw_detections(judging[most].pixels, sure[most], card.types))
    seal_bundle(folder)


def _from(found: Detections, least_score: float) -> Detections:
    kept = np.flatnonzero(found.scores >= least_score)
    masks = None if found.masks is None else tuple(found.masks[i] for i in kept)
    return Detections(found.boxes[kept], found.scores[kept], found.types[kept], masks)

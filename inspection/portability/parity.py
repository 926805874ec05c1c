"""Holds an ONNX model against the bundle it comes from, on the same pictures."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from pydantic import Field, StrictBool, StrictInt

from inspection.bundles.bundle import REFERENCE, Bundle, map_tiles
from inspection.bundles.graph import Graph
from inspection.core.config import Settings
from inspection.core.decision import Band, Verdict, decide, part_score
from inspection.core.errors import BundleError
from inspection.core.geometry import assemble
from inspection.core.imaging import Map, Rgb
from inspection.core.progress import follow
from inspection.portability.runtime import OnnxGraph

Picture = tuple[str, Rgb]


class Limits(Settings):
    """How far maps and scores may lie apart, as shares of the largest value of the maps."""

    map_difference: float = Field(description="most, mean over all cells")
    score_difference: float = Field(description="most, of any picture")


FP32_LIMITS = Limits(map_difference=0.0005, score_difference=0.002)
"""The same arithmetic in another order; found are some millionths."""
INT8_LIMITS = Limits(map_difference=0.05, score_difference=0.05)
"""Values on the border of two of 256 levels fall to either side, in OpenVINO's own layers too."""


class Parity(Settings):
    """What ONNX Runtime gave beside what the bundle's graph did, as shares of the largest value."""

    pictures: StrictInt
    generated: StrictInt = Field(
        0, description="of them golden frames with a generated defect; none in older"
    )
    reference: StrictBool = Field(
        description="compared with the bundle's FP32 reference; else with the graph that ships"
    )
    largest_map_difference: float = Field(description="of any cell")
    mean_map_difference: float
    largest_score_difference: float
    mean_score_difference: float
    verdicts_agree: StrictInt = Field(description="pictures decided as by that graph")
    verdicts_as_bundle: StrictInt = Field(description="pictures decided as by what ships")
    near_a_threshold: tuple[str, ...] = Field(description="pictures decided otherwise")
    limits: Limits

    @property
    def compared_with(self) -> str:
        """The graph of the bundle whose maps were wanted, in words."""
        return "FP32 reference" if self.reference else "graph that ships"


def compare(bundle: Bundle, model: Path, pictures: Sequence[Picture], *, reference: bool) -> Parity:
    """Judge pictures by a graph of a bundle and by the ONNX model made of it.

    A verdict may differ only on a picture whose score lies as near to a threshold as scores may
    differ; the golden frames are calibrate normals, and one of those may be the threshold itself.
    Such pictures are counted and named.

    Args:
        bundle: an open one.
        model: ONNX file of one of its graphs.
        pictures: names and uint8 H×W×3 RGB.
        reference: whether it is the FP32 reference, not what ships.

    Raises:
        BundleError: maps, scores or verdicts differ more than the limits allow, or ONNX Runtime
            cannot run the model. All that is wrong is said.
    """
    runtime, card = OnnxGraph(model), bundle.card
    graph = Graph(bundle.path / REFERENCE) if reference else None
    limits = INT8_LIMITS if "INT8" in card.precision and not reference else FP32_LIMITS
    compared = []
    for name, pixels in follow(pictures, "parity"):
        tiles, part_hw = bundle.prepare(pixels), (pixels.shape[0], pixels.shape[1])
        shipped = bundle.score_map(pixels)
        wanted = map_tiles(graph, tiles, card.geometry, part_hw) if graph else shipped
        found = assemble(np.stack([runtime(tile)[0] for tile in tiles]), card.geometry, *part_hw)
        scores = (part_score(one, card.score, card.geometry) for one in (wanted, found, shipped))
        compared.append(_Compared(name, wanted, found, *scores))
    parity = _parity(compared, card.band, limits, reference=reference)
    far = [one.name for one in compared if _decided_otherwise(one, card.band, limits)]
    _require(parity, far)
    return parity


class _Compared(NamedTuple):
    name: str
    wanted: Map
    found: Map
    wanted_score: float
    found_score: float
    shipped_score: float


def _parity(
    compared: Sequence[_Compared], band: Band, limits: Limits, *, reference: bool
) -> Parity:
    scale = max(*(float(np.abs(one.wanted).max()) for one in compared), 1e-12)
    cells = np.concatenate([np.abs(one.wanted - one.found).ravel() for one in compared]) / scale
    scores = np.array([abs(one.wanted_score - one.found_score) for one in compared]) / scale
    differ = [one for one in compared if decide(one.wanted_score, band) != _found(one, band)]
    return Parity(
        pictures=len(compared),
        reference=reference,
        largest_map_difference=_finite(cells.max()),
        mean_map_difference=_finite(cells.mean()),
        largest_score_difference=_finite(scores.max()),
        mean_score_difference=_finite(scores.mean()),
        verdicts_agree=len(compared) - len(differ),
        verdicts_as_bundle=sum(decide(c.shipped_score, band) == _found(c, band) for c in compared),
        near_a_threshold=tuple(one.name for one in differ),
        limits=limits,
    )


def _decided_otherwise(one: _Compared, band: Band, limits: Limits) -> bool:
    """Say whether a threshold lies between both scores, and not as near to the bundle's own."""
    low, high = sorted((one.wanted_score, one.found_score))
    return any(
        low <= threshold <= high
        and abs(one.wanted_score - threshold) > limits.score_difference * abs(threshold)
        for threshold in (band.review_above, band.reject_above)
    )


def _found(one: _Compared, band: Band) -> Verdict:
    return decide(one.found_score, band)


def _finite(value: float) -> float:
    """Give a difference; one that is no number is a whole one."""
    return float(value) if np.isfinite(value) else 1.0


def _require(parity: Parity, far: Sequence[str]) -> None:
    limits = parity.limits
    found = {
        "mean difference of maps": (parity.mean_map_difference, limits.map_difference),
        "largest difference of scores": (parity.largest_score_difference, limits.score_difference),
    }
    wrong = [
        f"the {what} is {value:.2g} of the largest value, above {most:g}"
        for what, (value, most) in found.items()
        if value > most
    ]
    if far:
        wrong.append(
            f"the verdict on {', '.join(far[:3])} is another, though the score lies more than "
            f"{limits.score_difference:.1%} from a threshold"
        )
    if wrong:
        raise BundleError(
            f"ONNX Runtime differs from the {parity.compared_with} on {parity.pictures} pictures: "
            f"{'; '.join(wrong)}; nothing was kept; export another graph of it (--precision), or "
            "train again with another model"
        )

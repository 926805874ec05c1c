"""Opens a sealed detector and finds typed defects on pictures; never loads torch."""

import time
from pathlib import Path
from typing import Literal

from pydantic import Field, StrictFloat, StrictInt

from inspection.bundles.graph import ONE_AT_A_TIME, Compiling, NamedGraph, Tensors
from inspection.bundles.seal import verify_bundle
from inspection.core.config import Settings
from inspection.core.errors import BundleError
from inspection.core.imaging import Rgb, require_rgb8
from inspection.core.records import Origin, Record, Weights, read_record
from inspection.detectors.decoding import Limits, decode
from inspection.detectors.detections import Detections
from inspection.detectors.fitting import Fit
from inspection.detectors.layout import Layout

CARD, GRAPH, PIXELS = "detector.json", "detector.xml", "pixels"


class Parity(Settings):
    """How far INT8 finds what FP32 does, on the pictures it was made with."""

    pictures: StrictInt = Field(ge=1)
    found: StrictInt = Field(ge=0, description="by FP32")
    agreement: StrictFloat = Field(
        ge=0, le=1, description="F1 of INT8's boxes with FP32's: same type, IoU at least 0.5"
    )
    box_iou: StrictFloat | None = Field(description="mean, of boxes both find; none without any")
    mask_iou: StrictFloat | None = Field(description="of their masks; none where none are drawn")


class DetectorCard(Record):
    """What a detector is, how its graph is read, and what it was seen to do."""

    name: str
    types: tuple[str, ...] = Field(min_length=1, description="what it knows, in its own order")
    layout: Layout
    input_hw: tuple[StrictInt, StrictInt] = Field(description="height and width of its input, px")
    precision: Literal["int8", "fp32"]
    weights: Weights
    limits: Limits
    parity: Parity | None = Field(description="none of a graph in FP32")
    origin: Origin


class Detector:
    """An open detector; for several threads at once."""

    def __init__(self, card: DetectorCard, graph: NamedGraph, bundle_id: str = "") -> None:
        self.card, self.bundle_id, self._graph = card, bundle_id, graph

    @property
    def name(self) -> str:
        """Its card's name and the first digits of its id, for people."""
        return f"{self.card.name} {self.bundle_id[:12]}"

    @property
    def copies(self) -> int:
        """How many pictures it looks at at once; a further one waits."""
        return self._graph.copies

    def find(self, pixels: Rgb, within_s: float | None = None) -> Detections:
        """Find typed defects on a picture.

        Args:
            pixels: uint8 H×W×3 RGB.
            within_s: until the graph is stopped; none waits for ever.

        Raises:
            ImageError: the pixels are anything else.
            OutOfTime: there was no answer in time.
            BundleError: the graph gives something else than its layout declares.
            BundleUnavailable: OpenVINO cannot run it now.
        """
        require_rgb8(pixels, "picture to look at")
        return self.decoded(self.outputs(pixels, within_s), self.fit(pixels))

    def fit(self, pixels: Rgb) -> Fit:
        """Say how a picture lies in the input."""
        card = self.card
        return Fit(card.layout.picture, card.input_hw, (pixels.shape[0], pixels.shape[1]))

    def outputs(self, pixels: Rgb, within_s: float | None = None) -> Tensors:
        """Give what the graph makes of a picture, by name.

        Raises:
            OutOfTime, BundleUnavailable: as for `find`.
        """
        begun_s = time.monotonic()
        laid = self.fit(pixels).lay(pixels)[None]
        left_s = None if within_s is None else within_s - (time.monotonic() - begun_s)
        return self._graph({PIXELS: laid}, left_s)

    def decoded(self, outputs: Tensors, fit: Fit) -> Detections:
        """Read outputs as the layout declares."""
        return decode(outputs, self.card.layout, fit, len(self.card.types), self.card.limits)


def open_detector(
    folder: Path, trusted_keys: tuple[str, ...] = (), compiling: Compiling = ONE_AT_A_TIME
) -> Detector:
    """Open a detector, every byte of it checked.

    Raises:
        BundleError: no detector, a damaged one, or signed by a key that is not trusted.
        BundleUnavailable: OpenVINO cannot load it now.
        InspectionError: its card is from a newer version of this program.
    """
    if not (folder / CARD).is_file():
        raise BundleError(
            f"{folder}: no {CARD} here; wanted a folder that inspection recognise import made"
        )
    bundle_id = verify_bundle(folder, trusted_keys)
    card = read_record(folder / CARD, DetectorCard)
    return Detector(card, NamedGraph(folder / GRAPH, compiling), bundle_id)

"""Opens a sealed detector and finds typed defects on pictures; never loads torch."""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

from pydantic import Field, StrictFloat

from inspection.bundles.bundle import open_graph
from inspection.bundles.graph import ONE_AT_A_TIME, Compiling, NamedGraph, Tensors
from inspection.bundles.seal import open_sealed
from inspection.core.config import Settings
from inspection.core.errors import BundleError, OutOfTime
from inspection.core.imaging import Rgb, require_rgb8
from inspection.core.known import MAX_TYPES
from inspection.core.limits import MAX_RECORD_BYTES, Count, Px, Share, Short, Some
from inspection.core.records import Origin, Record, Weights, parse_record
from inspection.detectors.decoding import Limits, decode
from inspection.detectors.detections import Detections
from inspection.detectors.fitting import Fit
from inspection.detectors.layout import Layout
from inspection.detectors.regions import MORE, Regions, look_again
from inspection.detectors.scores import Scores

CARD, GRAPH, PIXELS = "detector.json", "detector.xml", "pixels"


class Parity(Settings):
    """How far INT8 finds what FP32 does, on the pictures it was made with."""

    pictures: Some
    found: Count = Field(description="by FP32")
    agreement: StrictFloat = Field(
        ge=0, le=1, description="F1 of INT8's boxes with FP32's: same type, IoU at least 0.5"
    )
    box_iou: Share | None = Field(description="mean, of boxes both find; none without any")
    mask_iou: Share | None = Field(description="of their masks; none where none are drawn")


class DetectorCard(Record):
    """What a detector is, how its graph is read, and what it was seen to do."""

    name: Short
    types: tuple[Short, ...] = Field(
        min_length=1, max_length=MAX_TYPES, description="what it knows, in its own order"
    )
    layout: Layout
    regions: Regions | None = Field(
        None, description="of a detector that looks again at what its first graph proposes"
    )
    input_hw: tuple[Px, Px] = Field(description="height and width of its input, px")
    precision: Literal["int8", "fp32"]
    weights: Weights
    limits: Limits
    parity: Parity | None = Field(None, description="of an import in INT8; none of others")
    quantised: Literal["after training", "in training"] | None = Field(
        None, description="how INT8 came about, of a detector trained here"
    )
    scores: Scores | None = Field(
        None, description="on parts that never taught it; none of an import"
    )
    fp32: Scores | None = Field(None, description="of the same before it became INT8")
    origin: Origin


class Detector:
    """An open detector; for several threads at once.

    Args:
        card: what it is.
        graph: takes the pixels.
        heads: look again at regions, where the card has some.
        bundle_id: what its seal says.
    """

    def __init__(
        self,
        card: DetectorCard,
        graph: NamedGraph,
        heads: Mapping[str, NamedGraph] | None = None,
        bundle_id: str = "",
    ) -> None:
        self.card, self.bundle_id = card, bundle_id
        self._graph, self._heads = graph, heads or {}

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
            within_s: until its graphs are stopped, and no further mask is drawn; none waits for
                ever.

        Raises:
            ImageError: the pixels are anything else.
            OutOfTime: there was no answer in time.
            BundleError: the graph gives something else than its layout declares.
            BundleUnavailable: OpenVINO cannot run it now.
        """
        require_rgb8(pixels, "picture to look at")
        end_s = None if within_s is None else time.monotonic() + within_s
        outputs = self.outputs(pixels, within_s)
        return self.decoded(outputs, self.fit(pixels), partial(self._require_time, end_s))

    def with_limits(self, limits: Limits) -> "Detector":
        """Give the same detector with other limits of what counts."""
        card = self.card.model_copy(update={"limits": limits})
        return Detector(card, self._graph, self._heads, self.bundle_id)

    def fit(self, pixels: Rgb) -> Fit:
        """Say how a picture lies in the input."""
        card = self.card
        return Fit(card.layout.picture, card.input_hw, (pixels.shape[0], pixels.shape[1]))

    def outputs(self, pixels: Rgb, within_s: float | None = None) -> Tensors:
        """Give what the graphs make of a picture, by name, as the card's layout declares.

        Raises:
            OutOfTime, BundleUnavailable: as for `find`.
        """
        end_s = None if within_s is None else time.monotonic() + within_s
        card, first = self.card, _until(end_s, self._graph)
        told = first({PIXELS: self.fit(pixels).lay(pixels)[None]})
        if card.regions is None:
            return told
        heads = {name: _until(end_s, head) for name, head in self._heads.items()}
        return look_again(told, heads, card.regions, card.input_hw, len(card.types), card.limits)

    def decoded(
        self, outputs: Tensors, fit: Fit, before_each: Callable[[], None] = lambda: None
    ) -> Detections:
        """Read outputs as the layout declares; `before_each` mask may raise to end it."""
        card = self.card
        found = decode(outputs, card.layout, fit, len(card.types), card.limits, before_each)
        return replace(found, more=found.more or bool(outputs.get(MORE, False)))

    def _require_time(self, end_s: float | None) -> None:
        if end_s is not None and time.monotonic() > end_s:
            raise OutOfTime(
                f"detector '{self.card.name}': time was over before all masks were drawn; raise "
                "budget_ms, or lower the detector's `most`"
            )


def _until(end_s: float | None, graph: NamedGraph) -> Callable[[Tensors], Tensors]:
    """Run a graph until a moment of the monotonic clock; none waits for ever."""
    return lambda inputs: graph(inputs, None if end_s is None else end_s - time.monotonic())


def open_detector(
    folder: Path, trusted_keys: tuple[str, ...] | None = None, compiling: Compiling = ONE_AT_A_TIME
) -> Detector:
    """Open a detector, every byte of it checked.

    Raises:
        BundleError: no detector, a damaged one, or signed by a key that is not trusted.
        BundleUnavailable: OpenVINO cannot load it now.
        InspectionError: its card is from a newer version of this program.
    """
    if not (folder / CARD).is_file():
        raise BundleError(
            f"{folder}: no {CARD} here; wanted a folder that inspection recognise made"
        )
    sealed = open_sealed(folder, trusted_keys)
    text = sealed.read(CARD, MAX_RECORD_BYTES).decode()
    card = parse_record(text, DetectorCard, str(folder / CARD))
    names = card.regions.heads if card.regions else ()
    heads = {name: NamedGraph(open_graph(sealed, f"{name}.xml"), compiling) for name in names}
    first = NamedGraph(open_graph(sealed, GRAPH), compiling)
    return Detector(card, first, heads, sealed.bundle_id)

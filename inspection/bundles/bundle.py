"""Opens a sealed bundle and judges parts with it: slow once, fast often. Never loads torch."""

import errno
import math
import time
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import openvino
from numpy.typing import NDArray

from inspection.bundles.graph import ONE_AT_A_TIME, Compiling, Graph, read_graph
from inspection.bundles.saving import parse_arrays
from inspection.bundles.seal import Sealed, open_sealed, open_sums, read_gate
from inspection.bundles.shrink import Resizer
from inspection.core.decision import Band, Judgement, judge_map
from inspection.core.errors import (
    BundleCorrupt,
    BundleError,
    BundleUnavailable,
    GateRefused,
    ImageError,
    InspectionError,
)
from inspection.core.gate import GateRecord
from inspection.core.geometry import Geometry, assemble, prepare
from inspection.core.imaging import Map, Rgb, decode_image
from inspection.core.limits import MAX_PICTURE_BYTES, MAX_RECORD_BYTES, NOT_A_FILE
from inspection.core.records import Card, parse_record, read_record

CARD, GRAPH, REFERENCE, GOLDEN = "card.json", "model.xml", "reference.xml", "golden"
MAPS = "maps.npz"  # in the golden folder
REST_S = 0.05  # between golden frames while parts are under way, for those to catch up
GOLDEN_TOLERANCE = 0.02  # of the map's largest value: CPUs differ in the order of additions only


@dataclass(frozen=True)
class Golden:
    """How far one golden frame's map is from the one in the bundle, relative to its maximum."""

    name: str
    difference: float
    defect_score: float | None = None
    """Raw score of its generated defect; none on a good part."""

    @property
    def reproduced(self) -> bool:
        """True when this CPU computes the map that was expected."""
        return self.difference <= GOLDEN_TOLERANCE


class Bundle:
    """An opened bundle: `judge` a part, or only `score_map` it; for several threads at once."""

    def __init__(self, path: Path, released: "Released", graph: Graph, resizer: Resizer) -> None:
        self.path, self.sealed = path, released.sealed
        self.bundle_id, self.card, self.gate = released.bundle_id, released.card, released.gate
        self._graph, self._resizer = graph, resizer
        self._floor = released.card.score_floor

    def score_map(self, pixels: Rgb) -> Map:
        """Give the raw float32 (h, w) map of a part's ROI; pixels are uint8 H×W×3 RGB.

        Raises:
            ImageError: the pixels are anything else.
        """
        tiles, part_hw = self.prepare(pixels), (pixels.shape[0], pixels.shape[1])
        return map_tiles(self._graph, tiles, self.card.geometry, part_hw)

    def prepare(self, pixels: Rgb) -> Rgb:
        """Give the model inputs of a part, uint8 (tiles, h, w, 3); pixels are uint8 H×W×3 RGB.

        Raises:
            ImageError: the pixels are anything else.
        """
        return prepare(pixels, self.card.geometry, self._resizer)

    def judge_tiles(
        self, tiles: Rgb, part_hw: tuple[int, int], band: Band | None = None
    ) -> Judgement:
        """Judge one part by its model inputs.

        Args:
            tiles: as `prepare` gives them.
            part_hw: height and width of the whole part, px.
            band: thresholds to hold it against; none takes the card's.
        """
        given = [self._graph.outputs(tile) for tile in tiles]
        judgement = judge_map(
            assemble(np.stack([one[0][0] for one in given]), self.card.geometry, *part_hw),
            band=band or self.card.band,
            rule=self.card.score,
            geometry=self.card.geometry,
            part_hw=part_hw,
            floor=self._floor,
        )
        return replace(judgement, embedding=_embedding(given))

    def judge(self, pixels: Rgb) -> Judgement:
        """Judge one part; pixels are uint8 H×W×3 RGB.

        Raises:
            ImageError: the pixels are anything else.
        """
        return self.judge_tiles(self.prepare(pixels), (pixels.shape[0], pixels.shape[1]))

    def selftest(self) -> tuple[Golden, ...]:
        """Compare the map of each golden frame on this CPU with the one in the bundle.

        Raises:
            BundleCorrupt: a golden frame or its map is gone, damaged or of another size.
            BundleUnavailable: the disk or the memory refuses now.
        """
        return tuple(map(self.check, self.golden_names))

    @property
    def golden_names(self) -> tuple[str, ...]:
        """Names of the golden frames, good ones first, then those with a generated defect."""
        return *self.card.golden, *self.card.golden_defects

    def check(self, name: str) -> Golden:
        """Compare the map of one golden frame, as `selftest` does of all.

        The frames are read once; later checks take them from memory, so that they tell of the graph
        and not of the disk.
        """
        try:
            tiles, part_hw, expected = self._golden_inputs[name]
            if self._graph.compiling.gently:
                time.sleep(REST_S)
            found = map_tiles(self._graph, tiles, self.card.geometry, part_hw)
            if found.shape != expected.shape:
                raise ValueError(f"map of '{name}' is {expected.shape}; wanted {found.shape}")
        except (BundleCorrupt, OSError, KeyError, ValueError, ImageError) as error:
            kind = BundleUnavailable if _is_refused(error) else BundleCorrupt
            raise kind(
                f"{self.path / GOLDEN}: no selftest ({error}); copy the bundle again"
            ) from error
        except RuntimeError as error:
            raise BundleUnavailable(
                f"{self.path / GOLDEN}: OpenVINO makes no map ({error})"
            ) from error
        scale = max(float(np.abs(expected).max()), 1e-12)
        difference = float(np.abs(found - expected).max()) / scale
        difference = difference if math.isfinite(difference) else math.inf
        return Golden(name, difference, self.card.golden_defects.get(name))

    @cached_property
    def golden(self) -> tuple[Golden, ...]:
        """What `selftest` found the first time."""
        return self.selftest()

    @cached_property
    def _golden_inputs(self) -> dict[str, tuple[Rgb, tuple[int, int], Map]]:
        """The golden frames as the graph takes them, and the maps they must give, by name."""
        expected = parse_arrays(self.sealed.read(f"{GOLDEN}/{MAPS}"))
        inputs = {}
        for name in self.golden_names:
            pixels = self.golden_frame(name)
            size_hw = pixels.shape[0], pixels.shape[1]
            inputs[name] = self.prepare(pixels), size_hw, expected[name]
        return inputs

    def golden_frame(self, name: str) -> Rgb:
        """Read one golden frame, uint8 H×W×3 RGB, as it was signed."""
        file = f"{GOLDEN}/{name}.png"
        return decode_image(self.sealed.read(file, MAX_PICTURE_BYTES), file)


def _embedding(given: list[tuple[NDArray[np.float32], ...]]) -> tuple[float, ...] | None:
    """Give the mean over the tiles of the graph's second output (k,); none of a graph without."""
    if len(given[0]) == 1:
        return None
    mean = np.stack([one[1] for one in given]).mean(axis=0, dtype=np.float64)
    return tuple(mean.round(3).tolist()) if np.isfinite(mean).all() else None


def map_part(graph: Graph, pixels: Rgb, geometry: Geometry) -> Map:
    """Give the raw float32 (h, w) map of a part's ROI; pixels are uint8 H×W×3 RGB."""
    tiles = prepare(pixels, geometry)
    return map_tiles(graph, tiles, geometry, (pixels.shape[0], pixels.shape[1]))


def map_tiles(graph: Graph, tiles: Rgb, geometry: Geometry, part_hw: tuple[int, int]) -> Map:
    """Give the raw float32 (h, w) map of a part's ROI from its uint8 (tiles, h, w, 3) inputs."""
    return assemble(np.stack([graph(tile)[0] for tile in tiles]), geometry, *part_hw)


def open_bundle(
    path: Path | str,
    *,
    trusted_keys: tuple[str, ...] | None = None,
    allow_refused: bool = False,
    compiling: Compiling = ONE_AT_A_TIME,
) -> Bundle:
    """Verify and load a bundle, ready for its first part.

    Args:
        path: the bundle's folder.
        trusted_keys: keys whose bundles may run here, as `own_keys` gives them; none trusts
            every signature.
        allow_refused: open also what the gate refused or never saw, for inspection at a desk.
        compiling: how OpenVINO uses the processor.

    Raises:
        BundleCorrupt: a byte differs from what was signed.
        BundleUnavailable: it cannot be read or loaded now; a graph that OpenVINO can never load
            looks the same.
        GateRefused: the bundle did not pass its gate.
        BundleError: no bundle, an unknown signer, a newer card, or a graph that does not fit it.
    """
    folder = Path(path)
    released = read_released(folder, trusted_keys, allow_refused=allow_refused)
    graph = Graph(open_graph(released.sealed, GRAPH), compiling)
    _require_fitting(folder / GRAPH, graph, released.card.geometry)
    try:
        graph.warm_up()
        return Bundle(folder, released, graph, _resizer(released.card, compiling))
    except RuntimeError as error:
        raise BundleUnavailable(f"{folder / GRAPH}: OpenVINO cannot run it ({error})") from error


def open_graph(sealed: Sealed, name: str) -> openvino.Model:
    """Give a graph of a verified folder, `name` ending in .xml, from the very bytes that were.

    Raises:
        BundleCorrupt: its files were changed since.
        BundleUnavailable: they cannot be read, or loaded, now.
    """
    weights = sealed.read(f"{name.removesuffix('.xml')}.bin")
    return read_graph(sealed.read(name), weights, str(sealed.folder / name))


class Released(NamedTuple):
    """What stands in a bundle whose every byte was verified."""

    sealed: Sealed
    card: Card
    gate: GateRecord | None

    @property
    def bundle_id(self) -> str:
        """The bundle's id."""
        return self.sealed.bundle_id


def read_released(
    folder: Path, trusted_keys: tuple[str, ...] | None = None, *, allow_refused: bool = False
) -> Released:
    """Verify a bundle and read what it says of itself, without loading its graph.

    Raises:
        BundleCorrupt, BundleUnavailable, GateRefused, BundleError: as for `open_bundle`.
    """
    try:
        sealed = open_sealed(folder, trusted_keys)
        card = _parse_card(sealed)
        gate = read_gate(folder, sealed.bundle_id, trusted_keys)
    except (BundleError, OSError) as error:
        if _is_refused(error):
            raise BundleUnavailable(str(error)) from error
        raise
    if not allow_refused:
        _require_passed(folder, gate)
    return Released(sealed, card, gate)


def _parse_card(sealed: Sealed) -> Card:
    try:
        text = sealed.read(CARD, MAX_RECORD_BYTES).decode()
        return parse_record(text, Card, str(sealed.folder / CARD))
    except BundleError:
        raise
    except (UnicodeDecodeError, InspectionError) as error:
        raise BundleError(str(error)) from error


def read_signed_card(folder: Path, trusted_keys: tuple[str, ...]) -> tuple[str, Card]:
    """Give the id of a bundle and its card, once the signature holds; its other files are not read.

    Raises:
        BundleUnavailable: the disk refuses them now.
        BundleError: no bundle, signed by a key that is not trusted, or with another card.
    """
    sealed = open_sums(folder, trusted_keys)
    return sealed.bundle_id, _parse_card(sealed)


def read_card(folder: Path) -> Card:
    """Read the card of a bundle.

    Raises:
        BundleUnavailable: the disk refuses it now.
        BundleError: missing, damaged, or from a newer version of this program.
    """
    try:
        return read_record(folder / CARD, Card)
    except InspectionError as error:
        kind = BundleUnavailable if _is_refused(error) else BundleError
        raise kind(str(error)) from error


def _is_refused(error: Exception) -> bool:
    """Say whether the system refused a file that is there; what lies in it is then unknown.

    Libraries raise OSError without a number when they do not like the content.
    """
    cause = error if isinstance(error, OSError) else error.__cause__
    return isinstance(cause, OSError) and cause.errno not in {None, errno.ENOENT, *NOT_A_FILE}


def _resizer(card: Card, compiling: Compiling) -> Resizer:
    """Make ready for parts of the size that all calibrate normals had, if it is one."""
    resizer, limits = Resizer(compiling), card.guards
    if limits and limits.height_px.is_one and limits.width_px.is_one:
        size = round(limits.height_px.least), round(limits.width_px.least)
        prepare(np.zeros((*size, 3), np.uint8), card.geometry, resizer.expect)
    return resizer


def _require_fitting(path: Path, graph: Graph, geometry: Geometry) -> None:
    """Refuse at opening, not at each part, a graph that does not take what its card prepares."""
    taken, given = graph.compiled.input(0), graph.compiled.output(0)
    found = f"{taken.element_type.to_string()} {taken.partial_shape}"
    wanted = f"u8 [1,{geometry.height_px},{geometry.width_px},3]"
    if found != wanted or not str(given.partial_shape).startswith("[1,1,"):
        raise BundleError(
            f"{path}: takes {found} and gives {given.partial_shape}; the card wants {wanted} and "
            "[1,1,h,w]; export again"
        )


def _require_passed(folder: Path, gate: GateRecord | None) -> None:
    if gate is None:
        raise GateRefused(f"{folder}: was never put to the gate; run inspection gate {folder}")
    if not gate.passed:
        raise GateRefused(
            f"{folder}: the gate refused it ({'; '.join(gate.refusals)}); "
            "train or export again, or look at inspection report"
        )

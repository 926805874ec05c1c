"""Reads the parts a manifest names, and refuses bytes that are not the ones it was made from."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from inspection.core.defects import generate_defect
from inspection.core.errors import DatasetError
from inspection.core.geometry import Geometry, Roi, judged_tile_cells, prepare, roi_px
from inspection.core.imaging import Mask, Rgb, decode_image, load_mask, read_bytes
from inspection.core.records import Label, Manifest, ManifestEntry, Split

CACHE_BYTES = 2 << 30  # above it tiles are read again each time
Pixels = TypeVar("Pixels", Rgb, Mask)
DEFECT_SEED = 0  # of the defects that are generated where no real one is known


def load_part(manifest: Manifest, entry: ManifestEntry) -> Rgb:
    """Read one part as uint8 H×W×3 RGB: of its file what the entry's ROI cuts out.

    Raises:
        DatasetError: the file changed since the manifest was made.
        ImageError: it cannot be read.
    """
    path = Path(manifest.root) / entry.path
    encoded = read_bytes(path)
    found = hashlib.sha256(encoded).hexdigest()
    if found != entry.sha256:
        raise DatasetError(
            f"{path}: sha256 is {found[:12]}; the manifest says {entry.sha256[:12]}; "
            "put the file back or make the manifest again"
        )
    return cut(decode_image(encoded, str(path)), entry.roi)


def load_part_mask(manifest: Manifest, entry: ManifestEntry) -> Mask | None:
    """Read the pixel mask of one part as bool H×W; none when the manifest names none.

    It is cut as the part is.
    """
    return cut(load_mask(Path(manifest.root) / entry.mask), entry.roi) if entry.mask else None


def cut(pixels: Pixels, roi: Roi | None) -> Pixels:
    """Cut an ROI out of a picture or mask, H×W first; a view. None leaves all of it."""
    if roi is None:
        return pixels
    top, left, bottom, right = roi_px(roi, pixels.shape[0], pixels.shape[1])
    return pixels[top:bottom, left:right]


class FitTiles:
    """The prepared tiles of the fit split by number: image · tiles per part + tile of the part.

    Tiles are kept in memory once read, as long as the whole split fits into `CACHE_BYTES`.
    """

    def __init__(self, manifest: Manifest, geometry: Geometry) -> None:
        self.manifest, self.geometry = manifest, geometry
        self.entries = manifest.of(Split.FIT)
        tile_bytes = geometry.height_px * geometry.width_px * 3
        self._keep = len(self) * tile_bytes <= CACHE_BYTES
        self._parts: dict[int, Rgb] = {}

    def __len__(self) -> int:
        return len(self.entries) * self.geometry.tiles

    def __getitem__(self, number: int) -> Rgb:
        """Give one tile, uint8 (height_px, width_px, 3)."""
        image, tile = divmod(number, self.geometry.tiles)
        part = self._parts.get(image)
        if part is None:
            part = prepare(load_part(self.manifest, self.entries[image]), self.geometry)
            if self._keep:
                self._parts[image] = part
        return np.asarray(part[tile])

    def judged_cells(self, number: int, rows: int, columns: int) -> NDArray[np.int64]:
        """Give the cells of a tile's rows×columns map that are judged, row · columns + column."""
        image, tile = divmod(number, self.geometry.tiles)
        part_hw = self.entries[image].height_px, self.entries[image].width_px
        judged = judged_tile_cells(self.geometry, rows, columns, part_hw)[tile]
        return np.flatnonzero(judged)


@dataclass(frozen=True)
class HeldOutPart:
    """One part no bank has seen, with the defect's mask (bool H×W) where one is known."""

    path: str
    label: Label
    defect: str | None
    pixels: Rgb
    mask: Mask | None


class HeldOut:
    """The parts a bundle is judged on by number, good ones first, read when asked for.

    Good and defective parts are those of the test split. Where it has no good one, those of
    calibrate stand in; where it has no defect, one is generated on each good part.
    """

    def __init__(self, manifest: Manifest) -> None:
        tested = [entry for entry in manifest.entries if entry.split is Split.TEST]
        goods = [entry for entry in tested if entry.label is Label.GOOD]
        self.manifest = manifest
        self.goods = goods or [one for one in manifest.of(Split.CALIBRATE) if not one.outdated]
        self.goods_split = Split.TEST if goods else Split.CALIBRATE
        self.real_defects = [entry for entry in tested if entry.label is Label.DEFECT]

    @property
    def generated(self) -> bool:
        """Whether the defects are generated."""
        return not self.real_defects

    @property
    def files(self) -> list[Path]:
        """The picture files behind the parts."""
        entries = [*self.goods, *self.real_defects]
        return [Path(self.manifest.root, entry.path) for entry in entries]

    def __len__(self) -> int:
        return len(self.goods) + (len(self.real_defects) or len(self.goods))

    def __getitem__(self, number: int) -> HeldOutPart:
        """Read one part, or generate it."""
        if number < len(self.goods):
            return self._real(self.goods[number])
        number -= len(self.goods)
        if self.real_defects:
            return self._real(self.real_defects[number])
        entry = self.goods[number]
        part = generate_defect(load_part(self.manifest, entry), DEFECT_SEED, number)
        kind = f"generated {part.kind.value}"
        return HeldOutPart(entry.path, Label.DEFECT, kind, part.pixels, part.mask)

    def _real(self, entry: ManifestEntry) -> HeldOutPart:
        pixels = load_part(self.manifest, entry)
        mask = load_part_mask(self.manifest, entry)
        if mask is None and entry.label is Label.GOOD:
            mask = np.zeros(pixels.shape[:2], np.bool_)
        return HeldOutPart(entry.path, entry.label, entry.defect, pixels, mask)

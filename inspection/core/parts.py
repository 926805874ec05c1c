"""Reads the parts a manifest names, and refuses bytes that are not the ones it was made from."""

import hashlib
from pathlib import Path

import numpy as np

from inspection.core.errors import DatasetError
from inspection.core.geometry import Geometry, prepare
from inspection.core.imaging import Mask, Rgb, decode_image, load_mask, read_bytes
from inspection.core.records import Manifest, ManifestEntry, Split

CACHE_BYTES = 2 << 30  # above it tiles are read again each time


def load_part(manifest: Manifest, entry: ManifestEntry) -> Rgb:
    """Read one part as uint8 H×W×3 RGB.

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
    return decode_image(encoded, str(path))


def load_part_mask(manifest: Manifest, entry: ManifestEntry) -> Mask | None:
    """Read the pixel mask of one part as bool H×W; none when the manifest names none."""
    return load_mask(Path(manifest.root) / entry.mask) if entry.mask else None


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

"""Looks at pictures with an open detector, and draws what it finds."""

from collections.abc import Sequence
from pathlib import Path

from inspection.bundles.judging import overlay_paths
from inspection.bundles.overlay import write_picture
from inspection.core.folders import new_folder
from inspection.core.imaging import load_image
from inspection.core.progress import follow
from inspection.detectors.detections import Detections
from inspection.detectors.detector import Detector
from inspection.recognition.picture import draw_detections


def find_all(
    detector: Detector, pictures: Sequence[Path], out: Path | None
) -> list[tuple[Path, Detections]]:
    """Find typed defects on every picture; draw them into a new folder, if one is named.

    Raises:
        ConfigError: the folder is there.
        ImageError: a picture cannot be read.
        BundleError: as for `Detector.find`.
    """
    if out is None:
        return [(path, detector.find(load_image(path))) for path in follow(pictures, "finding")]
    found = []
    with new_folder(out) as folder:
        places = overlay_paths(pictures, folder)
        for path, place in follow(list(zip(pictures, places, strict=True)), "finding"):
            pixels = load_image(path)
            found.append((path, detector.find(pixels)))
            write_picture(place, draw_detections(pixels, found[-1][1], detector.card.types))
    return found

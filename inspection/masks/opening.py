"""Opens the segmenter of a folder, its bytes checked, or the fallback that needs none."""

from pathlib import Path

from inspection.core.errors import BundleCorrupt, BundleError, InspectionError
from inspection.core.records import hash_file, read_record
from inspection.masks.grabcut import GrabCut
from inspection.masks.sam import CARD, FILES, Sam, SegmenterCard
from inspection.masks.segmenter import Segmenter


def open_segmenter(folder: Path | None) -> Segmenter:
    """Open a converted segmenter; none is GrabCut.

    Raises:
        BundleError: no converted segmenter, or a damaged one.
        BundleUnavailable: OpenVINO cannot load it now.
    """
    return GrabCut() if folder is None else Sam(folder, read_card(folder))


def read_card(folder: Path) -> SegmenterCard:
    """Read what a converted segmenter is and check every byte of its graphs.

    Raises:
        BundleError: no converted segmenter.
        BundleCorrupt: naming every file that differs or is missing.
    """
    if not (folder / CARD).is_file():
        raise BundleError(
            f"{folder}: no {CARD} here; wanted a folder that inspection review convert wrote"
        )
    try:
        card = read_record(folder / CARD, SegmenterCard)
        problems = [
            f"'{name}' is missing or was changed"
            for name in FILES
            if not (folder / name).is_file() or hash_file(folder / name) != card.files.get(name)
        ]
    except (InspectionError, OSError) as error:
        raise BundleCorrupt(f"{folder}: {error}; remove it and convert again") from error
    if problems:
        raise BundleCorrupt(f"{folder}: {'; '.join(problems)}; remove it and convert again")
    return card

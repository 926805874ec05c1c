"""Opens a segmenter, its bytes checked: the one that ships, that of a folder, or GrabCut."""

from pathlib import Path

from inspection.bundles.graph import ONE_AT_A_TIME, Compiling
from inspection.core.errors import BundleCorrupt, BundleError, InspectionError
from inspection.core.records import hash_file, read_record
from inspection.core.shipped import OPENVINO, SEGMENTER
from inspection.masks.grabcut import GrabCut
from inspection.masks.sam import CARD, FILES, Sam, SegmenterCard
from inspection.masks.segmenter import Segmenter

BY_COLOURS = Path("grabcut")  # the word that asks for GrabCut, which needs no weights
SHIPPED = SEGMENTER / OPENVINO


def open_segmenter(folder: Path | None, compiling: Compiling = ONE_AT_A_TIME) -> Segmenter:
    """Open a segmenter.

    Args:
        folder: of a converted one; none is the one that ships, `grabcut` GrabCut.
        compiling: how OpenVINO uses the processor.

    Raises:
        BundleError: no converted segmenter, or a damaged one.
        BundleUnavailable: OpenVINO cannot load it now.
    """
    if folder == BY_COLOURS:
        return GrabCut()
    if folder is not None:
        return Sam(folder, read_card(folder), compiling)
    try:
        card = read_card(SHIPPED)
    except BundleError as error:
        raise BundleCorrupt(
            f"{error}; it came with the package: install that again, or name grabcut"
        ) from error
    weights = card.weights.model_copy(update={"name": "segmenter", "source": "shipped"})
    return Sam(SHIPPED, card.model_copy(update={"weights": weights}), compiling)


def read_card(folder: Path) -> SegmenterCard:
    """Read what a converted segmenter is and check every byte of its graphs.

    Raises:
        BundleError: no converted segmenter.
        BundleCorrupt: naming every file that differs or is missing.
    """
    if not (folder / CARD).is_file():
        raise BundleError(
            f"{folder}: no {CARD} here; wanted a folder that inspection review convert wrote, "
            "the word grabcut, or nothing for the one that ships"
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

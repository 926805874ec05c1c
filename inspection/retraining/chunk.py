"""Judges one chunk of an archive's pictures, in whatever process it is asked to."""

import functools
import math
import threading
from collections.abc import Sequence
from pathlib import Path

from inspection.bundles.bundle import Bundle, open_bundle
from inspection.bundles.graph import Compiling
from inspection.core.config import Settings
from inspection.core.decision import Band, Verdict, decide, part_score
from inspection.core.errors import BundleError, DatasetError, ImageError
from inspection.core.geometry import roi_px
from inspection.core.imaging import load_image
from inspection.core.records import Label
from inspection.retraining.archive import Picture

_opening = threading.Lock()


class Judged(Settings):
    """What a bundle says of a picture, and what was said of it before; one line of the output."""

    name: str
    verdict: Verdict
    score: float | None
    """Raw; none for FAULT."""
    reason: str
    """Empty, or why it could not be judged."""
    then: Verdict | None
    score_then: float | None
    label: Label | None


def judge_chunk(
    pictures: Sequence[Picture], bundle: str, bundle_id: str, band: Band, threads: int | None
) -> str:
    """Judge pictures in order, and give their rows as JSON lines.

    Args:
        pictures: of one chunk; one that cannot be read is FAULT.
        bundle: folder of the bundle.
        bundle_id: that it has to have.
        band: thresholds to hold the scores against.
        threads: that judge at once in this process; none asks the worker this runs on.

    Raises:
        BundleError: it cannot be opened, is another one, or comes to other maps on this CPU.
        DatasetError: not one of the pictures is there.
    """
    if not any(Path(picture.path).exists() for picture in pictures):
        raise DatasetError(
            f"{pictures[0].path}: neither it nor any other picture of its chunk is there; mount "
            "the archive under the same path on every machine; if it was emptied, ask again"
        )
    with _opening:
        opened = _open(bundle, bundle_id, threads)
    rows = [_judge(opened, band, picture) for picture in pictures]
    return "".join(f"{row.model_dump_json()}\n" for row in rows)


@functools.lru_cache(maxsize=1)
def _open(bundle: str, bundle_id: str, threads: int | None) -> Bundle:
    if threads is None:
        # only where there is a cluster is Dask there
        from inspection.retraining.remote import threads_here

        threads = threads_here()
    opened = open_bundle(
        bundle, allow_refused=True, compiling=Compiling("throughput", threads=threads)
    )
    if opened.bundle_id != bundle_id:
        raise BundleError(f"{bundle}: is {opened.bundle_id}; wanted {bundle_id}; copy it again")
    if not all(golden.reproduced for golden in opened.golden):
        raise BundleError(
            f"{bundle}: this CPU computes other golden maps; use one with VNNI, or export with "
            "precision fp16"
        )
    return opened


def _judge(bundle: Bundle, band: Band, picture: Picture) -> Judged:
    card = bundle.card
    try:
        pixels = load_image(Path(picture.path))
        top, left, bottom, right = roi_px(picture.roi, pixels.shape[0], pixels.shape[1])
        score_map = bundle.score_map(pixels[top:bottom, left:right])
    except ImageError as error:
        return _row(picture, Verdict.FAULT, None, str(error))
    score = part_score(score_map, card.score, card.geometry)
    if not math.isfinite(score):
        return _row(picture, Verdict.FAULT, None, f"{picture.path}: the score is {score}")
    return _row(picture, decide(score, band, card.score_floor), score, "")


def _row(picture: Picture, verdict: Verdict, score: float | None, reason: str) -> Judged:
    return Judged(
        name=picture.name,
        verdict=verdict,
        score=score,
        reason=reason,
        then=picture.then,
        score_then=picture.score_then,
        label=picture.label,
    )

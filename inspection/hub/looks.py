"""Explains one frame's score: heat, coarse and refined mask, the nearest normal patch."""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from inspection.bundles.bundle import GOLDEN_TOLERANCE, Bundle
from inspection.bundles.overlay import encode_picture
from inspection.core.decision import Judgement
from inspection.core.errors import ConfigError
from inspection.core.heat import Heat
from inspection.core.imaging import Mask, Rgb, resize
from inspection.core.records import FrameRecord
from inspection.hub.hub import Hub
from inspection.hub.outlines import Corrected, KeptFrame, as_text, corrected, find_frame
from inspection.hub.patches import centre_xy, cut_patch
from inspection.hub.queue import is_blind
from inspection.hub.refusals import NotThere
from inspection.hub.wire.review import Look
from inspection.masks.components import heat_of
from inspection.masks.refine import Refiner
from inspection.review.coco import encode_mask

NO_BANK = "no nearest normal: the model compares with no bank of patches"


@dataclass(frozen=True)
class _Judged:
    """A frame with what its bundle finds on it here."""

    frame: KeptFrame
    pixels: Rgb
    bundle: Bundle
    judgement: Judgement

    def heat(self, size_hw: tuple[int, int]) -> Heat:
        """Lay the smoothed map on the frame, reduced to this size."""
        card = self.bundle.card
        return heat_of(self.judgement, card.geometry, card.score, size_hw)


@dataclass(frozen=True)
class _Outlined:
    """A frame's mask and whose it is: a segmenter's or a person's."""

    mask: Mask
    segmenter: str
    corrected_by: str | None = None
    correction: int = 0


def look(hub: Hub, event_id: str, camera: str, side_px: int, account: str) -> Look:
    """Explain one frame's score by the bundle that gave it, and show the mask a person made.

    Args:
        hub: that has event, picture and bundle.
        event_id: of the event.
        camera: whose frame.
        side_px: most px of the longer side of each image.
        account: who looks; a mask would tell a blind second reviewer what was decided.

    Raises:
        NotThere: no such event or camera, its picture or its bundle is not here, or none judged.
        ConfigError: the picture gives no score.
        HubError, BundleError: as for `Opened.bundle`.
    """
    frame = find_frame(hub, event_id, camera)
    record = frame.record
    if not record.bundle_id:
        raise NotThere(f"event '{event_id}': no bundle judged camera '{camera}' ({record.reason})")
    bundle, patches = hub.opened.bundle(record.bundle_id), hub.opened.patches(record.bundle_id)
    with hub.opened.room:
        judged = _judge(frame, frame.load(hub), bundle)
        height, width = frame.size_hw
        heat, shown_hw = judged.heat(frame.size_hw), _within(frame.size_hw, side_px)
        level, coarse = _draw(judged, shown_hw)
        outlined = _outline(hub, judged, account)
        cell = divmod(int(np.argmax(heat.cells)), heat.cells.shape[1])
        likest = patches.likest(judged.pixels, cell) if patches else None
        return Look(
            camera=camera,
            bundle_id=bundle.bundle_id,
            score=judged.judgement.score,
            height_px=height,
            width_px=width,
            heat=_grey(level),
            coarse=as_text(encode_mask(coarse)),
            refined=as_text(encode_mask(_reduced(outlined.mask, shown_hw))),
            segmenter=outlined.segmenter,
            corrected_by=outlined.corrected_by,
            correction=outlined.correction,
            peak_xy=centre_xy(heat, cell),
            patch=_colour(cut_patch(judged.pixels, heat, cell), side_px),
            normal_patch=_colour(likest.patch, side_px) if likest else None,
            normal_distance=likest.distance if likest else None,
            note="; ".join(filter(None, (_doubt(record, judged), "" if patches else NO_BANK))),
        )


def _judge(frame: KeptFrame, pixels: Rgb, bundle: Bundle) -> _Judged:
    tiles, part_hw = bundle.prepare(pixels), (pixels.shape[0], pixels.shape[1])
    judgement = bundle.judge_tiles(tiles, part_hw, frame.record.band)
    if not math.isfinite(judgement.score):
        raise ConfigError(
            f"event '{frame.event_id}': its picture gives score {judgement.score}; look at the "
            "light and the part"
        )
    return _Judged(frame, pixels, bundle, judgement)


def _corrected(hub: Hub, frame: KeptFrame, account: str) -> Corrected | None:
    with hub.database.reading() as connection:
        if is_blind(connection, frame.event_id, account):
            return None
    return corrected(hub, frame)


def _draw(judged: _Judged, shown_hw: tuple[int, int]) -> tuple[NDArray[np.uint8], Mask]:
    """Give heat, 0 to 255, and coarse mask at a size; both are empty outside the map.

    Heat begins at the map's least value and ends at its largest, or at `reject_above` where that is
    larger: the strongest spot of a good part must not look like a defect.
    """
    heat, band = judged.heat(shown_hw), judged.judgement.band
    left, top, right, bottom = heat.rectangle
    values, least = heat.enlarged(), float(heat.cells.min())
    span = max(float(heat.cells.max()), band.reject_above) - least
    level, coarse = np.zeros(shown_hw, np.uint8), np.zeros(shown_hw, np.bool_)
    if span > 0:
        share = np.clip((values - least) / span, 0, 1)
        level[top:bottom, left:right] = np.round(share * 255).astype(np.uint8)
    coarse[top:bottom, left:right] = values > band.review_above
    return level, coarse


def _outline(hub: Hub, judged: _Judged, account: str) -> _Outlined:
    if by_person := _corrected(hub, judged.frame, account):
        return _Outlined(by_person.mask, "", by_person.reviewer, by_person.revision)
    card, refiner = judged.bundle.card, Refiner(hub.opened.clicks.segmenter)
    refined = refiner.refine(judged.pixels, judged.judgement, card.geometry, card.score)
    return _Outlined(refined.mask(judged.frame.size_hw), refined.segmenter)


def _doubt(record: FrameRecord, judged: _Judged) -> str:
    """Say why what is shown may not be what the station saw."""
    if record.score is None:
        return f"the station gave no score: {record.reason}"
    here, most = judged.judgement.score, float(np.abs(judged.judgement.score_map).max())
    if abs(here - record.score) <= GOLDEN_TOLERANCE * most:
        return ""
    return (
        f"the score is {here:.4g} here and {record.score:.4g} in the event, as with a recipe that "
        "judges a part of the frame only; heat and masks are indicative"
    )


def _within(size_hw: tuple[int, int], side_px: int) -> tuple[int, int]:
    """Give the size of an image whose longer side has at most `side_px`; none is made larger."""
    height, width = size_hw
    share = min(1.0, side_px / max(size_hw))
    return max(1, round(height * share)), max(1, round(width * share))


def _reduced(mask: Mask, size_hw: tuple[int, int]) -> Mask:
    """Reduce a mask so that the thinnest scratch stays visible."""
    if mask.shape == size_hw:
        return mask
    share = cv2.resize(mask.astype(np.float32), size_hw[::-1], interpolation=cv2.INTER_AREA)
    return np.asarray(share > 0)


def _grey(plane: NDArray[np.uint8]) -> str:
    _, encoded = cv2.imencode(".png", plane)
    return as_text(encoded.tobytes())


def _colour(pixels: Rgb, side_px: int) -> str:
    shown_hw = _within((pixels.shape[0], pixels.shape[1]), side_px)
    return as_text(encode_picture(resize(pixels, *shown_hw)))

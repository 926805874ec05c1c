"""Shows what a second stage named on a frame: masks and types over its picture, and in words."""

import html
import io

import streamlit as st
from PIL import Image

from inspection.core.geometry import Roi, roi_px
from inspection.core.known import BLIND, Named, Recognised
from inspection.core.records import FrameRecord
from inspection.dashboard.parts import viewer
from inspection.dashboard.parts.decisions import Desk, Shown
from inspection.dashboard.parts.formats import plain
from inspection.hub.client import HubClient

COLOUR = (204, 121, 167)  # Okabe and Ito's reddish purple, beside the masks' orange and blue
MOST_LABELS = 12
BACK_H = 24 * 30  # of the types there is a filter for
ALL = "all types"


def drawn(shown: Shown) -> tuple[bytes, str] | None:
    """Draw what was named on the frame that is shown.

    Returns:
        PNG with the objects' outlines, as large as the picture, and HTML of their types; none where
        nothing was named.
    """
    frame = shown.frame
    stored = next((one for one in shown.detail.pictures if one.name == frame.image), None)
    found = frame.recognised.found if frame.recognised else ()
    if shown.picture is None or stored is None or not found:
        return None
    with Image.open(io.BytesIO(shown.picture)) as picture:
        size_wh = picture.size
    stored_hw = stored.height_px, stored.width_px
    inside = Image.new("L", size_wh)
    for one in found:
        x0, y0, x1, y1 = _place(one, frame, stored_hw, size_wh)
        size = max(1, x1 - x0), max(1, y1 - y0)
        mask = _mask(one).resize(size, Image.Resampling.NEAREST)
        inside.paste(255, (x0, y0), mask)
    labels = "".join(
        _label(one, _place(one, frame, stored_hw, size_wh), size_wh) for one in found[:MOST_LABELS]
    )
    return viewer.outlined_image(inside, COLOUR), labels


def in_words(recognised: Recognised) -> str:
    """Say what was named, or why nothing could be: 'crack 0.91, 3 pore up to 0.64 (by pores)'."""
    by = plain(recognised.detector)
    if recognised.status == "skipped":
        return f"Known defects: not looked for, as usual as most normals (by {by})"
    if recognised.status in BLIND:
        ended = "came late" if recognised.status == "late" else "failed"
        if not recognised.counts:
            return f"Known defects: the second stage {ended} ({by}): {plain(recognised.reason)}"
        by = f"{by}, which {ended}: {plain(recognised.reason)}"
    surest = {one.type: f"{one.score:.2f}" for one in reversed(recognised.found)}
    named = [
        f"{count} **{plain(type_)}** up to {surest.get(type_, '?')}"
        if count > 1
        else f"**{plain(type_)}** {surest.get(type_, '?')}"
        for type_, count in recognised.counts.items()
    ]
    held = "; it holds the part" if recognised.held else ""
    return f"Known defects: {', '.join(named) or 'none'} (by {by}{held})"


def choose_type(hub: HubClient, desk: Desk) -> None:
    """Let the person choose of which type parts are shown, where any type was named lately."""
    if desk.named is None:
        counted = hub.types(BACK_H, line=desk.line).types
        desk.named = tuple(dict.fromkeys(one.type for one in counted))
    if not desk.named:
        return
    chosen = st.selectbox(
        "Named by the second stage",
        [ALL, *desk.named],
        key="review_only_type",
        format_func=plain,
        width=240,
        label_visibility="collapsed",
    )
    desk.narrow(None if chosen == ALL else chosen)


def _place(
    one: Named, frame: FrameRecord, stored_hw: tuple[int, int], size_wh: tuple[int, int]
) -> tuple[int, int, int, int]:
    """Give an object's box on the picture as shown, px; the event has it on what was cut out."""
    top, left, _, _ = roi_px(frame.roi or Roi(), *stored_hw)
    across, down = size_wh[0] / stored_hw[1], size_wh[1] / stored_hw[0]
    x0, y0, x1, y1 = one.box
    return (
        round((x0 + left) * across),
        round((y0 + top) * down),
        round((x1 + left) * across),
        round((y1 + top) * down),
    )


def _mask(one: Named) -> Image.Image:
    """Give an object's mask, grey; all of its box where there is none."""
    if one.mask is None:
        return Image.new("L", (one.box[2] - one.box[0], one.box[3] - one.box[1]), 255)
    return viewer.opened(one.mask).convert("L")


def _label(one: Named, place: tuple[int, int, int, int], size_wh: tuple[int, int]) -> str:
    left, bottom = 100 * place[0] / size_wh[0], 100 * (1 - place[1] / size_wh[1])
    return (
        f'<span class="named" style="left: {left:.2f}%; bottom: {bottom:.2f}%">'
        f"{html.escape(one.type)} {one.score:.2f}</span>"
    )

"""Lets a person outline a defect by clicks: the hub's segmenter answers each, the person saves."""

import io
from dataclasses import dataclass, field
from typing import Any

import httpx
import streamlit as st
from PIL import Image, ImageDraw
from streamlit_image_coordinates import streamlit_image_coordinates

from inspection.dashboard.parts import errors, formats
from inspection.dashboard.parts.decisions import Desk, Shown
from inspection.dashboard.parts.viewer import REFINED, opened
from inspection.hub.asking import Refused
from inspection.hub.client import HubClient
from inspection.hub.wire.review import NewCorrection, Outline, Outlined

MOST_WH = (620, 400)  # of the picture on the page, px
CLICKS, SIGN, MESSAGE = "review clicks", "correct_sign", "review correction said"
DEFECT, BACKGROUND = "defect", "not defect"
DOT_PX = 4
TINT = 110  # of 255


@dataclass
class Clicks:
    """What was clicked on one frame: x, y in px of the stored picture, and whether on a defect."""

    of: tuple[str, str]
    points: list[tuple[float, float, bool]] = field(default_factory=list)
    answer: Outlined | None = None
    taken_at: int = 0

    def take(
        self, hub: HubClient, said: dict[str, Any], size_wh: tuple[int, int], sign: str
    ) -> bool:
        """Add a click as the browser reports it; one that was taken before changes nothing.

        Args:
            hub: answers with the outline.
            said: x, y in px of the shown image, its width and height, and unix_time, ms.
            size_wh: width and height of the stored picture, px.
            sign: `DEFECT` or `BACKGROUND`.
        """
        if said["unix_time"] <= self.taken_at:
            return False
        self.taken_at = said["unix_time"]
        x = said["x"] / said["width"] * size_wh[0]
        y = said["y"] / said["height"] * size_wh[1]
        self.points.append((x, y, sign == DEFECT))
        self.ask(hub)
        return True

    def ask(self, hub: HubClient) -> None:
        """Ask for the outline of all clicks; without one on a defect there is none."""
        event_id, camera = self.of
        clicks = Outline(
            camera=camera,
            positive=tuple((x, y) for x, y, inside in self.points if inside),
            negative=tuple((x, y) for x, y, inside in self.points if not inside),
        )
        self.answer = hub.outline(event_id, clicks) if clicks.positive else None

    def take_back(self, hub: HubClient) -> None:
        """Undo the last click."""
        if self.points:
            self.points.pop()
            self.ask(hub)

    def clear(self) -> None:
        """Undo all clicks."""
        self.points.clear()
        self.answer = None


def editor(hub: HubClient, desk: Desk, shown: Shown) -> None:
    """Show a part to click on, with the outline so far, and what can be done with it."""
    if shown.picture is None:
        st.info("There is no picture to outline a defect on.")
        return
    clicks = _clicks(shown)
    st.segmented_control(
        "A click is on", [DEFECT, BACKGROUND], default=DEFECT, required=True, key=SIGN
    )
    _canvas(hub, shown, clicks)
    buttons = st.container(horizontal=True)
    empty = not clicks.points
    buttons.button(
        "Undo click", key="correct_undo", disabled=empty, on_click=_undo, args=(hub, clicks)
    )
    buttons.button("Clear", key="correct_clear", disabled=empty, on_click=clicks.clear)
    buttons.button(
        "Save mask",
        key="correct_save",
        type="primary",
        disabled=clicks.answer is None,
        on_click=_save,
        args=(hub, desk, shown, clicks),
    )
    st.caption(_state(shown, clicks))


def _clicks(shown: Shown) -> Clicks:
    of = (shown.detail.event.event_id, shown.frame.view)
    clicks = st.session_state.get(CLICKS)
    if not isinstance(clicks, Clicks) or clicks.of != of:
        clicks = st.session_state[CLICKS] = Clicks(of)
    return clicks


def _canvas(hub: HubClient, shown: Shown, clicks: Clicks) -> None:
    stored = next(one for one in shown.detail.pictures if one.name == shown.frame.image)
    size_wh = (stored.width_px, stored.height_px)
    scale = min(most / size for most, size in zip(MOST_WH, size_wh, strict=True))
    said = streamlit_image_coordinates(
        drawn(shown, clicks, size_wh, scale),
        width=round(size_wh[0] * scale),
        key=f"correct_canvas-{clicks.of[0]}-{clicks.of[1]}",
        image_format="JPEG",
        cursor="crosshair",
    )
    if said is not None:
        with errors.shown(), st.spinner("Outlining …"):
            if clicks.take(hub, said, size_wh, st.session_state[SIGN]):
                st.rerun()


def drawn(shown: Shown, clicks: Clicks, size_wh: tuple[int, int], scale: float) -> Image.Image:
    """Draw the picture with the mask so far tinted and the clicks as dots.

    Args:
        shown: the frame, with a picture.
        clicks: on it.
        size_wh: width and height of the stored picture, px.
        scale: px of the drawing per px of the stored picture.

    Returns:
        RGB, as large as the page shows it.
    """
    with Image.open(io.BytesIO(shown.picture or b"")) as picture:
        image = picture.convert("RGB").resize(
            (round(size_wh[0] * scale), round(size_wh[1] * scale))
        )
    mask = clicks.answer.mask if clicks.answer else shown.look.refined if shown.look else None
    if mask is not None:
        inside = opened(mask).convert("L").resize(image.size, Image.Resampling.NEAREST)
        image.paste(REFINED, None, inside.point(lambda level: TINT if level > 127 else 0))
    pen = ImageDraw.Draw(image)
    for x, y, inside_defect in clicks.points:
        fill = "white" if inside_defect else "black"
        pen.circle((x * scale, y * scale), DOT_PX, fill, "black" if inside_defect else "white")
    return image


def _state(shown: Shown, clicks: Clicks) -> str:
    if message := st.session_state.pop(MESSAGE, ""):
        return str(message)
    if clicks.answer is not None:
        by = formats.plain(clicks.answer.segmenter)
        return f"{clicks.answer.area_px} px outlined by {by}; not saved yet."
    if clicks.points:
        return "Click on the defect too; so far there are only places that are not defect."
    if shown.look is not None and shown.look.corrected_by:
        by = formats.plain(shown.look.corrected_by)
        return f"The mask shown is by {by}. Click on the defect to make yours."
    return "Click on the defect; then on what the outline has too much, as 'not defect'."


def _undo(hub: HubClient, clicks: Clicks) -> None:
    with errors.shown():
        clicks.take_back(hub)


def _save(hub: HubClient, desk: Desk, shown: Shown, clicks: Clicks) -> None:
    if clicks.answer is None:
        return
    new = NewCorrection(
        camera=clicks.of[1],
        mask=clicks.answer.mask,
        revision=shown.look.correction if shown.look else 0,
    )
    desk.forget(clicks.of[0])
    with errors.shown():
        try:
            saved = hub.correct(clicks.of[0], new)
        except Refused as error:
            if error.status != httpx.codes.CONFLICT:
                raise
            st.session_state[MESSAGE] = (
                f":orange[**Not saved:** {formats.plain(str(error))}] Your outline is still here; "
                "saving again puts it on top of the other, and both stay in the log."
            )
            return
        clicks.clear()
        st.session_state[MESSAGE] = f"Saved as revision {saved.revision}."

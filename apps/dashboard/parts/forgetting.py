"""Lets an engineer forget a picture for good, and lists what was forgotten."""

import hashlib
import re
from collections.abc import Callable

import pandas as pd
import streamlit as st

from inspection.dashboard.parts import formats, pictures, reason, session
from inspection.hub.wire.people import Role
from inspection.hub.wire.retraining import Forgotten, NewForgotten

SHA256 = re.compile(r"[0-9a-f]{64}")
SIDE_PX = 240
MOST_EVENTS = 5  # of one part; each is a request
NONE = "Nothing was forgotten. A picture that was taken by mistake, or shows a person, can be."


def show() -> None:
    """Find a picture to forget, and list what was forgotten."""
    if not session.may(Role.ENGINEER):
        st.caption("Engineers and admins forget pictures, and see which were forgotten.")
        return
    _find()
    forgotten = session.hub().forgotten()
    if not forgotten:
        st.info(NONE, icon=":material/delete_forever:")
        return
    rows = [_row(one) for one in pictures.paged(forgotten, 100, "forgotten-pages")]
    st.dataframe(pd.DataFrame(rows), hide_index=True, key="forgotten")


def button(event_id: str, picture: str, place: st.delta_generator.DeltaGenerator) -> None:
    """Offer to forget a stored picture of an event, to those who may.

    Args:
        event_id: of the event.
        picture: its name there.
        place: where the button stands.
    """
    if session.may(Role.ENGINEER) and place.button("Forget …", key=f"forget-{event_id}-{picture}"):
        _ask(lambda: hashlib.sha256(session.hub().picture(event_id, picture)).hexdigest())


def _ask(digest: Callable[[], str]) -> None:
    """Ask why, then forget the picture of this hash of its bytes."""

    def send(why: str) -> str:
        done = session.hub().forget(NewForgotten(sha256=digest(), comment=why))
        return f"Picture {formats.short(done.sha256)} is forgotten; {_taught(done)}."

    reason.ask(
        "forget",
        "Forget a picture",
        "It never teaches anything again: every training from now on leaves it out. Bundles it "
        "taught come to no line any more; one that judges goes on, so have it trained again. So do "
        "thresholds that were fitted on its part, until they are fitted again or set by hand. "
        "**This cannot be undone.** The picture stays with its part until retention takes it.",
        "Forget it",
        send,
    )


def _taught(one: Forgotten) -> str:
    bundles = formats.counted(len(one.bundles), "bundle") if one.bundles else "no bundle"
    if not one.thresholds:
        return f"it had taught {bundles}"
    records = ", ".join(map(formats.short, one.thresholds))
    return f"it had taught {bundles}, and the thresholds in force, record {records}: fit them again"


def _find() -> None:
    words = st.text_input(
        "Part, or the sha256 of a picture",
        key="forget-part",
        placeholder="whose picture must never teach anything again",
        icon=":material/search:",
        width=640,
    ).strip()
    if SHA256.fullmatch(words):
        if st.button("Forget this picture …", key="forget-sha256"):
            _ask(lambda: words)
    elif words:
        _pick(words)


def _pick(part_id: str) -> None:
    """Let a person pick among the pictures of a part, and show the one picked."""
    hub = session.hub()
    details = [
        hub.event(row.event_id) for row in hub.events(part_id=part_id, limit=MOST_EVENTS).items
    ]
    known = {
        (one.event.event_id, frame.image): f"{formats.clock(one.event.captured_at)}, "
        f"{frame.view}, {formats.short(one.event.event_id)}"
        for one in details
        for frame in one.event.frames
        if frame.image in {picture.name for picture in one.pictures}
    }
    if not known:
        st.warning(
            f"No picture of part {formats.plain(part_id)} is on the hub. Look whether its name is "
            "written as its station does; where retention took the picture, give its sha256.",
            icon=":material/hide_image:",
        )
        return
    row = st.container(horizontal=True, vertical_alignment="bottom")
    event_id, name = row.selectbox(
        "Picture", list(known), format_func=lambda one: known[one], key="forget-picture", width=520
    )
    button(event_id, name, row)
    st.image(hub.picture(event_id, name, SIDE_PX), alt=part_id)


def _row(one: Forgotten) -> dict[str, object]:
    return {
        "picture": one.sha256,
        "when": formats.clock(one.at),
        "who": one.who,
        "why": one.why,
        "vectors": one.vectors,
        "had taught": ", ".join(map(formats.short, one.bundles)),
        "thresholds in force": ", ".join(map(formats.short, one.thresholds)),
    }

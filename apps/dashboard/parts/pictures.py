"""Shows small pictures of parts; each is asked for once per browser session."""

import httpx
import streamlit as st

from inspection.hub.client import HubClient, Refused
from inspection.hub.wire.line import EventRow

SIDE_PX = 160
KEPT = 240  # some 6 kB each
_KEPT = "small pictures"


def thumbnail(hub: HubClient, row: EventRow) -> None:
    """Show a part's picture, its longer side 160 px, or say that there is none."""
    picture = _fetch(hub, row)
    if picture is None:
        st.caption(f":material/hide_image: no picture of {row.part_id} here")
    else:
        st.image(picture, width=SIDE_PX, alt=row.part_id)


def _fetch(hub: HubClient, row: EventRow) -> bytes | None:
    kept: dict[str, bytes] = st.session_state.setdefault(_KEPT, {})
    if row.picture is not None and row.event_id not in kept:
        try:
            kept[row.event_id] = hub.picture(row.event_id, row.picture, SIDE_PX)
        except Refused as error:
            if error.status != httpx.codes.NOT_FOUND:
                raise
    while len(kept) > KEPT:
        del kept[next(iter(kept))]
    return kept.get(row.event_id)

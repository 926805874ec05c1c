"""Shows small pictures of parts; each is asked for once per browser session."""

from collections.abc import Sequence
from typing import TypeVar

import httpx
import streamlit as st

from inspection.dashboard.parts import formats
from inspection.hub.asking import Refused
from inspection.hub.client import HubClient
from inspection.hub.wire.line import EventRow

SIDE_PX = 160
KEPT = 240  # some 6 kB each
_KEPT = "small pictures"
ItemT = TypeVar("ItemT")


def paged(items: Sequence[ItemT], count: int, key: str) -> Sequence[ItemT]:
    """Give `count` of the items, with numbers to turn the pages by where there are more."""
    if len(items) <= count:
        return items
    number = st.pagination(-(-len(items) // count), key=key)
    return items[(number - 1) * count : number * count]


def thumbnail(hub: HubClient, row: EventRow) -> None:
    """Show a part's picture, its longer side 160 px, or say that there is none."""
    picture = _fetch(hub, row)
    if picture is None:
        st.caption(f":material/hide_image: no picture of {formats.plain(row.part_id)} here")
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

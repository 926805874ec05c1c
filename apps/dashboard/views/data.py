"""The page that shows what is in the sets of reviewed parts, and gives them away as files."""

from dataclasses import dataclass, field
from functools import partial

import streamlit as st

from inspection.dashboard.parts import charts, formats, pictures, session
from inspection.hub.client import HubClient
from inspection.hub.wire.line import EventRow
from inspection.hub.wire.models import DataSet, NearDuplicates
from inspection.hub.wire.people import Role

PAIRS = 6
FOUND = "data duplicates"
LAYOUTS = (("mvtec", "MVTec folder"), ("coco", "COCO"))


@dataclass
class Found:
    """Pairs that are too alike, and the parts of those that were shown."""

    answer: NearDuplicates
    rows: dict[str, EventRow] = field(default_factory=dict)


def page() -> None:
    """Show the sets of the line, one per product."""
    line = session.line()
    hub = session.hub()
    sets = [one for one in hub.datasets() if one.line == line]
    if not sets:
        st.info(
            "No part of this line is on the hub yet. Start a station whose outputs name this hub; "
            "its parts come here, and the page Review makes a set of them."
        )
        return
    for number, one in enumerate(sets):
        with st.container(border=True, key=f"data_set_{number}"):
            _set(hub, number, one)


def _set(hub: HubClient, number: int, one: DataSet) -> None:
    defects = sum(one.defects.values())
    st.subheader(formats.plain(one.product))
    numbers, types = st.columns([3, 2], gap="medium")
    with numbers:
        for column, name, value in zip(
            st.columns(5),
            ("Parts", "With picture", "Good", "Defect", "Unsure"),
            (one.parts, one.with_picture, one.goods, defects, one.unsure),
            strict=True,
        ):
            column.metric(name, f"{value:,}")
        _share("reviewed", one.reviewed, one.parts, "parts")
        _share("with a mask drawn by a person", one.masks, defects, "reviewed defects")
    with types:
        if one.defects:
            st.altair_chart(charts.bars(one.defects, "reviewed parts"), key=f"data_types_{number}")
        else:
            st.caption("No defect was reviewed yet; decide on parts on the page Review.")
    _export(hub, number, one)
    _duplicates(hub, number, one)


def _share(what: str, count: int, of: int, things: str) -> None:
    text = f"{count:,} of {of:,} {things} {what}"
    st.progress(
        count / of if of else 0.0, f"{text} ({formats.percent(count / of)})" if of else text
    )


def _export(hub: HubClient, number: int, one: DataSet) -> None:
    if not session.may(Role.REVIEWER):
        st.caption(f"Your role is {session.me().role}. Reviewers export sets; ask an admin.")
        return
    row = st.container(horizontal=True, vertical_alignment="center")
    empty = not one.reviewed
    for layout, name in LAYOUTS:
        row.download_button(
            f"Export as {name}",
            partial(hub.export, one.line, one.product, layout),
            f"{one.line}-{one.product}-{layout}.zip",
            "application/zip",
            key=f"data_export_{layout}_{number}",
            on_click="ignore",
            disabled=empty,
            icon=":material/download:",
        )
    row.caption(
        "Nothing to export before a part is reviewed."
        if empty
        else "The hub makes the ZIP when you press."
    )


def _duplicates(hub: HubClient, number: int, one: DataSet) -> None:
    found: dict[tuple[str, str], Found] = st.session_state.setdefault(FOUND, {})
    key = (one.line, one.product)
    if st.button("Find near duplicates", key=f"data_duplicates_{number}"):
        with st.spinner("Comparing pictures …"):
            found[key] = Found(hub.near_duplicates(*key))
    if key not in found:
        return
    answer = found[key].answer
    st.caption(
        f"{answer.compared} pictures compared; pairs that are too alike: {len(answer.pairs)}. "
        + formats.plain(answer.note)
    )
    shown = pictures.paged(answer.pairs, PAIRS, f"data_pairs_{number}")
    columns = st.columns(3)
    for index, pair in enumerate(shown):
        with columns[index % 3].container(border=True):
            _pair(hub, found[key], *pair)


def _pair(hub: HubClient, found: Found, first: str, second: str, alike: float) -> None:
    for column, event_id in zip(st.columns(2), (first, second), strict=True):
        if event_id not in found.rows:
            found.rows[event_id] = hub.event(event_id).row
        row = found.rows[event_id]
        with column:
            pictures.thumbnail(hub, row)
            st.caption(f"{formats.plain(row.part_id)}  \n{row.decision or 'not reviewed'}")
    st.caption(f"alike to {alike:.3f} (1 is the same picture)")

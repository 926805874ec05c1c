"""Known defects: what second stages named on the line, how reviewers see it, and the parts."""

from datetime import timedelta

import pandas as pd
import streamlit as st

from inspection.core.known import BLIND
from inspection.dashboard.parts import charts, formats, pictures, session
from inspection.dashboard.parts.formats import plain
from inspection.dashboard.parts.links import link
from inspection.hub.client import HubClient
from inspection.hub.wire.line import EventRow
from inspection.hub.wire.message import Rate
from inspection.hub.wire.recognition import Confusion, TypeCounts

SPANS = {"24 h": 24, "7 days": 168, "30 days": 720, "a year": 24 * 366}
ALL, NOTHING = "all", "nothing"
AT_ONCE = 24  # parts of a type that are listed
SHOWN = 8  # of them on one page
EMPTY = """
**Nobody looked for known defects on this line in this time.** A station names them by a detector:

    recognition: {detector: detectors/pores, on: all}

in its settings; `inspection recognise import` makes one of a model you have.
"""


def page() -> None:
    """Show what was named in a time, on all products or one."""
    line = session.line()
    if not line:
        st.info("The hub knows no line yet. Enrol a station on the page Stations.")
        return
    hub = session.hub()
    row = st.container(horizontal=True, vertical_alignment="center")
    span = row.segmented_control(
        "Time",
        list(SPANS),
        default="7 days",
        required=True,
        key="defects_span",
        label_visibility="collapsed",
    )
    hours = SPANS[str(span)]
    found = hub.types(hours, line=line)
    if not found.looks:
        st.info(EMPTY, icon=":material/category:")
        return
    products = list(dict.fromkeys(one.product for one in found.types))
    wanted = {"line": line}
    if len(products) > 1:
        product = row.selectbox(
            "Product",
            [ALL, *products],
            key="defects_product",
            format_func=plain,
            label_visibility="collapsed",
            width=220,
        )
        if product != ALL:
            wanted["product"] = product
            found = hub.types(hours, **wanted)
    _numbers(found)
    _types(found)
    _confusion(hub, hours, wanted)
    _parts(hub, found, wanted)


def _numbers(found: TypeCounts) -> None:
    missed = sum(found.looks.get(status, 0) for status in BLIND)
    looked = missed + found.looks.get("done", 0)
    skipped = found.looks.get("skipped", 0)
    share = formats.percent(missed / looked if looked else None)
    for cell, name, value, about in zip(
        st.columns(4),
        ("Parts looked at", "With known defects", "Held by them", "Late or failed"),
        (f"{looked:,}", f"{found.named:,}", f"{found.held:,}", f"{missed:,} ({share})"),
        (
            f"by the second stage, in time or not; {skipped:,} more were as usual as most normals",
            "parts on which anything was named",
            "though score and guards would have let them go, or less badly",
            "where every part is looked at, these are REVIEW at least; see budget_ms",
        ),
        strict=True,
    ):
        cell.metric(name, value, border=True, help=about)


def _types(found: TypeCounts) -> None:
    if not found.types and not found.looks.keys() - {"skipped"}:
        st.info("Every part was as usual as most normals; none was looked at.")
        return
    if not found.types:
        st.success("Nothing was named on any of them.")
        return
    counts: dict[str, int] = {}
    for one in found.types:
        counts[one.type] = counts.get(one.type, 0) + one.parts
    left, right = st.columns([2, 3], gap="medium")
    with left:
        st.markdown("**Types**, by parts")
        st.altair_chart(charts.pareto(counts), key="defects-types")
    with right:
        st.markdown(f"**By {found.per}**")
        rows = [(one.begin, one.type, one.parts) for one in found.times]
        step = timedelta(days=1) if found.per == "day" else timedelta(hours=1)
        span = found.at - timedelta(hours=found.span_h), found.at + step
        st.altair_chart(
            charts.types_over_time(rows, span, by_day=found.per == "day"), key="defects-times"
        )
    if len({(one.line, one.product) for one in found.types}) > 1:
        table = [
            {"product": one.product, "type": one.type, "parts": one.parts, "objects": one.objects}
            for one in found.types
        ]
        st.dataframe(pd.DataFrame(table), hide_index=True, key="defects-products")


def _confusion(hub: HubClient, hours: int, wanted: dict[str, str]) -> None:
    st.markdown("**Against reviewers**")
    found = hub.confusion(hours, **wanted)
    if len(found.detectors) > 1:
        names = {one.detector_id: one.detector for one in found.detectors}
        chosen = st.selectbox(
            "Detector",
            [ALL, *names],
            key="defects_detector",
            format_func=lambda one: (
                one if one == ALL else f"{plain(names[one])} {formats.short(one)}"
            ),
            width=320,
        )
        if chosen != ALL:
            found = hub.confusion(hours, **wanted, detector_id=chosen)
    if not found.cells:
        st.caption("No part that could be looked at in time is decided yet.")
        link("review", "Review some parts", ":material/visibility:")
        return
    _table(found)


def _table(found: Confusion) -> None:
    left, right = st.columns([3, 4], gap="medium")
    with left:
        cells = [(one.found or NOTHING, one.said, one.parts) for one in found.cells]
        st.altair_chart(charts.confusion(cells), key="defects-confusion")
    with right:
        rows = [
            {
                "type": one.type,
                "people's, found": _share(one.found),
                "named, confirmed": _share(one.right),
            }
            for one in found.agreement
        ]
        st.dataframe(pd.DataFrame(rows), hide_index=True, key="defects-agreement")
        st.caption(
            "95 % intervals (Wilson). A part with several types counts for the reviewer's where "
            "it is among them. Unsure and disputed decisions are left out."
        )


def _share(rate: Rate) -> str:
    if not rate.of:
        return "–"
    return f"{rate.count} of {rate.of}, {formats.percent(rate.value)} ({formats.interval(rate)})"


def _parts(hub: HubClient, found: TypeCounts, wanted: dict[str, str]) -> None:
    types = list(dict.fromkeys(one.type for one in found.types))
    if not types:
        return
    row = st.container(horizontal=True, vertical_alignment="center")
    row.markdown("**Parts with**", width="content")
    chosen = row.selectbox(
        "Type",
        types,
        key="defects_type",
        format_func=plain,
        label_visibility="collapsed",
        width=220,
    )
    rows = hub.events(limit=AT_ONCE, type=str(chosen), **wanted).items
    shown = pictures.paged(rows, SHOWN, "defects_pages")
    columns = st.columns(4)
    for number, one in enumerate(shown):
        with columns[number % 4].container(border=True):
            _part(hub, one)
    st.caption(f"The last {len(rows)}, the newest first, whenever they were captured.")


def _part(hub: HubClient, row: EventRow) -> None:
    pictures.thumbnail(hub, row)
    types = ", ".join(f"{count} {plain(type_)}" for type_, count in row.types.items())
    st.caption(
        f"**{plain(row.part_id)}** {formats.ICONS[row.verdict]} {row.verdict}  \n{types}  \n"
        f"{formats.clock(row.captured_at)}; {row.decision or 'not reviewed'}"
    )

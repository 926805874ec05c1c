"""Decides a past time again under another band or bundle, and shows what would have been."""

from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pandas as pd
import streamlit as st

from inspection.core.decision import Band, Verdict
from inspection.dashboard.parts import errors, formats, pictures, session
from inspection.hub.wire.models import BundleRow
from inspection.hub.wire.thresholds import Change, Replay, Replayed

OTHER_BAND, OTHER_BUNDLE = "another band", "another bundle"
PICTURES = 8  # each is one request of the hub
_RESULT = "replay result"


def form() -> None:
    """Ask what to decide again, and show it."""
    line = session.line()
    bundles = {row.bundle_id: row for row in session.hub().bundles()}
    if not line or not bundles:
        st.info(
            "Nothing can be decided again yet: the hub knows no "
            + ("bundle; bring one by `inspection hub bundle add DIR`" if line else "station")
            + ".",
            icon=":material/history:",
        )
        return
    left, right = st.columns([1, 2], gap="large")
    with left, st.container(border=True):
        wanted = _wanted(line, bundles)
        if wanted is not None and st.button("Decide again", type="primary", key="replay-send"):
            with errors.shown(), st.spinner("The hub decides these parts again …"):
                st.session_state[_RESULT] = (wanted, session.hub().replay(wanted))
    with right:
        kept = st.session_state.get(_RESULT)
        if kept is None:
            st.caption(
                "Nothing changes on the line: the hub takes the parts of that day and says which "
                "verdicts would have been others."
            )
        else:
            _result(*kept)


def _wanted(line: str, bundles: dict[str, BundleRow]) -> Replay | None:
    st.markdown(f"**Decide a past day of {formats.plain(line)} again**")
    today = formats.local(datetime.now(tz=ZoneInfo("UTC")))
    day = st.date_input("Day", today.date(), max_value=today.date(), key="replay-day")
    running = [one for one, row in bundles.items() if line in row.chosen] or list(bundles)
    bundle_id = st.selectbox(
        "Parts judged by",
        list(bundles),
        index=list(bundles).index(running[0]),
        format_func=lambda one: _title(bundles[one]),
        key="replay-bundle",
    )
    how = st.segmented_control(
        "Under", [OTHER_BAND, OTHER_BUNDLE], default=OTHER_BAND, required=True, key="replay-how"
    )
    band, other = None, None
    if how == OTHER_BAND:
        band = _band(bundles[bundle_id])
        if band is None:
            return None
    else:
        others = [one for one in bundles if one != bundle_id]
        if not others:
            st.caption("The hub has no other bundle.")
            return None
        other = st.selectbox(
            "Judged anew by",
            others,
            format_func=lambda one: _title(bundles[one]),
            key="replay-other",
            help="from the stored pictures; it takes a while",
        )
    begin, end = _span(day, today)
    return Replay(
        line=line, begin=begin, end=end, bundle_id=bundle_id, band=band, other_bundle_id=other
    )


def _band(row: BundleRow) -> Band | None:
    start, one = row.card.band, formats.short(row.bundle_id)  # another bundle begins anew
    step = float(f"{max(abs(start.reject_above), 1e-6) / 100:.0e}")
    review_above = st.number_input(
        "Review above",
        value=start.review_above,
        step=step,
        format="%.4f",
        key=f"replay-review-{one}",
    )
    reject_above = st.number_input(
        "Reject above",
        value=start.reject_above,
        step=step,
        format="%.4f",
        key=f"replay-reject-{one}",
    )
    if review_above > reject_above:
        st.error("Review above lies over reject above; wanted the other way round.")
        return None
    return Band(review_above=review_above, reject_above=reject_above)


def _span(day: date, today: datetime) -> tuple[datetime, datetime]:
    """Give the beginning and end of a day in the browser's time zone."""
    begin = datetime.combine(day, time(), today.tzinfo)
    return begin, datetime.combine(day + timedelta(days=1), time(), today.tzinfo)


def _title(row: BundleRow) -> str:
    return f"{row.name} {formats.short(row.bundle_id)}"


def _result(wanted: Replay, found: Replayed) -> None:
    st.markdown(
        f"**{found.parts:,} parts** of {formats.plain(wanted.line)} on "
        f"{formats.local(wanted.begin):%Y-%m-%d}, decided by review above "
        f"{formats.number(found.band.review_above)}, reject above "
        f"{formats.number(found.band.reject_above)}; {found.without:,} left out"
    )
    for note in found.notes:
        st.caption(formats.plain(note))
    if not found.parts:
        st.info("No part of this bundle was judged on that day.", icon=":material/history:")
        return
    rows = [
        {"": name, **{str(verdict): counts.get(verdict, 0) for verdict in Verdict}}
        for name, counts in (
            ("as it was", found.now),
            ("as it would be", found.then),
            *(
                (f"reviewed {name}, would be", counts)
                for name, counts in found.reviewed_then.items()
            ),
        )
    ]
    st.dataframe(pd.DataFrame(rows), hide_index=True, key="replay-counts")
    _changes(found.changes)


def _changes(changes: tuple[Change, ...]) -> None:
    if not changes:
        st.success("No verdict would have been another.", icon=":material/check:")
        return
    st.dataframe(
        pd.DataFrame(
            [
                {
                    "captured": formats.clock(one.row.captured_at),
                    "part": one.row.part_id,
                    "was": str(one.row.verdict),
                    "would be": str(one.would_be),
                    "score": one.row.score,
                    "reviewed": one.row.decision or "",
                }
                for one in changes
            ]
        ),
        hide_index=True,
        key="replay-changes",
    )
    shown = [one for one in changes if one.row.picture][:PICTURES]
    if shown and st.toggle(f"Show pictures of the first {len(shown)}", key="replay-pictures"):
        cells = st.columns(4)
        for number, one in enumerate(shown):
            with cells[number % 4], errors.shown():
                pictures.thumbnail(session.hub(), one.row)
                part = formats.plain(one.row.part_id)
                st.caption(f"{part}: {one.row.verdict} → **{one.would_be}**")

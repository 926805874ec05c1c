"""Overview: what a person should do now, and how the chosen line stood in the last hours."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from inspection.core.decision import Verdict
from inspection.dashboard.parts import charts, errors, formats, session
from inspection.dashboard.parts.links import link
from inspection.hub.wire.line import Drift, LineOverview, Need, Overview, StationRow
from inspection.hub.wire.message import Rate

EVERY_S = 10.0
SPANS = {"8 h": 8, "24 h": 24, "7 days": 168}
SHOWN_NEEDS = 3
URGENCY = {1: ":red-badge[now]", 2: ":orange-badge[today]", 3: ":gray-badge[when there is time]"}
RATES = (Verdict.REJECT, Verdict.REVIEW, Verdict.FAULT)
EMPTY = """
**No line has a station yet.** Enrol one on the page Stations, or where the hub runs:

    inspection hub station enrol STATION --line LINE

and give its token to the station's outputs; parts it judges appear here within seconds.
"""


@st.fragment(run_every=EVERY_S)
def page() -> None:
    """Show the overview; it reads the hub anew every ten seconds."""
    with errors.shown():
        place = st.container(horizontal=True, vertical_alignment="center")
        span = place.segmented_control(
            "Time",
            list(SPANS),
            default="24 h",
            required=True,
            key="overview-span",
            label_visibility="collapsed",
        )
        overview = session.hub().overview(SPANS[str(span)])
        place.caption(f"as of {formats.clock(overview.at)}, read again every {EVERY_S:.0f} s")
        if not overview.lines:
            st.info(EMPTY, icon=":material/videocam:")
            return
        _needs(overview.needs)
        chosen = [one for one in overview.lines if one.line == session.line()]
        _line(overview, (chosen or list(overview.lines))[0])
        _all_lines(overview)


def _needs(needs: tuple[Need, ...]) -> None:
    with st.container(border=True, key="needs", gap="xsmall"):
        if not needs:
            st.markdown(":green-badge[:material/check: nothing to do] No line needs a person now.")
            return
        for need in needs[:SHOWN_NEEDS]:
            _need(need)
        if needs[SHOWN_NEEDS:]:
            with st.expander(f"{len(needs) - SHOWN_NEEDS} more", key="needs-more"):
                for need in needs[SHOWN_NEEDS:]:
                    _need(need)


def _need(need: Need) -> None:
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.markdown(
            f"{URGENCY[need.urgency]} **{formats.plain(need.line)}** {formats.plain(need.what)}",
            width="stretch",
        )
        link(need.page, f"Open {need.page}", ":material/arrow_forward:")


def _all_lines(overview: Overview) -> None:
    """Compare the lines, where there are several."""
    if len(overview.lines) < 2:
        return
    st.markdown("**All lines**")
    rows = [
        {
            "line": one.line,
            "parts": one.parts,
            **{f"{verdict} %": _of_hundred(one.rates.get(verdict)) for verdict in RATES},
            "late": one.late,
            "waiting for review": one.waiting,
            "drift": "DRIFT" if any(drift.lit for drift in one.drift) else _dark(one.drift),
            "silent stations": sum(station.silent for station in one.stations),
        }
        for one in overview.lines
    ]
    percent = {f"{verdict} %": st.column_config.NumberColumn(format="%.2f") for verdict in RATES}
    st.dataframe(pd.DataFrame(rows), hide_index=True, column_config=percent, key="lines")


def _line(overview: Overview, line: LineOverview) -> None:
    _numbers(line)
    if not line.parts:
        st.info(
            f"No part was judged on {formats.plain(line.line)} in this time. Start a station with "
            "`inspection station run configs/station.yaml`, or look further back.",
            icon=":material/hourglass_empty:",
        )
    else:
        _plots(overview, line)
    _stations(line)
    _drift([drift for drift in line.drift if drift.lit])


def _numbers(line: LineOverview) -> None:
    cells = st.columns(6)
    _metric(cells[0], "Parts", f"{line.parts:,}", formats.counted(len(line.stations), "station"))
    for cell, verdict in zip(cells[1:4], RATES, strict=True):
        rate = line.rates.get(verdict)
        value = formats.percent(rate.value if rate else None)
        said = formats.interval(rate) if rate else "no parts yet"
        _metric(cell, f"{verdict.capitalize()} rate", value, said, "95 % interval (Wilson) below")
    most = f"most {_ms(line.latency_most_ms)} of {_ms(line.deadline_ms)}"
    _metric(
        cells[4],
        "Latency, mean",
        _ms(line.latency_mean_ms),
        most,
        f"the deadline is {_ms(line.deadline_ms)}; {line.late} parts came too late",
    )
    _metric(cells[5], "Waiting for review", f"{line.waiting:,}", "parts")


def _plots(overview: Overview, line: LineOverview) -> None:
    left, right = st.columns([3, 1])
    names = sorted({count.station for count in line.hours})
    with left:
        chosen = names
        if len(names) > 1:
            picked = st.pills(
                "Stations",
                names,
                selection_mode="multi",
                format_func=formats.plain,
                key="overview-stations",
                label_visibility="collapsed",
            )
            chosen = picked or names
        rows = [
            (count.hour, count.station, count.verdict, count.parts)
            for count in line.hours
            if count.station in chosen
        ]
        st.altair_chart(charts.verdict_bars(rows, span(overview)), key="verdicts-per-hour")
    with right:
        st.markdown("**Top defects**, reviewed")
        if line.defects:
            top = dict(list(line.defects.items())[:6])
            st.altair_chart(charts.bars(top, "parts"), key="top-defects")
        else:
            st.caption("No defect was reviewed in this time.")
            link("review", "Review some parts", ":material/visibility:")


def span(overview: Overview) -> tuple[datetime, datetime]:
    """Give begin and end of the whole hours that the hub counted, this one included."""
    end = overview.at.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
    return end - timedelta(hours=overview.span_h), end


def _stations(line: LineOverview) -> None:
    rows = [row for station in line.stations for row in _station(station, line.drift)]
    st.dataframe(
        pd.DataFrame(rows),
        hide_index=True,
        key="active",
        column_config={
            "review above": st.column_config.NumberColumn(format="%.3f"),
            "reject above": st.column_config.NumberColumn(format="%.3f"),
            "p99 ms": st.column_config.NumberColumn(format="%.1f"),
        },
    )


def _station(station: StationRow, drifts: Sequence[Drift]) -> list[dict[str, object]]:
    status = station.status
    first: dict[str, object] = {
        "station": station.station,
        "state": "silent" if station.silent else str(status.state if status else "unknown"),
        "p99 ms": status.latency.p99_ms if status and status.latency else None,
    }
    if status is None or not status.bundles:
        return [first | {"bundle": "none yet"}]
    return [
        first
        | {
            "product": bundle.product,
            "bundle": f"{bundle.name} {formats.short(bundle.bundle_id)}",
            "review above": bundle.review_above,
            "reject above": bundle.reject_above,
            "drift": _lamp(
                [drift for drift in drifts if drift.bundle_id == bundle.bundle_id],
                station.station,
            ),
        }
        for bundle in status.bundles
    ]


def _lamp(drifts: Sequence[Drift], station: str) -> str:
    here = [one for one in drifts if one.lit and one.station in {"", station}]
    if here:
        return f"DRIFT {', '.join(map(_moved, here))}"
    return _dark(drifts)


def _dark(drifts: Sequence[Drift]) -> str:
    """Say what no lit lamp means: well only where the hub has looked lately."""
    return "ok" if any(not one.lit for one in drifts) else "not known yet"


def _moved(drift: Drift) -> str:
    return f"{drift.cause}" if drift.shift is None else f"{drift.cause} {drift.shift:+.1f} σ"


def _at(drift: Drift) -> str:
    return f" at {formats.plain(drift.station)}" if drift.station else ""


def _drift(lit: Sequence[Drift]) -> None:
    if not lit:
        return
    said = [
        f"- Drift of **{one.cause}**{_at(one)}, bundle {formats.short(one.bundle_id)}: "
        f"{formats.plain(one.note)}"
        for one in lit
    ]
    st.warning("\n".join(said), icon=":material/trending_up:")
    link("retraining", "See its monitors", ":material/arrow_forward:")


def _metric(cell: DeltaGenerator, name: str, value: str, below: str, about: str = "") -> None:
    cell.metric(
        name,
        value,
        below,
        delta_color="off",
        delta_arrow="off",
        border=True,
        help=about or None,
    )


def _ms(value: float | None) -> str:
    return "–" if value is None else f"{value:.0f} ms"


def _of_hundred(rate: Rate | None) -> float | None:
    return None if rate is None or rate.value is None else 100 * rate.value

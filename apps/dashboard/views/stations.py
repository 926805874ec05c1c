"""Stations: how each stands, what it waits with, and, for admins, its tokens and the accounts."""

import pandas as pd
import streamlit as st

from inspection.core.decision import Verdict
from inspection.dashboard.parts import access, errors, formats, session
from inspection.hub.wire.line import StationRow
from inspection.hub.wire.people import Role
from inspection.station.state import SelftestStatus, StationStatus

EVERY_S = 5.0
HEALTH, TOKENS, ACCOUNTS = "Health", "Tokens", "Accounts"
EMPTY = """
**No station is enrolled yet.** An admin enrols one under *Tokens*, or where the hub runs:

    inspection hub station enrol STATION --line LINE
"""


def page() -> None:
    """Show the stations, and to admins their tokens and the accounts."""
    section = HEALTH
    if session.may(Role.ADMIN):
        section = str(
            st.segmented_control(
                "Section",
                [HEALTH, TOKENS, ACCOUNTS],
                default=HEALTH,
                required=True,
                key="stations-section",
                label_visibility="collapsed",
            )
        )
    with errors.shown():
        if section == TOKENS:
            access.tokens(session.hub().stations())
        elif section == ACCOUNTS:
            access.accounts(session.hub().accounts())
        else:
            _health()


@st.fragment(run_every=EVERY_S)
def _health() -> None:
    with errors.shown():
        rows = [row for row in session.hub().stations() if row.retired_at is None]
        if not rows:
            st.info(EMPTY, icon=":material/videocam:")
            return
        rows.sort(key=lambda row: (row.line != session.line(), not _ails(row), row.station))
        st.dataframe(
            pd.DataFrame([_summary(row) for row in rows]),
            hide_index=True,
            key="stations",
            placeholder="–",
            column_config={
                "disk": st.column_config.ProgressColumn(
                    format="percent", min_value=0, max_value=1, help="of its budget"
                ),
                "p50 ms": st.column_config.NumberColumn(format="%.1f"),
                "p99 ms": st.column_config.NumberColumn(format="%.1f"),
                "behind": st.column_config.NumberColumn(help="events it has and the hub has not"),
            },
        )
        names = [row.station for row in rows]
        chosen = st.selectbox("Station", names, key="station", width=320)
        _detail(rows[names.index(chosen)])


def _ails(row: StationRow) -> bool:
    said = row.status is None or bool(row.status.reason)
    return row.silent or row.skewed or said or row.copied_at is not None


def _summary(row: StationRow) -> dict[str, object]:
    first: dict[str, object] = {
        "station": row.station,
        "line": row.line,
        "state": _state(row),
    }
    seen = {
        "last seen": formats.clock(row.seen_at),
        "clock": "–" if row.skew_s is None else f"{row.skew_s:+.1f} s",
    }
    status = row.status
    if status is None:
        return first | seen
    return first | {
        "behind": row.behind,
        "disk": status.disk_bytes / max(status.budget_bytes, 1),
        "faults": status.since_start.get(Verdict.FAULT, 0),
        "late": status.late,
        "p50 ms": status.latency.p50_ms if status.latency else None,
        "p99 ms": status.latency.p99_ms if status.latency else None,
        **seen,
    }


def _state(row: StationRow) -> str:
    if row.seen_at is None:
        return "never seen"
    if row.silent or row.status is None:
        return "SILENT"
    return str(row.status.state)


def _detail(row: StationRow) -> None:
    _complaints(row)
    if row.status is None:
        st.info(
            "It has not said anything yet. Put its token and the hub into its settings "
            "(an admin sees the lines under Tokens) and start it: "
            "`inspection station run configs/station.yaml`",
            icon=":material/hourglass_empty:",
        )
        return
    status = row.status
    left, right = st.columns([2, 3], gap="medium")
    with left:
        _spool(status)
        _selftest(status.selftest)
    with right:
        _bundles(status)
        _last(status)


def _complaints(row: StationRow) -> None:
    status = row.status
    found = []
    if row.copied_at is not None:
        found.append(
            f"two machines sent under its name, first seen {formats.clock(row.copied_at)}: its "
            "token or its disk was copied; revoke its tokens and enrol it anew"
        )
    found += [
        f"{one.product}, {one.camera}: thresholds beyond their limits: {one.override}"
        for one in (status.bundles if status else ())
        if one.override
    ]
    if row.seen_at is not None and row.silent:
        found.append(f"silent since {formats.clock(row.seen_at)}: look at its power and network")
    if row.skewed and row.skew_s is not None:
        found.append(f"its clock is {row.skew_s:+.0f} s off the hub's: have it set by NTP")
    if status is not None:
        found += [text for text in (status.reason, status.source) if text]
        found += [f"output {one.name}: {one.reason}" for one in status.outputs if not one.up]
    if found:
        st.warning(
            "\n".join(f"- {formats.plain(text)}" for text in found), icon=":material/warning:"
        )


def _spool(status: StationStatus) -> None:
    dropped = ", ".join(f"{count} {what}" for what, count in status.dropped.items())
    st.markdown("**Spool**")
    st.caption(
        f"{formats.size(status.disk_bytes)} of {formats.size(status.budget_bytes)} used; waiting "
        f"to be judged: {status.waiting}; dropped: {formats.plain(dropped) or 'nothing'}"
    )
    outputs = [{"output": one.name, "up": one.up, "waiting": one.waiting} for one in status.outputs]
    st.dataframe(pd.DataFrame(outputs), hide_index=True, key="outputs")
    st.caption(
        f"version {formats.plain(status.version)}, started {formats.clock(status.started_at)}, "
        f"deadline {status.deadline_ms} ms; since then "
        + ", ".join(f"{count:,} {verdict}" for verdict, count in status.since_start.items())
    )


def _selftest(last: SelftestStatus | None) -> None:
    st.markdown("**Last self-test**")
    if last is None:
        st.caption("None was made yet; the station makes one before the first part.")
        return
    answer = "FAILED" if last.failed else "passed"
    st.caption(f"{answer}, {last.checks} checks, {formats.clock(last.checked_at)}")
    for text in (*last.failed, *last.notes):
        st.caption(f":material/info: {formats.plain(text)}")


def _bundles(status: StationStatus) -> None:
    st.markdown("**Judges with**")
    bundles = [
        {
            "product": one.product,
            "camera": one.camera,
            "bundle": f"{one.name} {formats.short(one.bundle_id)}",
            "review above": one.review_above,
            "reject above": one.reject_above,
            "beyond their limits": one.override or "no",
            "since": formats.clock(one.since),
            "known defects by": one.detector or "–",
            "note": "on trial" if one.trial else one.note,
        }
        for one in status.bundles
    ]
    if bundles:
        st.dataframe(pd.DataFrame(bundles), hide_index=True, key="judges-with")
    else:
        st.caption("No bundle is open.")


def _last(status: StationStatus) -> None:
    if not status.last:  # stations leave them out; the hub has them
        return
    with st.expander(f"Last {len(status.last)} parts", key="last-parts"):
        last = [
            {
                "captured": formats.clock(event.captured_at),
                "part": event.part_id,
                "verdict": str(event.verdict),
                "score": event.deciding.score,
                "ms": event.latency_ms,
                "why": event.reason or event.deciding.reason,
            }
            for event in status.last
        ]
        st.dataframe(pd.DataFrame(last), hide_index=True)

"""The page on which an engineer moves a band, sees what it would lead to, and applies it."""

from collections.abc import Sequence

import httpx
import streamlit as st

from inspection.core.decision import Band, Verdict
from inspection.dashboard.parts import band as bands
from inspection.dashboard.parts import errors, formats, pictures, session
from inspection.hub.asking import Refused
from inspection.hub.client import HubClient
from inspection.hub.wire.models import BundleRow
from inspection.hub.wire.people import Role
from inspection.hub.wire.thresholds import (
    Asked,
    Change,
    Consequences,
    Costs,
    Expected,
    NewThresholds,
    Proposal,
    Revert,
    Scores,
    ThresholdRow,
)

APPLIED, MESSAGE, SAID_WHY = "thresholds applied", "thresholds said", "thresholds said why"
COMMENT = "thresholds_comment"
HISTORY = 10
PER_PAGE = 12
LAST = 500  # parts to preview on, until another number is typed
ASK_EVERY_S = 1.0
COSTS = (
    ("escape", "A defect that passes costs"),
    ("overkill", "A good part rejected costs"),
    ("review", "A look at a part costs"),
)


def page() -> None:
    """Show the bundle's scores, the band with its consequences, and the history."""
    line = session.line()
    if not line:
        st.info("The hub knows no line yet. Enrol a station on the page Stations.")
        return
    hub = session.hub()
    bundle = _choose_bundle(line, hub.bundles())
    if bundle is None:
        return
    scores = hub.scores(line, bundle.bundle_id)
    rows = [row for row in hub.thresholds(line) if row.bundle_id == bundle.bundle_id]
    if message := st.session_state.pop(MESSAGE, ""):
        st.warning(message)
    _proposals(hub, line, bundle.bundle_id)
    _bench(hub, line, scores, rows)
    _history(hub, line, rows)


def _choose_bundle(line: str, rows: Sequence[BundleRow]) -> BundleRow | None:
    if not rows:
        st.info(
            "No bundle is on the hub yet. Export one and publish it to the hub's bundles; its "
            "scores and thresholds come here."
        )
        return None
    ordered = sorted(rows, key=lambda row: line not in row.chosen)
    return st.selectbox(
        "Bundle",
        ordered,
        key="thresholds_bundle",
        format_func=lambda row: (
            f"{row.name} {formats.short(row.bundle_id)}"
            + (" – judges on this line" if line in row.chosen else "")
        ),
        label_visibility="collapsed",
    )


@st.fragment
def _bench(hub: HubClient, line: str, scores: Scores, rows: Sequence[ThresholdRow]) -> None:
    """Try bands: only this part of the page runs anew when a handle moves."""
    left, right = st.columns([3, 2], gap="medium")
    with right.container(horizontal=True, vertical_alignment="center"):
        logarithmic = _axis(scores)
        costs = _costs()
    with left:
        place = st.container()
        band = bands.controls(scores, logarithmic=logarithmic)
        with place:
            _chart(scores, band, logarithmic=logarithmic)
        with errors.shown():
            _watch_applied(hub, line, rows)
            _apply(hub, line, scores, band, rows)
    with errors.shown():
        with right:
            last = int(st.session_state.get("thresholds_last", LAST))
            asked = Asked(bundle_id=scores.bundle_id, band=band, costs=costs, last=last)
            found = hub.consequences(line, asked)
            _consequences(found)
        _preview(hub, found)


def _axis(scores: Scores) -> bool:
    possible = bands.positive(scores)
    wanted = st.toggle(
        "Logarithmic axis",
        value=bands.spread_out(scores),
        key="thresholds_logarithmic",
        disabled=not possible,
        help=None if possible else "A score or threshold is not above 0.",
    )
    return wanted and possible


def _chart(scores: Scores, band: Band, *, logarithmic: bool) -> None:
    if not bands.groups(scores):
        st.info("No scores are known of this bundle on this line yet; only its card's band is.")
    chart = bands.chart(scores, band, logarithmic=logarithmic)
    st.altair_chart(chart, key="thresholds_chart")


def _costs() -> Costs:
    default = Costs()
    with (
        st.container(key="thresholds_costs"),
        st.popover("Costs and the line's speed"),
    ):
        costs = {
            name: st.number_input(
                label,
                0.0,
                value=getattr(default, name),
                key=f"thresholds_cost_{name}",
                persist_state="session",
            )
            for name, label in COSTS
        }
        percent = st.number_input(
            "Defects among parts, %",
            0.0,
            100.0,
            100 * default.prevalence,
            format="%.3f",
            key="thresholds_prevalence",
            persist_state="session",
        )
        parts = st.number_input(
            "Parts per shift",
            1,
            10_000_000,
            default.parts_per_shift,
            key="thresholds_parts",
            persist_state="session",
        )
    return Costs(prevalence=percent / 100, parts_per_shift=parts, **costs)


def _consequences(found: Consequences) -> None:
    with st.container(key="thresholds_consequences"):
        first, second = st.columns(2)
        _metric(first, "False rejects per shift", found.false_rejects)
        _metric(second, "Escapes per shift", found.escapes_per_shift)
        first, second = st.columns(2)
        _metric(first, f"For review per shift (room for {found.capacity})", found.review_load)
        second.metric("Cost per 1,000 parts", f"{found.cost_per_1000:,.2f}")
    if found.review_load.expected > found.capacity:
        st.warning(
            f"{found.review_load.expected:.0f} parts for review per shift are more than the "
            f"{found.capacity} people can look at; move the handles closer together."
        )
    rate = found.escapes
    st.caption(
        f"Of {rate.of} reviewed defects {rate.count} would pass "
        f"({formats.percent(rate.value)}; 95 %: {formats.interval(rate)})."
        if rate.of
        else "No defect was reviewed yet, so nothing is known of escapes."
    )
    with st.expander(f"Certificate, and what these numbers do not know ({len(found.notes)})"):
        for text in (found.certificate, *found.notes):
            st.caption(formats.plain(text))


def _metric(place: st.delta_generator.DeltaGenerator, name: str, count: Expected) -> None:
    place.metric(
        name,
        _parts(count.expected),
        f"95 %: {_parts(count.low)} to {_parts(count.high)}",
        delta_color="off",
        delta_arrow="off",
    )


def _parts(count: float) -> str:
    return f"{count:,.1f}" if count < 100 else f"{count:,.0f}"


def _preview(hub: HubClient, found: Consequences) -> None:
    st.subheader(f"On the last {found.previewed} parts")
    counts = ", ".join(
        f"{verdict} {found.now.get(verdict, 0)} → **{found.then.get(verdict, 0)}**"
        for verdict in Verdict
        if found.now.get(verdict) or found.then.get(verdict)
    )
    st.markdown(counts or "No part was judged by this bundle yet.")
    row = st.container(horizontal=True, vertical_alignment="bottom")
    row.number_input("Parts to preview on", 1, 20_000, LAST, key="thresholds_last", width=180)
    if not found.changes:
        row.caption("No verdict would change.")
        return
    if row.toggle(f"Show the {len(found.changes)} farthest", value=True, key="thresholds_preview"):
        with row:
            _pictures(hub, pictures.paged(found.changes, PER_PAGE, "thresholds_preview_page"))


def _pictures(hub: HubClient, changes: Sequence[Change]) -> None:
    columns = st.columns(6)
    for index, change in enumerate(changes):
        row = change.row
        with columns[index % len(columns)]:
            pictures.thumbnail(hub, row)
            st.caption(
                f"**{row.verdict} → {change.would_be}**  \n{formats.plain(row.part_id)}, "
                f"{formats.number(row.score)}"
            )


def _apply(
    hub: HubClient, line: str, scores: Scores, band: Band, rows: Sequence[ThresholdRow]
) -> None:
    if not session.me().role.may(Role.ENGINEER):
        st.info(f"Your role is {session.me().role}: you may look. Engineers apply thresholds.")
        return
    names = session.stations(line)
    if not names:
        st.info("This line has no station. Enrol one on the page Stations.")
        return
    exceeded = scores.limits.exceeded_by(band)
    chosen, comment, pressed = _form(names, "Propose" if exceeded else "Apply")
    if exceeded:
        st.warning(f"Another person must approve these thresholds: {exceeded}.")
    st.caption(
        f"REVIEW above {band.review_above:.6g}, REJECT above {band.reject_above:.6g}; in force: "
        f"{scores.in_force.review_above:.6g} and {scores.in_force.reject_above:.6g}."
    )
    if pressed and not (chosen and comment.strip()):
        st.warning("Choose at least one station and say why: both stand in the history.")
    elif pressed:
        new = NewThresholds(
            bundle_id=scores.bundle_id,
            band=band,
            stations=tuple(chosen),
            comment=comment,
            previous=_newest(rows),
        )
        _send(hub, line, new, propose=bool(exceeded))


def _form(names: list[str], verb: str) -> tuple[list[str], str, bool]:
    """Ask for stations and a reason; says whether the button was pressed."""
    if st.session_state.pop(SAID_WHY, False):
        st.session_state[COMMENT] = ""  # the next band has its own reason
    with st.form("thresholds_form"):
        columns = st.columns([3, 4, 1.4], vertical_alignment="bottom")
        chosen = columns[0].multiselect("Stations", names, names, key="thresholds_stations")
        comment = columns[1].text_input(
            "Why", key=COMMENT, max_chars=1000, placeholder="Stands in the history"
        )
        pressed = columns[2].form_submit_button(verb, key="thresholds_apply", type="primary")
    return chosen, comment, pressed


def _send(hub: HubClient, line: str, new: NewThresholds, *, propose: bool) -> None:
    """Apply or propose a band and read the page anew; when others were first, the band stays."""
    try:
        if propose:
            hub.propose_thresholds(line, new)
        else:
            st.session_state[APPLIED] = hub.set_thresholds(line, new).sha256
    except Refused as error:
        if error.status != httpx.codes.CONFLICT:
            raise
        st.session_state[MESSAGE] = (
            f"**Not applied:** {formats.plain(str(error))}. Your band is kept below."
        )
    else:
        st.session_state[SAID_WHY] = True
        bands.reset(new.bundle_id)
    st.rerun()


def _newest(rows: Sequence[ThresholdRow]) -> str | None:
    """Give the newest record for all products and cameras, which a new one would follow."""
    whole = (row.sha256 for row in rows if row.product is None and row.camera is None)
    return next(whole, None)


def _watch_applied(hub: HubClient, line: str, rows: Sequence[ThresholdRow]) -> None:
    """Say which stations judge by the record just applied, until all do."""
    row = next((row for row in rows if row.sha256 == st.session_state.get(APPLIED)), None)
    if row is None or not row.in_force:
        return
    with st.container(key="thresholds_applied"):
        if set(row.stations) <= set(row.used_by):
            st.success(f"All stations judge by it: {formats.plain(', '.join(row.used_by))}.")
        else:
            st.fragment(_waiting, run_every=ASK_EVERY_S)(hub, line, row.sha256)


def _waiting(hub: HubClient, line: str, sha256: str) -> None:
    with errors.shown():
        row = next((row for row in hub.thresholds(line) if row.sha256 == sha256), None)
        missing = sorted(set(row.stations) - set(row.used_by)) if row else []
        if row is None or not missing:
            st.rerun()
        st.info(
            f"Applied. {len(row.used_by)} of {len(row.stations)} stations judge by it; waiting "
            f"for {formats.plain(', '.join(missing))}.",
            icon=":material/sync:",
        )


def _proposals(hub: HubClient, line: str, bundle_id: str) -> None:
    """Show thresholds beyond the card's limits that wait for a second person."""
    waiting = [one for one in hub.proposals(line) if one.new.bundle_id == bundle_id]
    if not waiting:
        return
    st.subheader("Waiting for a second person")
    may = session.me().role.may(Role.ENGINEER)
    for one in waiting:
        with st.container(key=f"thresholds_proposal_{one.id}"):
            _proposal(hub, line, one, may=may)


def _proposal(hub: HubClient, line: str, one: Proposal, *, may: bool) -> None:
    when, what, why, approve, decline = st.columns(
        [2.2, 3, 4, 1.3, 1.3], vertical_alignment="center"
    )
    when.caption(f"{formats.clock(one.at)}  \n{formats.plain(one.who)}")
    band = one.new.band
    what.markdown(f"{band.review_above:.6g} / {band.reject_above:.6g}")
    stations = formats.plain(", ".join(one.new.stations))
    why.caption(
        f"{formats.plain(one.new.comment)}  \n{formats.plain(one.exceeded)}; for {stations}"
    )
    if not may:
        return
    own = one.who == session.me().account
    with errors.shown():
        if approve.button(
            "Approve",
            key=f"thresholds_approve_{one.id}",
            disabled=own,
            help="Another person than who proposed them approves." if own else None,
        ):
            st.session_state[APPLIED] = hub.approve_thresholds(line, one.id).sha256
            st.rerun()
        if decline.button("Withdraw" if own else "Decline", key=f"thresholds_decline_{one.id}"):
            hub.decline_thresholds(line, one.id)
            st.rerun()


def _history(hub: HubClient, line: str, rows: Sequence[ThresholdRow]) -> None:
    st.subheader("History")
    if not rows:
        st.caption("The band of the bundle's card is in force; nobody has changed it yet.")
        return
    may = session.me().role.may(Role.ENGINEER)
    for number, row in enumerate(rows[:HISTORY]):
        with st.container(key=f"thresholds_record_{number}"):
            _record(hub, line, number, row, may=may)
    if len(rows) > HISTORY:
        st.caption(f"{len(rows) - HISTORY} older records; the page Audit has them all.")


def _record(hub: HubClient, line: str, number: int, row: ThresholdRow, *, may: bool) -> None:
    when, what, why, button = st.columns([2.2, 3, 5, 1.2], vertical_alignment="center")
    approved = f", approved by {formats.plain(row.approved_by)}" if row.approved_by else ""
    when.caption(f"{formats.clock(row.when)}  \n{formats.plain(row.who)}{approved}")
    scope = " ".join(
        f"for {kind} {formats.plain(name)}"
        for kind, name in (("product", row.product), ("camera", row.camera))
        if name is not None
    )
    state = ":green-badge[in force]" if row.in_force else ":gray-badge[replaced]"
    what.markdown(
        f"{row.band.review_above:.6g} / {row.band.reject_above:.6g} {state} {scope}".strip()
    )
    taken_back = f" (takes back {formats.short(row.reverts)})" if row.reverts else ""
    why.caption(f"{formats.plain(row.why)}{taken_back}  \n{formats.plain(_stations(row))}")
    if may and row.in_force:
        place = button.container(key=f"thresholds_revert_{number}")
        with place.popover("Revert"):
            _revert(hub, line, number, row)


def _stations(row: ThresholdRow) -> str:
    if set(row.stations) <= set(row.used_by):
        return f"judges on {', '.join(row.stations)}"
    return f"for {', '.join(row.stations)}; judges on {', '.join(row.used_by) or 'none'}"


def _revert(hub: HubClient, line: str, number: int, row: ThresholdRow) -> None:
    st.markdown(
        f"Bring back the band before, on {formats.plain(', '.join(row.stations))}? This record "
        "stays in the history."
    )
    key = f"thresholds_revert_comment_{number}"
    why = st.text_input("Why", f"Takes back: {row.why}"[:1000], key=key)
    if st.button("Bring it back", key=f"thresholds_revert_confirm_{number}", type="primary"):
        if not why.strip():
            st.warning("Say why: it stands in the history.")
            return
        back = hub.revert_thresholds(line, Revert(sha256=row.sha256, comment=why))
        st.session_state[APPLIED] = back.sha256
        bands.reset(row.bundle_id)
        st.rerun()

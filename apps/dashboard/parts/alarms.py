"""Shows what has drifted: the alarms that stand, and how each monitor of the line moved."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pandas as pd
import streamlit as st

from inspection.dashboard.parts import charts, formats, pictures, reason, session
from inspection.hub.wire.people import Role
from inspection.hub.wire.retraining import Advice, Alarm, Cause, Monitored

AT_ONCE = 4
COLUMNS = 3
REASONS = 4  # why something is not watched, said at once
LOOKS = timedelta(hours=3)  # a block ends every hour; without a look for so long nobody looks
CALM = "Nothing has drifted {} by the last {}, held against parts from {} on."
PARTLY = "where it is watched"
NOBODY = (
    "**Nobody looks for drift here: {}.** Alarms are raised only when the hub looks: serve it with "
    "`--retraining FILE`, or let a timer call `inspection retrain --if-due`."
)
GUARDED = (
    "The station's guards hold most of these frames for review, and new thresholds do not change "
    "that: mend the cause, or train with such pictures."
)
GUARDED_LIGHT = (
    f"{GUARDED} Where only the light holds them, PatchCore's guards can learn alone: review such "
    "parts as good, and the policy asks for new guards."
)
EMPTY = (
    "**Nothing is watched on {} yet.** A station sends the light, focus, position and texture of "
    "each part along with its verdict; monitors begin with the first parts that pass. A station of "
    "an older version does not send them: update it."
)
TO_DO = {
    Advice.CLEAN: "clean the lens",
    Advice.ADJUST: "adjust lamp or fixture",
    Advice.REFIT: "fit the thresholds again",
    Advice.RETRAIN: "retrain",
}
Place = tuple[str, str, str, str]


def show(line: str, standing: Sequence[Alarm]) -> None:
    """Show the alarms of a line, then its monitors.

    Args:
        line: chosen.
        standing: the alarms of all lines that stand.
    """
    here = [one for one in standing if one.line == line]
    monitors = session.hub().monitors(line)
    for alarm in pictures.paged(here, AT_ONCE, "alarms-pages"):
        _alarm(alarm)
    if monitors:
        _known(monitors, calm=not here)
    elsewhere = sorted({one.line for one in standing} - {line})
    if elsewhere:
        st.caption(f"Alarms stand on other lines: {formats.plain(', '.join(elsewhere))}.")
    if not monitors:
        st.info(EMPTY.format(formats.plain(line)), icon=":material/monitoring:")
    else:
        _monitors(monitors, {one.id: one for one in here})
    _past(line)


def _known(monitors: Sequence[Monitored], *, calm: bool) -> None:
    """Say what is watched, since when, and what is not, and why; calm: no alarm stands."""
    looked_at = max((one.looked_at for one in monitors if one.looked_at), default=None)
    late = looked_at is None or datetime.now(UTC) - looked_at > LOOKS
    if late:
        said = "it has never looked" if looked_at is None else f"last on {formats.clock(looked_at)}"
        st.warning(NOBODY.format(said), icon=":material/visibility_off:")
    watched = [one for one in monitors if one.watched and one.since]
    missing = _missing([one for one in monitors if not one.watched])
    if calm and watched and not late:
        since = min(one.since for one in watched if one.since)
        blocks = formats.counted(min(one.recent for one in watched), "block")
        everywhere = len(watched) == len(monitors)  # every cause of every place
        where = "here" if everywhere else PARTLY
        said = CALM.format(where, blocks, formats.clock(since))
        if everywhere:
            st.success(said, icon=":material/check_circle:")
        else:
            st.info(said, icon=":material/monitoring:")
    for said in missing[:REASONS]:
        st.caption(said)
    if len(missing) > REASONS:
        st.caption(f"{len(missing) - REASONS} more are not watched; see each monitor below.")


def _missing(unwatched: Sequence[Monitored]) -> list[str]:
    """Say what is not watched and why, what has the same reason together."""
    reasons: defaultdict[str, list[Monitored]] = defaultdict(list)
    for one in unwatched:
        reasons[one.note].append(one)
    found = []
    for note, own in reasons.items():
        causes = sorted({one.cause for one in own}, key=list(Cause).index)
        what = "anything" if len(causes) == len(Cause) else ", ".join(causes)
        places = sorted({_place(one) for one in own})
        where = _title(places[0]) if len(places) == 1 else formats.counted(len(places), "place")
        found.append(formats.plain(f"Not watched yet: {what} at {where}. {note}"))
    return found


def _alarm(alarm: Alarm) -> None:
    with st.container(border=True, key=f"alarm-{alarm.id}", gap="xsmall"):
        row = st.container(horizontal=True, vertical_alignment="center")
        where = formats.plain(_where(alarm.product, alarm.station, alarm.camera))
        to_do = f":orange-badge[{TO_DO[alarm.advice]}]"
        row.markdown(f":red-badge[{alarm.cause}] **{where}** {to_do}", width="stretch")
        row.caption(_figures(alarm), width="content")
        if session.may(Role.ENGINEER) and row.button(
            "Dismiss …", key=f"alarm-dismiss-{alarm.id}", icon=":material/notifications_off:"
        ):
            _dismiss(alarm)
        st.markdown(formats.plain(alarm.words))
        if alarm.guarded:
            st.caption(GUARDED_LIGHT if alarm.cause is Cause.LIGHT else GUARDED)


def _figures(alarm: Alarm) -> str:
    since = f"since {formats.clock(alarm.since)}, " if alarm.since else ""
    return (
        f"{since}raised {formats.clock(alarm.raised_at)}; {alarm.effect:+.1f} σ, "
        f"p {alarm.p_value:.2g}, bundle {formats.short(alarm.bundle_id)}"
    )


def _dismiss(alarm: Alarm) -> None:
    def send(why: str) -> str:
        session.hub().dismiss(alarm.id, why)
        return f"The alarm on {alarm.cause} of {alarm.product} is dismissed."

    reason.ask(
        "dismiss",
        "Dismiss an alarm",
        f"Say that this is how it is now: parts are gathered anew for the reference of "
        f"**{alarm.cause}** of **{formats.plain(alarm.product)}**, and it is watched from there. "
        "Right where the change was meant; after a repair the alarm settles by itself.",
        "Dismiss it",
        send,
    )


def _place(one: Monitored) -> Place:
    return one.product, one.station, one.camera, one.bundle_id


def _where(product: str, station: str, camera: str) -> str:
    return ", ".join(filter(None, (product, station, f"camera {camera}")))


def _monitors(monitors: Sequence[Monitored], standing: dict[int, Alarm]) -> None:
    places = sorted(
        {_place(one) for one in monitors},
        key=lambda place: (
            not any(one.standing for one in monitors if _place(one) == place),
            place,
        ),
    )
    chosen = places[0]
    if len(places) > 1:
        chosen = st.selectbox("Monitors of", places, format_func=_title, key="monitors", width=520)
    else:
        st.markdown(f"**Monitors of {formats.plain(_title(chosen))}**")
    order = list(Cause)
    shown = [one for one in monitors if _place(one) == chosen]
    shown.sort(key=lambda one: order.index(one.cause))
    columns = st.columns(COLUMNS)
    for index, one in enumerate(shown):
        with columns[index % COLUMNS]:
            _monitor(one, standing.get(one.standing or 0))


def _title(place: Place) -> str:
    *where, bundle_id = place
    return f"{_where(*where)}, bundle {formats.short(bundle_id)}"


def _monitor(one: Monitored, alarm: Alarm | None) -> None:
    badge = " :red-badge[alarm]" if one.standing else ""
    against = f" :small[:gray[against {one.reference:,} parts]]" if one.blocks else ""
    st.markdown(f"**{str(one.cause).capitalize()}**{badge}{against}")
    if one.blocks:
        st.altair_chart(
            charts.monitor(one.blocks, one.limit, alarm.raised_at if alarm else None),
            key=f"monitor-{one.cause}",
        )
    if one.note or not one.blocks:
        st.caption(formats.plain(one.note) or "its reference is still being gathered")


def _past(line: str) -> None:
    with st.expander("Past alarms", key="alarms-past", on_change="rerun") as past:
        if not past.open:  # nobody asked for them
            return
        rows = [
            {
                "cause": str(one.cause),
                "product": one.product,
                "station": one.station,
                "camera": one.camera,
                "since": formats.clock(one.since) if one.since else "",
                "raised": formats.clock(one.raised_at),
                "cleared": formats.clock(one.cleared_at),
                "why": one.why_cleared,
                "σ": one.effect,
                "words": one.words,
            }
            for one in session.hub().alarms(line, standing=False)
            if one.cleared_at is not None
        ]
        if rows:
            effect = {"σ": st.column_config.NumberColumn(format="%+.1f")}
            st.dataframe(pd.DataFrame(rows), hide_index=True, column_config=effect, key="past")
        else:
            st.caption("None was raised and cleared on this line.")

"""Shows bundles on their way to a line: compared with the champion, in the shadow, rolled out."""

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from inspection.dashboard.parts import formats, reason, session
from inspection.dashboard.parts.links import link
from inspection.hub.wire.people import Role
from inspection.hub.wire.retraining import (
    OPEN,
    Challenger,
    ChallengerState,
    Compared,
    Comparison,
    NewStage,
    ShadowReport,
)

EMPTY = (
    "**No bundle is on its way to {}.** A retraining whose bundle passes its gate and is not worse "
    "than the one that judges makes one; see *Jobs*."
)
STAGES: dict[ChallengerState, tuple[str, str, str]] = {
    ChallengerState.SHADOW: (
        "To the shadow …",
        ":material/visibility:",
        "Stations score each part with it, too, and go on deciding with the champion. Where the "
        "two do not agree, the part comes to the page Review first.",
    ),
    ChallengerState.ROLLOUT: (
        "Roll out …",
        ":material/rocket_launch:",
        "It judges on a quarter of the line's stations first, one at least; rolled out once more, "
        "on all of them. The policy takes it back where faults, latency or overkill rise.",
    ),
    ChallengerState.WITHDRAWN: (
        "Withdraw …",
        ":material/undo:",
        "It leaves every station of the line; the champion judges as before.",
    ),
}
COLOURS = {
    ChallengerState.HELD: "orange",
    ChallengerState.SHADOW: "blue",
    ChallengerState.ROLLOUT: "violet",
}


def show(line: str, challengers: Sequence[Challenger]) -> None:
    """Show what may take the champion's place, and fold what did or did not.

    Args:
        line: chosen.
        challengers: of the line, the newest first.
    """
    coming = [one for one in challengers if one.state in OPEN]
    if not coming:
        st.info(EMPTY.format(formats.plain(line)), icon=":material/swords:")
    elif len(coming) == 1:
        _challenger(coming[0])
    else:
        known = {one.id: one for one in coming}
        picked = st.selectbox(
            "Challenger",
            list(known),
            format_func=lambda one: f"{_title(known[one])}, {known[one].state}",
            key="challenger",
            width=520,
        )
        _challenger(known[picked])
    _past([one for one in challengers if one.state not in OPEN])


def _title(one: Challenger) -> str:
    return f"{one.name} {formats.short(one.bundle_id)}"


def _challenger(one: Challenger) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(
            f":{COLOURS[one.state]}-badge[{one.state}] **{formats.plain(_title(one))}** against "
            f"`{formats.short(one.champion_id)}`",
            width="stretch",
        )
        if session.may(Role.ENGINEER):
            for stage in _next_of(one):
                label, icon, _ = STAGES[stage]
                if st.button(label, icon=icon, key=f"challenger-{stage}"):
                    _confirm(one, stage)
    st.caption(f"{one.state} since {formats.clock(one.since)}: {formats.plain(one.words)}")
    left, right = st.columns([2, 1], gap="medium")
    with left:
        _comparison(one.comparison)
    with right:
        _shadow(one.shadow)
        _stations(one)


def _next_of(one: Challenger) -> tuple[ChallengerState, ...]:
    """Give what a person may do with a challenger that is open."""
    if one.state is ChallengerState.HELD:
        return tuple(STAGES)
    if one.state is ChallengerState.SHADOW or one.waiting:
        return ChallengerState.ROLLOUT, ChallengerState.WITHDRAWN
    return (ChallengerState.WITHDRAWN,)


def _confirm(one: Challenger, stage: ChallengerState) -> None:
    label, _, text = STAGES[stage]

    def send(why: str) -> str:
        new = NewStage.model_validate({"state": stage, "comment": why})
        now = session.hub().stage(one.id, new)
        return f"{_title(one)} is {now.state}."

    reason.ask(
        "stage",
        f"{label.removesuffix(' …')}: {_title(one)}",
        f"**{formats.plain(_title(one))}** on **{formats.plain(one.line)}**. {text}",
        label.removesuffix(" …"),
        send,
    )


def _comparison(comparison: Comparison) -> None:
    st.markdown(f"**Champion and challenger**: {formats.plain(comparison.words)}")
    sets = {"frozen": comparison.frozen, "recent": comparison.recent}
    shown = {name: one for name, one in sets.items() if one is not None}
    if not shown:
        st.caption("They were not compared: there was no champion, and too few reviewed parts.")
        return
    columns = {f"{name}: {who}": cells for name, one in shown.items() for who, cells in _cells(one)}
    frame = pd.DataFrame({"": ROWS} | columns)
    st.dataframe(frame, hide_index=True, key="comparison")
    missing = [] if comparison.recent else ["Too few reviewed parts that neither has seen."]
    if comparison.frozen:
        missing.insert(0, "Frozen: the golden test split, which teaches nothing, ever.")
    st.caption(" ".join([*missing, "p: McNemar's exact test of the verdicts that are right."]))


ROWS = ("good, defective", "AUROC", "difference", "false rejects", "escapes", "p")


def _cells(one: Compared) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Give the columns of champion and challenger, in the order of ROWS."""
    champion = (
        f"{one.goods:,}, {one.defects:,}",
        "–" if one.champion is None else str(one.champion),
        "",
        f"{one.champion_false_rejects:,} of {one.goods:,}",
        f"{one.champion_escapes:,} of {one.defects:,}",
        "",
    )
    challenger = (
        "the same",
        "–" if one.challenger is None else str(one.challenger),
        "–" if one.difference is None else str(one.difference),
        f"{one.challenger_false_rejects:,} of {one.goods:,}",
        f"{one.challenger_escapes:,} of {one.defects:,}",
        f"{one.p_value:.2g}",
    )
    return ("champion", champion), ("challenger", challenger)


def _shadow(report: ShadowReport) -> None:
    st.markdown("**In the shadow**")
    if not report.parts:
        st.caption("It has scored no part beside the champion yet.")
        return
    cells = st.columns(3)
    cells[0].metric("Parts", f"{report.parts:,}")
    cells[1].metric("Disagreements", f"{report.disagreements:,}")
    cells[2].metric("Challenger right", f"{report.challenger_right} of {report.reviewed}")
    share = formats.percent(report.disagreements / report.parts)
    p99 = report.latency_p99_ms
    latency = "" if p99 is None else f", 99 % of parts within {p99:.0f} ms"
    since = f" since {formats.clock(report.since)}" if report.since else ""
    st.caption(
        f"They disagree on {share}{since}; reviewed: {report.reviewed:,}; "
        f"{formats.counted(report.faults, 'fault')}{latency}"
    )
    if report.reviewed < report.disagreements:
        link("review", "Review the disagreements, they come first", ":material/visibility:")


def _stations(one: Challenger) -> None:
    reached, waiting = (formats.plain(", ".join(names)) for names in (one.stations, one.waiting))
    if one.state is ChallengerState.ROLLOUT:
        of = len(one.stations) + len(one.waiting)
        st.progress(len(one.stations) / max(of, 1), f"judges on {len(one.stations)} of {of}")
        link("models", "Choose it for the whole line", ":material/deployed_code:")
    if reached:
        st.caption(f"Judges on {reached}.")
    if waiting:
        st.caption(f"Has not come to {waiting}.")


def _past(past: Sequence[Challenger]) -> None:
    with st.expander(f"Promoted and withdrawn, {len(past)}", key="challengers-past"):
        if not past:
            st.caption("None yet on this line.")
            return
        rows = [
            {
                "bundle": _title(one),
                "against": formats.short(one.champion_id),
                "state": str(one.state),
                "since": formats.clock(one.since),
                "compared": one.comparison.words,
                "words": one.words,
            }
            for one in past
        ]
        st.dataframe(pd.DataFrame(rows), hide_index=True, key="challengers-list")

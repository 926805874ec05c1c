"""Models: which bundle judges on the line, the evidence for each, and the way back."""

from collections.abc import Callable

import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from inspection.core.records import Certificate
from inspection.dashboard.parts import errors, formats, reason, session
from inspection.hub.wire.models import BundleRow, Choice, NewChoice, StationParity
from inspection.hub.wire.people import Role

EMPTY = """
**The hub has no bundle yet.** Train, export and gate one, then bring it where the hub runs:

    inspection hub bundle add bundles/plate
"""
NOT_CHOSEN = (
    "Nobody chose a bundle for this line; its stations judge with what their own settings name. "
    "Choose one, and every station of the line takes it within seconds."
)
EVIDENCE: dict[str, Callable[[BundleRow], object]] = {
    "gate": lambda row: "passed" if row.gate.passed else "; ".join(row.gate.refusals),
    "evidence": lambda row: row.gate.evidence,
    "AUROC": lambda row: row.gate.auroc,
    "AUROC of the FP32 reference": lambda row: row.gate.reference_auroc,
    "pixel AUROC": lambda row: row.gate.pixel_auroc,
    "AUPRO": lambda row: row.gate.aupro,
    "recall of defects": lambda row: row.gate.recall,
    "false rejects, tested": lambda row: row.gate.false_reject_rate,
    "false rejects, promised": lambda row: _promised(row.card.certificate),
    "review above": lambda row: formats.number(row.card.band.review_above),
    "reject above": lambda row: formats.number(row.card.band.reject_above),
    "verdicts other than FP32": lambda row: f"{row.gate.verdict_flips} of {len(row.gate.rows)}",
    "latency p50 / p99": lambda row: (
        f"{row.gate.latency.p50_ms:.1f} / {row.gate.latency.p99_ms:.1f} ms"
    ),
    "model": lambda row: f"{row.card.model}, {row.card.precision}",
    "weights": lambda row: "; ".join(str(weights) for weights in row.card.weights),
    "test set": lambda row: formats.short(row.gate.test_manifest_sha256),
    "made": lambda row: f"{formats.clock(row.created_at)} on {row.card.origin.machine}",
    "code": lambda row: formats.short(row.card.origin.git_revision),
}


def _promised(certificate: Certificate | None) -> str:
    if certificate is None:
        return "none: the threshold is a first guess, nothing is rejected"
    return (
        f"{certificate.mean:.4f}, 95 % below {certificate.bound95:.4f} "
        f"({certificate.normals} normals)"
    )


def page() -> None:
    """Show the bundles, their evidence and the line's choices."""
    with errors.shown():
        bundles = {row.bundle_id: row for row in session.hub().bundles()}
        if not bundles:
            st.info(EMPTY, icon=":material/deployed_code:")
            return
        line = session.line()
        choices = session.hub().choices(line) if line else ()
        left, right = st.columns([1, 1], gap="large")
        with left:
            _in_force(line, bundles, choices)
            _parity(line, session.hub().parity())
        with right:
            _choose(line, bundles, choices)
        _compare(bundles, [choice.bundle_id for choice in choices if choice.in_force])
        _list(bundles)
        _history(choices)


def title(row: BundleRow) -> str:
    """Name a bundle: name, short id, day."""
    return f"{row.name} {formats.short(row.bundle_id)} of {formats.local(row.created_at):%Y-%m-%d}"


def _title(row: BundleRow) -> str:
    """Name a bundle where Markdown is read."""
    return formats.plain(title(row))


def before(choice: Choice, choices: tuple[Choice, ...]) -> str | None:
    """Give the bundle that judged before a choice, of the same name; none if it is the first."""
    older = (
        one.bundle_id
        for one in sorted(choices, key=lambda one: one.id, reverse=True)
        if one.id < choice.id and one.name == choice.name and one.bundle_id != choice.bundle_id
    )
    return next(older, None)


def _in_force(line: str, bundles: dict[str, BundleRow], choices: tuple[Choice, ...]) -> None:
    st.subheader(f"Judging on {formats.plain(line) or 'no line'}", anchor=False)
    standing = [choice for choice in choices if choice.in_force]
    if not standing:
        st.info(NOT_CHOSEN, icon=":material/info:")
    for choice in standing:
        with st.container(border=True):
            st.markdown(f"**{formats.plain(choice.name)}** `{formats.short(choice.bundle_id)}`")
            why = formats.plain(f"{choice.who}: {choice.why}")
            st.caption(f"chosen {formats.clock(choice.chosen_at)} by {why}")
            previous = bundles.get(before(choice, choices) or "")
            if previous is not None and session.may(Role.ENGINEER):
                label = f"Roll back to {_title(previous)}"
                if st.button(label, icon=":material/undo:", key=f"roll-back-{choice.name}"):
                    _confirm(line, previous)


def _parity(line: str, rows: tuple[StationParity, ...]) -> None:
    st.markdown("**Stations against the choice**")
    frame = pd.DataFrame(
        [
            {
                "station": row.station,
                "judges with": f"{row.name} {formats.short(row.bundle_id)}",
                "chosen": formats.short(row.wanted) if row.wanted else "none",
                "stands": _stands(row),
                "note": row.note,
            }
            for row in rows
            if row.line == line
        ]
    )
    if frame.empty:
        st.caption("No station of this line has said which bundle it judges with.")
    else:
        st.dataframe(frame, hide_index=True, key="parity")


def _stands(row: StationParity) -> str:
    if row.wanted is None:
        return "free"
    if not row.agrees:
        return "DIFFERS"
    return "agrees, on trial" if row.trial else "agrees"


def _choose(line: str, bundles: dict[str, BundleRow], choices: tuple[Choice, ...]) -> None:
    st.subheader("Choose another", anchor=False)
    if not line:
        st.caption("Enrol a station first: a bundle is chosen for the stations of a line.")
        return
    if not session.may(Role.ENGINEER):
        st.caption("Engineers and admins choose; your account may look.")
        return
    standing = {choice.bundle_id for choice in choices if choice.in_force}
    free = [bundle_id for bundle_id in bundles if bundle_id not in standing]
    if not free:
        st.caption(
            "Every bundle the hub has is chosen. `inspection hub bundle add DIR` brings more."
        )
        return
    picked = st.selectbox(
        "Bundle", free, format_func=lambda one: title(bundles[one]), key="choose-bundle"
    )
    row = bundles[picked]
    if row.gate.passed:
        st.caption(f"AUROC {row.gate.auroc}, recall {row.gate.recall}")
    else:
        st.warning(f"Its gate refused: {formats.plain('; '.join(row.gate.refusals))}")
    if st.button(
        f"Choose for {formats.plain(line)} …",
        type="primary",
        key="choose",
        disabled=not row.gate.passed,
    ):
        _confirm(line, row)


def _confirm(line: str, row: BundleRow) -> None:
    def send(why: str) -> str:
        session.hub().choose(line, NewChoice(bundle_id=row.bundle_id, comment=why))
        return f"{title(row)} was chosen for {line}."

    reason.ask(
        "choose",
        "Another bundle is to judge",
        f"**{_title(row)}** becomes the choice for **{formats.plain(line)}**. Its stations take "
        "it within seconds, test themselves on its golden frames, and go back by themselves if "
        "it fails its trial. Thresholds set for another bundle do not hold for this one.",
        "Let it judge",
        send,
    )


def _compare(bundles: dict[str, BundleRow], standing: list[str]) -> None:
    first = next((one for one in standing if one in bundles), list(bundles)[-1])
    if len(bundles) == 1:
        st.subheader("Gate evidence", anchor=False)
        st.caption(f"of {_title(bundles[first])}; another bundle would stand beside it")
        shown = {"found": bundles[first]}
    else:
        st.subheader("Gate evidence side by side", anchor=False)
        left, right = st.columns(2)
        one = _pick(left, "left", bundles, first)
        others = {name: row for name, row in bundles.items() if name != one.bundle_id}
        shown = {"left": one, "right": _pick(right, "right", others, next(iter(others)))}
    rows = [(name, *(_said(of(row)) for row in shown.values())) for name, of in EVIDENCE.items()]
    for defect in sorted({name for row in shown.values() for name in row.gate.recall_by_defect}):
        recalls = (row.gate.recall_by_defect.get(defect) for row in shown.values())
        rows.append((f"recall of {defect}", *(_said(recall) for recall in recalls)))
    frame = pd.DataFrame(rows, columns=["", *shown])
    st.dataframe(frame, hide_index=True, key="evidence", height=35 * len(rows) + 38)
    if len({row.gate.test_manifest_sha256 for row in shown.values()}) > 1:
        st.caption(":material/warning: Tested on different sets: the numbers do not compare.")


def _pick(place: DeltaGenerator, name: str, bundles: dict[str, BundleRow], start: str) -> BundleRow:
    ids = list(bundles)
    picked = place.selectbox(
        name.capitalize(),
        ids,
        index=ids.index(start),
        format_func=lambda one: title(bundles[one]),
        key=f"compare-{name}",
        label_visibility="collapsed",
    )
    return bundles[picked]


def _said(value: object) -> str:
    return "–" if value is None else str(value)


def _list(bundles: dict[str, BundleRow]) -> None:
    with st.expander(f"All {len(bundles)} bundles", key="bundles"):
        rows = [
            {
                "bundle": row.name,
                "id": formats.short(row.bundle_id),
                "made": formats.clock(row.created_at),
                "came in": formats.clock(row.received_at),
                "gate": "passed" if row.gate.passed else "REFUSED",
                "chosen on": ", ".join(row.chosen),
                "runs on": ", ".join(row.running),
            }
            for row in bundles.values()
        ]
        st.dataframe(pd.DataFrame(rows), hide_index=True)


def _history(choices: tuple[Choice, ...]) -> None:
    with st.expander(f"History of choices, {len(choices)}", key="choices"):
        if not choices:
            st.caption("None was made on this line.")
            return
        rows = [
            {
                "when": formats.clock(choice.chosen_at),
                "who": choice.who,
                "bundle": f"{choice.name} {formats.short(choice.bundle_id)}",
                "why": choice.why,
                "in force": choice.in_force,
            }
            for choice in choices
        ]
        st.dataframe(pd.DataFrame(rows), hide_index=True)

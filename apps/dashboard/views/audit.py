"""Audit: who changed what, whether the log is whole, and what another band would have decided."""

import re

import pandas as pd
import streamlit as st

from inspection.dashboard.parts import errors, formats, replay, session
from inspection.hub.wire.people import AuditEntry

LOG, REPLAY = "Log", "What if"
PAGE, MOST_PAGES = 500, 4  # each is one request, whenever the page runs
HASH = re.compile(r"[0-9a-f]{64}")


def page() -> None:
    """Show the log, or decide a past time again."""
    section = st.segmented_control(
        "Section",
        [LOG, REPLAY],
        default=LOG,
        required=True,
        key="audit-section",
        label_visibility="collapsed",
    )
    with errors.shown():
        if section == REPLAY:
            replay.form()
        else:
            _verify()
            _log()


def _verify() -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        if not st.button("Verify the chain", icon=":material/verified:", key="verify"):
            st.caption("Each entry's hash covers the one before it: a changed log does not verify.")
            return
        check = session.hub().verify_audit()
    if check.sound:
        st.success(
            f"{check.entries:,} entries, unbroken. Head: `{check.head}` – write it down elsewhere: "
            "a log that was replaced as a whole has another one.",
            icon=":material/verified:",
        )
    else:
        st.error(
            f"The log was changed: {formats.plain(check.problem)}. Keep the database as it is and "
            "compare it with a backup: `inspection hub audit verify`",
            icon=":material/gpp_bad:",
        )


def _log() -> None:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        words = st.text_input(
            "Filter",
            key="audit-filter",
            placeholder="who, action, subject, or a word of the detail",
            icon=":material/search:",
        )
        pages = int(
            st.number_input(f"Pages of {PAGE}", 1, MOST_PAGES, key="audit-pages", width=140)
        )
    entries, more = _read(pages)
    found = [entry for entry in entries if _fits(entry, words)]
    if not entries:
        st.info("Nobody changed anything yet.", icon=":material/history:")
        return
    st.dataframe(
        pd.DataFrame([_row(entry) for entry in found]),
        hide_index=True,
        key="audit-log",
        height=min(460, 35 * len(found) + 38),
    )
    rest = "; there are older ones" if more else ""
    st.caption(f"{len(found)} of the {len(entries)} entries read{rest}.")


def _read(pages: int) -> tuple[list[AuditEntry], bool]:
    """Read the newest entries; says also whether there are older ones."""
    entries: list[AuditEntry] = []
    after = None
    for _ in range(pages):
        part = session.hub().audit(after, PAGE)
        entries += part.items
        after = part.next
        if after is None:
            break
    return entries, after is not None


def _fits(entry: AuditEntry, words: str) -> bool:
    text = f"{entry.actor} {entry.action} {entry.subject} {_detail(entry)}".lower()
    return all(word in text for word in words.lower().split())


def _detail(entry: AuditEntry) -> str:
    said = ", ".join(f"{name}: {value}" for name, value in entry.detail.items() if value)
    return HASH.sub(lambda found: formats.short(found[0]), said)


def _row(entry: AuditEntry) -> dict[str, object]:
    return {
        "entry": entry.id,
        "when": formats.clock(entry.at),
        "who": entry.actor,
        "action": entry.action,
        "subject": HASH.sub(lambda found: formats.short(found[0]), entry.subject),
        "detail": _detail(entry),
        "hash": formats.short(entry.sha256),
    }

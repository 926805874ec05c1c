"""Shows a job's log, and asks each time only for the lines that came since."""

from dataclasses import dataclass, field

import streamlit as st

from inspection.dashboard.parts import formats, session
from inspection.hub.wire.retraining import JobLine

LOG = "job log"
PAGE = 500
KEPT = 500  # lines shown; a browser that is sent all of them every two seconds would crawl
HEIGHT_PX = 250  # as high as six steps beside it


@dataclass
class Log:
    """What was read of one job's log."""

    job_id: str
    after: int = 0
    read: int = 0
    lines: list[JobLine] = field(default_factory=list)


def show(job_id: str) -> None:
    """Show the end of a job's log, its last line in sight."""
    log = _read(job_id)
    if not log.lines:
        st.caption("Nothing is in its log yet.")
        return
    if log.read > len(log.lines):
        st.caption(f"the last {len(log.lines)} of {log.read:,} lines")
    with st.container(height=HEIGHT_PX, autoscroll=True, key="job-log"):
        st.code("\n".join(map(_line, log.lines)), language=None, wrap_lines=True)


def _read(job_id: str) -> Log:
    """Read what came since the last time; another job's log begins anew."""
    log = st.session_state.get(LOG)
    if not isinstance(log, Log) or log.job_id != job_id:
        log = st.session_state[LOG] = Log(job_id)
    while True:
        came = session.hub().job_log(job_id, log.after, PAGE)
        log.read += len(came)
        log.lines = [*log.lines, *came][-KEPT:]
        log.after = log.lines[-1].id if log.lines else 0
        if len(came) < PAGE:
            return log


def _line(one: JobLine) -> str:
    return f"{formats.local(one.at):%H:%M:%S}  {one.level:<8} {one.text}"

"""Retraining: what has drifted, what is due, the jobs, and the bundles on their way to a line."""

from collections.abc import Sequence

import streamlit as st

from inspection.dashboard.parts import (
    alarms,
    challengers,
    errors,
    forgetting,
    formats,
    jobs,
    session,
)
from inspection.hub.wire.retraining import Alarm, Challenger, ChallengerState, Job, JobState

DRIFT, JOBS, CHALLENGERS, FORGOTTEN = "Drift", "Jobs", "Challengers", "Forgotten"


def page() -> None:
    """Show one of four sections, and beside them what stands in each."""
    with errors.shown():
        line = session.line()
        if not line:
            st.info("The hub knows no line yet. Enrol a station on the page Stations.")
            return
        place = st.container(horizontal=True, vertical_alignment="center")
        section = place.segmented_control(
            "Section",
            [DRIFT, JOBS, CHALLENGERS, FORGOTTEN],
            default=DRIFT,
            required=True,
            key="section",
            bind="query-params",
            label_visibility="collapsed",
        )
        standing, newest = session.hub().alarms(), jobs.newest()
        coming = session.hub().challengers(line)
        place.caption(formats.plain(_stands(standing, newest, coming)))
        if section == DRIFT:
            alarms.show(line, standing)
        elif section == JOBS:
            jobs.show(line, newest)
        elif section == CHALLENGERS:
            challengers.show(line, coming)
        else:
            forgetting.show()


def _stands(standing: Sequence[Alarm], newest: Sequence[Job], coming: Sequence[Challenger]) -> str:
    """Say in one line what stands in all sections."""
    running = sum(job.state is JobState.RUNNING for job in newest)
    waiting = sum(job.state is JobState.WAITING for job in newest)
    held = sum(one.state is ChallengerState.HELD for one in coming)
    return (
        f"{formats.counted(len(standing), 'alarm')} of drift, "
        f"{formats.counted(running, 'job')} running and {waiting} waiting, "
        f"{formats.counted(held, 'challenger')} held for a person"
    )

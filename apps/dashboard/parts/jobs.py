"""Shows retrainings: the policy in words, the list of jobs, one of them with its log."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pandas as pd
import streamlit as st

from inspection.dashboard.parts import errors, formats, joblog, notice, pictures, reason, session
from inspection.hub.asking import Refused
from inspection.hub.wire.people import Role
from inspection.hub.wire.retraining import (
    STEPS,
    Job,
    JobKind,
    JobState,
    NewJob,
    PolicyWords,
    Step,
)

EVERY_S = 2.0
NEWEST = (20, 100, 500)
ROWS, ROWS_PX = 5, 215  # listed at once; the rest scrolls
AT_ONCE = 4
ALONE = 409  # the hub says so where no retraining runs beside it
LIVE = (JobState.WAITING, JobState.RUNNING)
OPEN = "job to open"
KINDS = {
    JobKind.REFIT: "new thresholds of the same model, from reviewed parts",
    JobKind.GUARDS: "guards know the light of reviewed good parts; PatchCore's scores stay",
    JobKind.UPDATE: "PatchCore's bank takes in reviewed good parts",
    JobKind.RETRAIN: "everything anew",
}
ALLOWED = {
    "nothing": "nothing happens without a person",
    "refit": "thresholds are fitted again without a person, nothing else",
    "retrain": "a bundle is made without a person, and held for one",
    "shadow": "a bundle is made and scores in the shadow without a person",
    "promote": "a better bundle comes to the line without a person, station by station",
}
NO_POLICY = (
    "**No product of {} is retrained here.** Add it under `products` of `configs/retraining.yaml`, "
    "with its first set and the configuration of its training, and start the hub again."
)
NO_JOBS = "No retraining was asked for yet; the policy asks when something is due."


def show(line: str, jobs: Sequence[Job]) -> None:
    """Show the policy of a line, and the jobs of all lines.

    Args:
        line: chosen.
        jobs: the newest, the newest first.
    """
    policy = _policy()
    if policy is not None:
        _said([one for one in policy if one.line == line], line)
    row = st.container(horizontal=True, vertical_alignment="bottom")
    chosen = _chosen(row, jobs)
    if session.may(Role.ENGINEER):
        if chosen is not None and _ends(chosen, row):
            _cancel(chosen)
        if policy and row.button("Start a job …", icon=":material/add:", key="job-start"):
            _start(line, policy)
    if chosen is None:
        st.info(NO_JOBS, icon=":material/hourglass_empty:")
        return
    live = any(job.state in LIVE for job in jobs)
    seen = [(job.job_id, job.state) for job in jobs]
    st.fragment(_follow, run_every=EVERY_S if live else None)(seen, chosen.job_id)


def newest() -> tuple[Job, ...]:
    """Ask for as many jobs as the person wants to see."""
    return session.hub().jobs(int(st.session_state.get("jobs-newest") or NEWEST[0]))


def _policy() -> tuple[PolicyWords, ...] | None:
    """Ask what the policy says; says why where no retraining runs beside this hub."""
    try:
        return session.hub().policy()
    except Refused as error:
        if error.status != ALONE:
            raise
        st.info(formats.plain(str(error)), icon=":material/info:")
        return None


def _said(policy: Sequence[PolicyWords], line: str) -> None:
    if not policy:
        st.info(NO_POLICY.format(formats.plain(line)), icon=":material/rule:")
        return
    with st.container(border=True, key="policy", gap="xsmall"):
        for one in pictures.paged(policy, AT_ONCE, "policy-pages"):
            badge = f":orange-badge[{one.due} is due]" if one.due else ":green-badge[nothing due]"
            st.markdown(
                f"{badge} **{formats.plain(one.product)}**: {formats.plain(one.words)}  \n"
                f":small[:gray[Allowed: {one.allowed}; {ALLOWED[one.allowed]}.]]"
            )


def _chosen(row: st.delta_generator.DeltaGenerator, jobs: Sequence[Job]) -> Job | None:
    """Let a person pick how many jobs are listed, and which is open: one that runs at first."""
    known = {job.job_id: job for job in jobs}
    if not known:
        return None
    wanted = st.session_state.pop(OPEN, None)
    if wanted in known:
        st.session_state["job"] = wanted
    first = next((number for number, job in enumerate(jobs) if job.state is JobState.RUNNING), 0)
    picked = row.selectbox(
        "Job",
        list(known),
        first,
        format_func=lambda one: f"{title(known[one])}, {formats.short(one)}",  # told apart by it
        key="job",
        width=520,
    )
    row.segmented_control(
        "Newest", NEWEST, default=NEWEST[0], required=True, key="jobs-newest", width="content"
    )
    return known[picked]


def title(job: Job) -> str:
    """Name a job: what, of what, when."""
    return (
        f"{job.kind} of {job.product} on {job.line}, {formats.local(job.created_at):%Y-%m-%d %H:%M}"
    )


def _ends(job: Job, row: st.delta_generator.DeltaGenerator) -> bool:
    """Offer to end a job that goes on; says whether the button was pressed."""
    if job.state not in LIVE or job.cancelled_by is not None:
        return False
    return bool(row.button("Cancel it …", icon=":material/cancel:", key="job-cancel"))


def _follow(seen: list[tuple[str, JobState]], job_id: str) -> None:
    """Draw the list and the open job; runs again by itself while one is live."""
    with errors.shown():
        jobs = newest()
        if [(job.job_id, job.state) for job in jobs] != seen:
            st.rerun()  # what stands above, and whether to go on looking, is of another time
        _table(jobs)
        job = session.hub().job(job_id)
        _job(job)
        left, right = st.columns([5, 4], gap="medium")
        with left:
            _steps(job)
        with right:
            joblog.show(job.job_id)


def _table(jobs: Sequence[Job]) -> None:
    rows = [
        {
            "state": _state(job),
            "kind": str(job.kind),
            "line": job.line,
            "product": job.product,
            "step": job.step,
            "progress": round(100 * share(job)),
            "took": formats.lasting(_took(job)),
            "asked for": formats.clock(job.created_at),
            "by": job.who,
            "why": job.why,
        }
        for job in jobs
    ]
    st.dataframe(
        pd.DataFrame(rows),
        hide_index=True,
        key="jobs",
        height="auto" if len(rows) <= ROWS else ROWS_PX,
        column_config={
            "progress": st.column_config.ProgressColumn(
                format="%d %%", min_value=0, max_value=100, help="of its steps"
            )
        },
    )


def _state(job: Job) -> str:
    return "cancelling" if job.state in LIVE and job.cancelled_by else str(job.state)


def share(job: Job) -> float:
    """Say how much of a job is done, 0 to 1: the steps of its kind count alike."""
    if job.state is JobState.DONE:
        return 1.0
    steps = [str(step) for step in STEPS[job.kind]]
    if job.step not in steps:
        return 0.0
    within = min(job.done / job.total, 1.0) if job.total > 0 else 0.0
    return (steps.index(job.step) + within) / len(steps)


def _took(job: Job) -> timedelta | None:
    return _between(job.started_at, job.ended_at)


def _between(begin: datetime | None, end: datetime | None) -> timedelta | None:
    """Give a duration, until now where it has not ended; none before it began."""
    if begin is None:
        return None
    return max(timedelta(0), (end or datetime.now(UTC)) - begin)


def _job(job: Job) -> None:
    said = [f"{job.who}: {job.why}", job.outcome]
    if job.cancelled_by:
        said.append(f"cancelled by {job.cancelled_by}")
    if job.state is JobState.RUNNING and job.leased_by:
        said.append(f"worked on by {job.leased_by}")
    if job.bundle_id:
        said.append(f"made bundle {formats.short(job.bundle_id)}")
    st.caption(formats.plain("; ".join(one for one in said if one)))
    if job.state in LIVE:
        items = f", {job.done:,} of {job.total:,}" if job.total > 0 else ""
        doing = "waits for a worker" if job.state is JobState.WAITING else job.step or "runs"
        st.progress(share(job), formats.plain(f"{doing}{items}"))


def _steps(job: Job) -> None:
    if not STEPS[job.kind]:
        st.caption(f"A {job.kind} is done in one go; it has no steps.")
        return
    begun = {one.step: one for one in job.steps}
    rows = []
    for step in STEPS[job.kind]:
        one = begun.get(step)
        took = _between(one.started_at, one.ended_at or job.ended_at) if one else None
        rows.append(
            {
                "step": str(step),
                "stands": _stands(job, step),
                "began": f"{formats.local(one.started_at):%H:%M:%S}" if one else "",
                "took": formats.lasting(took),
                "tries": one.tries if one else None,
                "note": one.note if one else "",
                "inputs": formats.short(one.digest) if one else "",
            }
        )
    st.dataframe(pd.DataFrame(rows), hide_index=True, key="steps", placeholder="–")


def _stands(job: Job, step: Step) -> str:
    one = next((one for one in job.steps if one.step is step), None)
    if one is None:
        return "to come" if job.state in LIVE else "not made"
    if one.ended_at is not None:
        return "done"
    return "runs" if job.state is JobState.RUNNING else "not finished"


def _cancel(job: Job) -> None:
    @st.dialog("Cancel a job")
    def dialog() -> None:
        st.markdown(
            f"**{formats.plain(title(job))}** ends at once, or when its worker next says that it "
            "lives. Steps that are finished stay: asked for again, it goes on after them."
        )
        if st.button("Cancel the job", type="primary", key="job-cancel-confirm"):
            with errors.shown():
                now = session.hub().cancel_job(job.job_id)
                over = now.state is JobState.CANCELLED
                ends = "is cancelled" if over else "ends as soon as its worker hears of it"
                notice.done(f"{title(job)} {ends}.")

    dialog()


def _start(line: str, policy: Sequence[PolicyWords]) -> None:
    places = [(one.line, one.product) for one in policy]
    here = next((number for number, place in enumerate(places) if place[0] == line), 0)

    @st.dialog("Start a job")
    def dialog() -> None:
        place = st.selectbox("Product", places, here, format_func=" / ".join, key="start-product")
        kind = st.selectbox("Kind", KINDS, list(KINDS).index(JobKind.RETRAIN), key="start-kind")
        what = KINDS[kind][:1].upper() + KINDS[kind][1:]  # `capitalize` would lower a name's rest
        st.caption(f"{what}. What comes of it waits for its gate and policy.")

        def send(why: str) -> str:
            new = NewJob(line=place[0], product=place[1], kind=kind, comment=why)
            job = session.hub().start_job(new)
            st.session_state[OPEN] = job.job_id
            return f"{title(job)} is {job.state}."

        reason.field("start", "Start it", send)

    dialog()

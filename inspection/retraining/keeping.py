"""Keeps the folders of jobs small: old ones go, and copies of pictures that were forgotten."""

import logging
import shutil
from collections import Counter
from collections.abc import Collection
from pathlib import Path

from sqlalchemy import or_, select

from inspection.core.records import Manifest, Split, read_record
from inspection.hub.hub import Hub
from inspection.hub.job_rows import UNFINISHED
from inspection.hub.loop_tables import challengers, jobs
from inspection.hub.models import in_force
from inspection.hub.wire.retraining import OPEN, JobState, Step
from inspection.retraining.assemble import MANIFEST, RECENT, SET
from inspection.retraining.steps import REQUEST

logger = logging.getLogger(__name__)
LAST = 3  # folders of ended jobs of each product that stay for people to look at


def remove_old(hub: Hub, work_dir: Path) -> list[str]:
    """Delete the folders of jobs that ended, but the last few of each product.

    What a bundle that judges, or may soon, was made in stays: its manifest names pictures there.

    Args:
        hub: that knows the jobs.
        work_dir: folder of the jobs; folders the hub knows no job of are left alone.

    Returns:
        The ids of the jobs whose folders went.
    """
    with hub.database.reading() as connection:
        rows = connection.execute(select(jobs).order_by(jobs.c.created_at.desc())).all()
        used = {row.bundle_id for row in connection.execute(in_force())}
        may_yet = select(challengers.c.bundle_id).where(challengers.c.state.in_(OPEN))
        used |= set(connection.execute(may_yet).scalars())
    seen: Counter[tuple[str, str, str]] = Counter()
    removed = []
    for row in rows:
        if row.state in UNFINISHED:
            continue
        folder = work_dir / row.job_id
        if not folder.is_dir():
            continue  # a re-fit has none
        seen[row.line, row.product, row.name] += 1
        if seen[row.line, row.product, row.name] > LAST and row.bundle_id not in used:
            shutil.rmtree(folder, ignore_errors=True)
            removed.append(row.job_id)
    return removed


def remove_forgotten(hub: Hub, work_dir: Path, sha256s: Collection[str]) -> int:
    """Delete what jobs hold of forgotten pictures: their copies, and what was learnt from them.

    What a killed step left half-written names no pictures, so all of it goes, unless a worker may
    be at the job. The first set itself is its owner's, and stays.

    Args:
        hub: that knows the jobs.
        work_dir: folder of the jobs.
        sha256s: of the pictures; where there are none, nothing goes.

    Returns:
        How many copies went.
    """
    wanted, count = set(sha256s), 0
    for path in sorted(work_dir.glob(f"*/{Step.ASSEMBLE}-*/")) if wanted else ():
        entries = [
            entry
            for name in (MANIFEST, RECENT)
            for entry in read_record(path / name, Manifest).entries
            if entry.sha256 in wanted
        ]
        for entry in entries:
            place = path / SET / entry.path
            count += place.exists()
            place.unlink(missing_ok=True)
        if any(entry.split is not Split.TEST for entry in entries):
            _remove_learnt(path.parent)
    if wanted:
        _remove_partial(hub, work_dir)
    return count


def _remove_partial(hub: Hub, work_dir: Path) -> None:
    """Delete what `core.folders` left of killed steps, of jobs that are in nobody's hands."""
    found = sorted(work_dir.glob("*/.*.partial"))  # first: who leases a job now, makes a new one
    in_hands = or_(jobs.c.state == JobState.RUNNING, jobs.c.leased_until.is_not(None))
    with hub.database.reading() as connection:
        running = set(connection.execute(select(jobs.c.job_id).where(in_hands)).scalars())
    for partial in found:
        if partial.parent.name in running:
            continue
        logger.info("half-written, forgotten with its pictures", extra={"folder": str(partial)})
        if partial.is_dir():
            shutil.rmtree(partial, ignore_errors=True)
        else:
            partial.unlink(missing_ok=True)


def _remove_learnt(job: Path) -> None:
    """Delete what a job made of its set; what it said of it, and the pictures, stay."""
    if not (job / REQUEST).exists():
        return
    for step in (Step.TRAIN, Step.EXPORT, Step.CALIBRATE, Step.GATE, Step.COMPARE):
        for folder in job.glob(f"{step}-*"):
            logger.info("forgotten with its picture", extra={"folder": str(folder)})
            shutil.rmtree(folder, ignore_errors=True)

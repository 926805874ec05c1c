"""Keeps in the hub's database when the scheduler's work is due next, for all hubs on it together.

APScheduler's own store pickles what it keeps, and whoever can write to the database could then run
anything on the hub. Here the row holds a time; what is done then is the program's own.
"""

import logging
from datetime import UTC, datetime, timedelta

from apscheduler.job import Job
from apscheduler.jobstores.base import BaseJobStore
from sqlalchemy import delete, select, update

from inspection.core.errors import HubError
from inspection.hub.database import Database, insert_new
from inspection.hub.loop_tables import schedule

logger = logging.getLogger(__name__)
AGAIN = timedelta(seconds=10)  # after a database that did not answer


class ScheduleStore(BaseJobStore):  # type: ignore[misc] # APScheduler has no types
    """Gives APScheduler the work it was told of in this process, at the times of the database.

    A database that does not answer is asked again; the scheduler's thread goes on.
    """

    def __init__(self, database: Database) -> None:
        super().__init__()
        self._database = database
        self._jobs: dict[str, Job] = {}

    def add_job(self, job: Job) -> None:
        """Take work in; a time that the database has already holds, unless it is later."""
        row = {"name": job.id, "next_at": job.next_run_time}
        with self._database.writing() as connection:
            if not insert_new(connection, schedule, [row], "name"):
                connection.execute(
                    update(schedule)
                    .where(schedule.c.name == job.id, schedule.c.next_at > job.next_run_time)
                    .values(next_at=job.next_run_time)
                )
        self._jobs[job.id] = job

    def update_job(self, job: Job) -> None:
        """Note when work is due next."""
        try:
            with self._database.writing() as connection:
                connection.execute(
                    update(schedule)
                    .where(schedule.c.name == job.id)
                    .values(next_at=job.next_run_time)
                )
        except HubError as error:  # it stays due, and is done once more
            logger.warning("schedule not written", extra={"reason": str(error)})

    def remove_job(self, job_id: str) -> None:
        """Forget work for good."""
        del self._jobs[job_id]
        with self._database.writing() as connection:
            connection.execute(delete(schedule).where(schedule.c.name == job_id))

    def remove_all_jobs(self) -> None:
        """Forget all work of this process for good."""
        for job_id in tuple(self._jobs):
            self.remove_job(job_id)

    def lookup_job(self, job_id: str) -> Job | None:
        """Give work by its name."""
        return self._jobs.get(job_id)

    def get_due_jobs(self, now: datetime) -> list[Job]:
        """Give what is due.

        Raises:
            HubError: the database does not answer; APScheduler asks again.
        """
        return [job for job in self.get_all_jobs() if job.next_run_time <= now]

    def get_next_run_time(self) -> datetime | None:
        """Say when something is due next."""
        try:
            return min((job.next_run_time for job in self.get_all_jobs()), default=None)
        except HubError:
            return datetime.now(UTC) + AGAIN

    def get_all_jobs(self) -> list[Job]:
        """Give all work of this process, at the times of the database."""
        with self._database.reading() as connection:
            rows = connection.execute(select(schedule)).all()
        for row in rows:
            if row.name in self._jobs:
                self._jobs[row.name].next_run_time = row.next_at
        return list(self._jobs.values())

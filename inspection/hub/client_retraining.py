"""The routes of the retraining loop, as clients ask for them."""

from inspection.hub.asking import Asking, part, without_none
from inspection.hub.wire.retraining import (
    Alarm,
    Challenger,
    Forgotten,
    Job,
    JobLine,
    Monitored,
    NewForgotten,
    NewJob,
    NewStage,
    PolicyWords,
    Shadow,
    ShadowsStored,
)


class RetrainingClient(Asking):
    """Drift, policy, jobs, challengers and what was forgotten."""

    def alarms(self, line: str | None = None, *, standing: bool = True) -> tuple[Alarm, ...]:
        """Give the alarms of drift, the newest first; 500 at most.

        Args:
            line: of one line only.
            standing: only those that stand now; else also those of the past.
        """
        params = without_none(line=line, standing=standing)
        return self.ask("GET", "/v1/alarms", tuple[Alarm, ...], params=params)

    def dismiss(self, alarm: int, comment: str) -> Alarm:
        """Clear an alarm: what it found is the reference from now on."""
        path = f"/v1/alarms/{alarm}/dismissal"
        return self.ask("POST", path, Alarm, json={"comment": comment})

    def monitors(self, line: str) -> tuple[Monitored, ...]:
        """Say how each monitor of a line stands."""
        return self.ask("GET", f"/v1/lines/{part(line)}/monitors", tuple[Monitored, ...])

    def policy(self) -> tuple[PolicyWords, ...]:
        """Say what the policy says of every product it knows."""
        return self.ask("GET", "/v1/policy", tuple[PolicyWords, ...])

    def jobs(self, limit: int = 50) -> tuple[Job, ...]:
        """List retrainings, the newest first."""
        return self.ask("GET", "/v1/jobs", tuple[Job, ...], params={"limit": limit})

    def job(self, job_id: str) -> Job:
        """Give one, with its steps."""
        return self.ask("GET", f"/v1/jobs/{part(job_id)}", Job)

    def start_job(self, new: NewJob) -> Job:
        """Ask for a retraining; the same again while one waits or runs is that one."""
        return self.ask("POST", "/v1/jobs", Job, json=new.model_dump(mode="json"))

    def cancel_job(self, job_id: str) -> Job:
        """End one that waits or runs."""
        return self.ask("POST", f"/v1/jobs/{part(job_id)}/cancellation", Job)

    def job_log(self, job_id: str, after: int = 0, limit: int = 500) -> tuple[JobLine, ...]:
        """Give the lines of a log that came after one, the oldest first."""
        path = f"/v1/jobs/{part(job_id)}/log"
        return self.ask("GET", path, tuple[JobLine, ...], params={"after": after, "limit": limit})

    def challengers(self, line: str | None = None) -> tuple[Challenger, ...]:
        """Give the bundles on their way to a line, the newest first; 100 at most."""
        params = without_none(line=line)
        return self.ask("GET", "/v1/challengers", tuple[Challenger, ...], params=params)

    def stage(self, challenger: int, new: NewStage) -> Challenger:
        """Let a challenger score in the shadow, roll it out, or take it back."""
        path = f"/v1/challengers/{challenger}/stage"
        return self.ask("POST", path, Challenger, json=new.model_dump(mode="json"))

    def send_shadows(self, shadows: tuple[Shadow, ...]) -> ShadowsStored:
        """Bring what challengers said, as a station does; the same again changes nothing."""
        body = [one.model_dump(mode="json") for one in shadows]
        return self.ask("POST", "/v1/shadows", ShadowsStored, json=body)

    def forget(self, new: NewForgotten) -> Forgotten:
        """Let a picture never teach anything again."""
        return self.ask("POST", "/v1/forgotten", Forgotten, json=new.model_dump(mode="json"))

    def forgotten(self) -> tuple[Forgotten, ...]:
        """List what was forgotten, the newest first."""
        return self.ask("GET", "/v1/forgotten", tuple[Forgotten, ...])

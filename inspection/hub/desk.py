"""What the hub asks of the retraining that may run beside it, which it does not know itself."""

from typing import Protocol

from inspection.hub.wire.retraining import Job, NewJob, PolicyWords


class Desk(Protocol):
    """Takes wishes for retrainings and speaks for the policy; for any thread."""

    def start(self, new: NewJob, who: str) -> Job:
        """Ask for a retraining that a person wants; the same again while one waits is that one.

        Raises:
            NotThere: its configuration does not name this product on this line.
            InspectionError: its sets or settings cannot be read.
        """
        ...

    def policy(self) -> tuple[PolicyWords, ...]:
        """Say what the policy says of every product it knows."""
        ...

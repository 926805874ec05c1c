"""The people of a simulated line: reviewers who err at times, and a hand that cleans the lens."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import numpy as np

from inspection.hub.hub import Hub
from inspection.hub.queue import queue_of
from inspection.hub.reviews import decide
from inspection.hub.wire.people import Me, Role
from inspection.hub.wire.retraining import Alarm, Cause
from inspection.hub.wire.review import Decision, NewReview

REVIEWERS = ("weber", "rossi")
CLEANS_AFTER = timedelta(hours=2)


@dataclass
class Reviewers:
    """Two people who decide on what the hub asks them, the most valuable first."""

    rng: np.random.Generator
    error: float
    """Share of their decisions that are wrong."""
    decided: int = 0
    wrong: int = 0

    def work(self, hub: Hub, line: str, truth: Mapping[str, str | None], most: int) -> None:
        """Decide on some parts.

        Args:
            hub: that asks.
            line: whose queue.
            truth: event id → the defect it has; none is a good part.
            most: decisions each of them makes.
        """
        for account in REVIEWERS:
            who = Me(account=account, role=Role.REVIEWER)
            for item in queue_of(hub, line, account, most):
                defect = truth[item.event_id]
                errs = bool(self.rng.random() < self.error)
                good = (defect is None) != errs
                new = NewReview(
                    decision=Decision.GOOD if good else Decision.DEFECT,
                    defect=None if good else defect or "unnamed",
                    second=item.second,
                    revision=item.revision,
                )
                decide(hub, item.event_id, new, who)
                self.decided += 1
                self.wrong += errs


@dataclass
class Maintenance:
    """Does by hand what an alarm advises: a lens is cleaned some hours after it."""

    cleaned_at: datetime | None = None
    causes: set[Cause] = field(default_factory=set)

    def hear(self, alarms: tuple[Alarm, ...], now: datetime) -> None:
        """Clean the lens when the focus has been reported for long enough."""
        self.causes |= {one.cause for one in alarms}
        for one in alarms:
            due = one.cause is Cause.FOCUS and now - one.raised_at >= CLEANS_AFTER
            if due and self.cleaned_at is None:
                self.cleaned_at = now

"""A new bundle's trial: whether it judges the parts that come, and what returns if it does not."""

from dataclasses import dataclass, replace

from inspection.bundles.bundle import Bundle
from inspection.core.decision import Verdict
from inspection.core.records import Event


@dataclass(frozen=True)
class Trial:
    """What a new bundle has done so far, and the open bundle that returns if it fails."""

    previous: Bundle
    parts: int = 0
    faults: int = 0
    reason: str = ""
    """What the faults were; empty before the first."""

    def after(self, event: Event, bundle_id: str) -> "Trial":
        """Count one part; one the bundle on trial did not look at changes nothing."""
        if all(frame.bundle_id != bundle_id for frame in event.frames):
            return self
        trial = replace(self, parts=self.parts + 1)
        if not _failed(event, bundle_id):
            return trial
        faults = self.faults + 1
        reason = (
            f"{faults} of {trial.parts} parts on trial were FAULT, the last '{event.part_id}': "
            f"{event.reason}"
        )
        return replace(trial, faults=faults, reason=reason)


def _failed(event: Event, bundle_id: str) -> bool:
    """Say whether the bundle gave no score of a frame, or none within the deadline.

    A part that is FAULT without such a frame was held up after it was judged, by a full disk say.
    """
    return any(
        frame.verdict is Verdict.FAULT and frame.bundle_id == bundle_id for frame in event.frames
    )


def has_judged(bundle_id: str, event: Event) -> bool:
    """Say whether a bundle scored a frame of a part."""
    return any(one.bundle_id == bundle_id and one.score is not None for one in event.frames)

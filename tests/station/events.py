"""Makes events as a station records them, for the tests of whatever takes them."""

from datetime import UTC, datetime

from inspection.core.decision import Band, Verdict
from inspection.core.known import Named, Recognised, Status
from inspection.core.records import Event, FrameRecord

NAMES = "line-1", "station-1"


def event(number: int, verdict: Verdict = Verdict.PASS, *, minute: int = 0, **changes) -> Event:
    """Make the event of one part seen by one camera; `number` is its sequence."""
    failed = verdict is Verdict.FAULT
    reason = "dark" if failed else ""
    frame = FrameRecord(
        camera="main",
        source=f"sub/{number}.png",
        source_sha256="0" * 64,
        bundle_id="bundle",
        band=None if failed else Band(review_above=0.5, reject_above=0.8),
        verdict=verdict,
        score=None if failed else 0.25,
        reason=reason,
    )
    values = {
        "event_id": f"{number:032x}",
        "sequence": number,
        "part_id": f"part-{number}",
        "product": "default",
        "line": NAMES[0],
        "station": NAMES[1],
        "verdict": verdict,
        "reason": reason,
        "frames": (frame,),
        "captured_at": datetime(2025, 3, 1, 6, minute, tzinfo=UTC),
        "judged_at": datetime(2025, 3, 1, 6, minute, tzinfo=UTC),
        "latency_ms": 3.5,
    }
    return Event.model_validate(values | changes)


def named(
    number: int,
    verdict: Verdict = Verdict.REVIEW,
    *found: tuple[str, float],
    status: Status = "done",
    mask: str | None = None,
    held: bool = False,
    **changes,
) -> Event:
    """Make the event of a part on whose frame a second stage named objects, surest first."""
    objects = tuple(
        Named(type=type_, score=score, box=(4 * i, 0, 4 * i + 4, 4), area_px=16, mask=mask)
        for i, (type_, score) in enumerate(found)
    )
    counts = {type_: sum(one == type_ for one, _ in found) for type_, _ in found}
    recognised = Recognised(
        detector="cells",
        detector_id="d" * 64,
        status=status,
        reason="" if status == "done" else "no answer",
        latency_ms=12.5,
        counts=counts,
        found=objects,
        held=held,
    )
    made = event(number, verdict, **changes)
    frame = made.frames[0].model_copy(update={"recognised": recognised})
    return made.model_copy(update={"frames": (frame,)})

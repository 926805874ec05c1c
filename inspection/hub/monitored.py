"""Says how each monitor of a line stands, for charts: whether it watches, and if not, why."""

from datetime import datetime

from sqlalchemy import select

from inspection.hub.hub import Hub
from inspection.hub.loop_tables import drift_looks
from inspection.hub.monitors import ALL_JUDGED, read_accepted, read_standing
from inspection.hub.watches import FEW_PASS, Day, Watch, watch_line
from inspection.hub.wire.retraining import Monitored
from inspection.metrics.blocks import REFERENCE_BLOCKS, REFERENCE_PARTS
from inspection.metrics.causes import Cause
from inspection.metrics.drift import Reading, block_limits, column_of, read_causes, standardised


def monitors(hub: Hub, line: str) -> tuple[Monitored, ...]:
    """Say how each monitor of a line stands."""
    with hub.database.reading() as connection:
        watches = watch_line(connection, line, hub.now(), read_accepted(connection, line))
        standing = read_standing(connection, line)
        looked_at = connection.execute(
            select(drift_looks.c.at).where(drift_looks.c.line == line)
        ).scalar_one_or_none()
    return tuple(
        _monitored(watch, cause, standing.get((watch.place, cause)), looked_at)
        for watch in watches
        for cause in Cause
        if cause in watch.causes
    )


def _monitored(
    watch: Watch, cause: Cause, standing: int | None, looked_at: datetime | None
) -> Monitored:
    at = watch.place._asdict() | {"cause": cause, "standing": standing, "looked_at": looked_at}
    if watch.reference is None and watch.alarmed:
        said = "Its reference is made of what comes once no alarm of the picture stands any more."
        return Monitored(**at, reference=0, blocks=(), note=_joined(said, _dry(watch.day)))
    if watch.reference is None:
        said = (
            f"Its reference is still gathered: {watch.gathered} of {REFERENCE_PARTS} parts that "
            f"passed, over {REFERENCE_BLOCKS} blocks of an hour at least."
        )
        return Monitored(**at, reference=0, blocks=(), note=_joined(said, _dry(watch.day)))
    reference, recent = watch.reference.blocks, watch.recent.blocks
    reading = read_causes(reference, recent).get(cause)
    lying = [standardised(reference, blocks) for blocks in (reference, recent)]
    column = reading.column if reading else column_of(cause, lying[0].mean(axis=0))
    ends = (*watch.reference.ends, *watch.recent.ends)
    heights = [float(value) for rows in lying for value in rows[:, column]]
    shown = [(end, value) for end, value in zip(ends, heights, strict=True) if value == value]
    return Monitored(
        **at,
        reference=watch.gathered,
        blocks=tuple(shown),
        limit=float(block_limits(reference)[column]) if shown else None,
        note=_note(watch, reading, measured=bool(shown)),
        since=watch.reference.begins[0],
        recent=len(recent),
        watched=reading is not None and watch.day.judged > 0,
    )


def _note(watch: Watch, reading: Reading | None, *, measured: bool) -> str:
    if not measured:
        return "Not measured on these parts: their station or bundle is of an older version."
    if reading is None:
        return _joined("Too few parts came after its reference so far.", _dry(watch.day))
    said = f"The last parts lie {reading.effect:+.2f} deviations from where they lay."
    if not watch.day.judged:
        return _joined(said, _dry(watch.day))
    if not watch.all_judged:
        return said
    guards = "The station's guards hold most of them for review." if watch.guarded else ""
    return _joined(said, ALL_JUDGED, guards, _said(watch.day))


def _dry(day: Day) -> str:
    """Say that a watch has run out of parts; empty where it has not."""
    if not day.judged and not day.faults:
        return "No part has come for 24 hours."
    if not day.judged:
        return _joined(f"All {day.faults} parts of the last 24 hours are FAULT.", _said(day))
    if day.passed < FEW_PASS * (day.judged + day.faults):
        all_ = day.judged + day.faults
        return _joined(f"Only {day.passed} of {all_} parts passed in 24 hours.", _said(day))
    return ""


def _said(day: Day) -> str:
    return f"The station says of the last that did not pass: {day.said}." if day.said else ""


def _joined(*sentences: str) -> str:
    return " ".join(filter(None, sentences))

"""Decides a past time again: stored scores under another band, or pictures by another bundle.

Nothing is written. Memory does not grow with the time asked for.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from sqlalchemy import Connection, Executable, select

from inspection.bundles.bundle import Bundle
from inspection.core.decision import Band, part_score
from inspection.core.errors import ConfigError, ImageError
from inspection.core.imaging import decode_image
from inspection.hub.artefacts import picture_name
from inspection.hub.deciding import (
    JudgedFrame,
    Past,
    Tally,
    all_verdicts,
    decide_again,
    judged_by,
    read_past,
    stored_scores,
)
from inspection.hub.hub import Hub
from inspection.hub.reviews import decisions_in_force
from inspection.hub.tables import events, pictures
from inspection.hub.thresholds import band_in_force, read_card
from inspection.hub.wire.review import Decision
from inspection.hub.wire.thresholds import Replay, Replayed

MOST_PARTS = 200_000
MOST_PICTURES = 2_000
MOST_S = 20.0  # for pictures; the client waits no longer than 30 s


@dataclass
class _Progress:
    """What a replay has decided so far, and why it left parts out or ended early."""

    tally: Tally = field(default_factory=Tally)
    without: int = 0
    notes: list[str] = field(default_factory=list)


def replay(hub: Hub, wanted: Replay) -> Replayed:
    """Decide a past time again.

    Raises:
        NotThere: the hub has no such bundle.
        ConfigError: the time ends before it begins.
        BundleError, HubError: the other bundle cannot be opened.
    """
    if wanted.begin >= wanted.end:
        raise ConfigError(
            f"replay from {wanted.begin} to {wanted.end}; wanted a beginning before the end"
        )
    judging = wanted.other_bundle_id or wanted.bundle_id
    bundle = hub.opened.bundle(judging) if wanted.other_bundle_id else None
    with hub.database.reading() as connection:
        read_card(connection, wanted.bundle_id)
        card = read_card(connection, judging)
        band = wanted.band or band_in_force(connection, wanted.line, judging) or card.band
        if bundle is None:
            progress = _by_scores(connection, wanted, band)
        else:
            progress = _by_pictures(hub, connection, wanted, band, bundle)
        changes = progress.tally.changes(connection)
    tally = progress.tally
    return Replayed(
        parts=tally.parts,
        without=progress.without,
        band=band,
        now=all_verdicts(tally.now),
        then=all_verdicts(tally.then),
        reviewed_then={
            str(said): all_verdicts(tally.reviewed[said])
            for said in (Decision.GOOD, Decision.DEFECT)
            if said in tally.reviewed
        },
        changes=changes,
        notes=tuple(progress.notes),
    )


def _by_scores(connection: Connection, wanted: Replay, band: Band) -> _Progress:
    progress = _Progress(
        notes=[
            "Stored scores were decided again; guards and accept rules were not asked anew, and "
            "what known defects held stays held."
        ]
    )
    for past, frames in _judged(connection, wanted, progress):
        scores = stored_scores(frames)
        if None in scores.values():
            progress.without += 1
            continue
        progress.tally.take(past, decide_again(past.part, band, scores, wanted.bundle_id))
    return progress


def _by_pictures(
    hub: Hub, connection: Connection, wanted: Replay, band: Band, bundle: Bundle
) -> _Progress:
    progress = _Progress(
        notes=[
            "Stored pictures were judged whole; a region that a station's recipe cuts out, guards "
            "and accept rules are not known here; what known defects held stays held."
        ]
    )
    until, judged = time.monotonic() + MOST_S, 0
    for past, frames in _judged(connection, wanted, progress):
        if judged >= MOST_PICTURES or time.monotonic() > until:
            progress.notes.append(
                f"Ended after {judged:,} pictures; wanted {MOST_PICTURES:,} and {MOST_S:.0f} s at "
                "most; take a shorter time"
            )
            break
        scores = _score_pictures(hub, connection, past, frames, bundle)
        if scores is None:
            progress.without += 1
            continue
        judged += len(scores)
        progress.tally.take(past, decide_again(past.part, band, scores, wanted.bundle_id))
    return progress


def _judged(
    connection: Connection, wanted: Replay, progress: _Progress
) -> Iterator[tuple[Past, list[JudgedFrame]]]:
    """Give the parts the bundle judged, with the frames it judged, the oldest first."""
    for number, past in enumerate(read_past(connection, _past_of(wanted))):
        if number == MOST_PARTS:
            progress.notes.append(
                f"Ended after {MOST_PARTS:,} parts of the line; take a shorter time"
            )
            return
        if frames := judged_by(past.part, wanted.bundle_id):
            yield past, frames


def _past_of(wanted: Replay) -> Executable:
    decided = decisions_in_force()
    return (
        select(events.c.id, events.c.event_id, events.c.record, decided.c.decision)
        .outerjoin(decided, decided.c.event_id == events.c.event_id)
        .where(
            events.c.line == wanted.line,
            events.c.captured_at >= wanted.begin,
            events.c.captured_at < wanted.end,
        )
        .order_by(events.c.captured_at)
        .limit(MOST_PARTS + 1)
    )


def _score_pictures(
    hub: Hub, connection: Connection, past: Past, frames: list[JudgedFrame], bundle: Bundle
) -> dict[str, float | None] | None:
    """Score the stored pictures of a part's frames by name; none where one is not here."""
    names = [frame.image for frame in frames]
    rows = connection.execute(
        select(pictures.c.name, pictures.c.sha256).where(
            pictures.c.event_id == past.event_id, pictures.c.name.in_(names)
        )
    )
    kept = {row.name: row.sha256 for row in rows}
    scores: dict[str, float | None] = {}
    for frame in frames:
        if frame.image is None or frame.image not in kept:
            return None
        try:
            encoded = hub.artefacts.get(picture_name(kept[frame.image]))
            with hub.opened.room:
                score_map = bundle.score_map(decode_image(encoded, frame.image))
        except (KeyError, ImageError):
            return None
        scores[frame.view] = part_score(score_map, bundle.card.score, bundle.card.geometry)
    return scores

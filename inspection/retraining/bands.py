"""Fixes the bands that a comparison judges by: those in force on the line, or else the cards'.

With them goes whether the line shows that the champion holds more good parts than it promises.

They are read beside the hub just before bundles are compared, and kept in the job's folder, where
whoever compares finds them. A band that changes meanwhile is another input of the step.
"""

from pathlib import Path

from pydantic import Field, StrictBool, StrictFloat

from inspection.bundles.seal import SUMS
from inspection.core.decision import Band
from inspection.core.records import Record, hash_file, write_record
from inspection.hub.hub import Hub
from inspection.hub.job_request import JobRequest
from inspection.hub.thresholds import (
    band_in_force,
    read_by_hand,
    read_card,
    record_in_force,
)
from inspection.hub.wire.retraining import JobKind
from inspection.retraining.overkill import find_overkill

BANDS = "bands.json"


class Bands(Record):
    """By what champion and challenger are judged."""

    champion: Band | None = Field(None, description="set on the line; none is the card's")
    challenger: Band | None = Field(None, description="the same")
    by_threshold: StrictBool = Field(
        default=False, description="the champion's holds surely more good parts than it promises"
    )
    by_guard: StrictBool = Field(default=False, description="its guards do")
    by_hand: StrictBool = Field(default=False, description="a person set the champion's")
    held: StrictFloat = Field(
        0.0, ge=0, le=1, description="of the line's parts, good ones it holds beyond promise, least"
    )


def fix_bands(hub: Hub, request: JobRequest, challenger: Path, folder: Path) -> Bands:
    """Write the bands in force now into a job's folder.

    A line has the band that most of its stations have, so that one station's trial is not the
    champion's. Bands that are set for one camera only have no say: a set does not name cameras.

    Args:
        hub: that knows the thresholds.
        request: of the job.
        challenger: its bundle; one made before, byte for byte, may have a band of its own.
        folder: of the job.
    """
    with hub.database.reading() as connection:
        own_id = hash_file(challenger / SUMS)
        own = band_in_force(connection, request.line, own_id, request.product)
        bands = Bands(challenger=own)
        if request.champion_id is not None:
            bundle = request.line, request.product, request.champion_id
            line, product, champion_id = bundle
            record = record_in_force(connection, line, champion_id, product)
            card = read_card(connection, champion_id)
            found = find_overkill(connection, bundle, card, learnt=0)
            champions = None if record is None else record.band
            bands = Bands(
                champion=champions,
                challenger=champions if request.kind is JobKind.GUARDS else own,
                by_threshold=any(not (one.by_guard or one.by_hand) for one in found),
                by_guard=any(one.by_guard for one in found),
                by_hand=read_by_hand(connection, line, champion_id, product).mostly,
                held=max((one.surely_more for one in found if not one.by_hand), default=0.0),
            )
    write_record(folder / BANDS, bands)
    return bands

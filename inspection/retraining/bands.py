"""Fixes the bands that a comparison judges by: those in force on the line, or else the cards'.

With them goes whether the line shows that the champion holds more good parts than it promises.

They are read beside the hub just before bundles are compared, and kept in the job's folder, where
whoever compares finds them. A band that changes meanwhile is another input of the step.
"""

from pathlib import Path

from pydantic import Field, StrictBool

from inspection.bundles.seal import SUMS
from inspection.core.decision import Band
from inspection.core.records import Record, hash_file, write_record
from inspection.hub.hub import Hub
from inspection.hub.job_request import JobRequest
from inspection.hub.thresholds import band_in_force, read_card
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


def fix_bands(hub: Hub, request: JobRequest, challenger: Path, folder: Path) -> Bands:
    """Write the bands in force now into a job's folder.

    Bands that are set for one camera only have no say: a set does not name cameras.

    Args:
        hub: that knows the thresholds.
        request: of the job.
        challenger: its bundle; one made before, byte for byte, may have a band of its own.
        folder: of the job.
    """
    with hub.database.reading() as connection:

        def found(bundle_id: str | None) -> Band | None:
            if bundle_id is None:
                return None
            return band_in_force(connection, request.line, bundle_id, request.product)

        kinds = set()
        if request.champion_id is not None:
            bundle = request.line, request.product, request.champion_id
            card = read_card(connection, request.champion_id)
            kinds = {one.by_guard for one in find_overkill(connection, bundle, card, learnt=0)}
        bands = Bands(
            champion=found(request.champion_id),
            challenger=found(hash_file(challenger / SUMS)),
            by_threshold=False in kinds,
            by_guard=True in kinds,
        )
    write_record(folder / BANDS, bands)
    return bands

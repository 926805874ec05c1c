"""Bundles on the hub, which of them judges where, and what is in the sets of reviewed parts."""

from pydantic import Field

from inspection.core.gate import GateRecord
from inspection.core.limits import Figure, Moment, Total
from inspection.core.records import Card
from inspection.hub.wire.message import Answer, BundleId, Request, Why


class BundleRow(Answer):
    """One bundle with its evidence."""

    bundle_id: str
    name: str
    created_at: Moment
    received_at: Moment
    card: Card
    gate: GateRecord = Field(description="without its rows, which may be thousands")
    chosen: tuple[str, ...] = Field(description="lines on which it is the choice")
    running: tuple[str, ...] = Field(description="stations that say they judge with it")


class NewChoice(Request):
    """A bundle that is to judge on a line from now on."""

    bundle_id: BundleId
    comment: Why


class Choice(Answer):
    """Who chose which bundle, when and why."""

    id: Total
    line: str
    name: str
    bundle_id: str
    chosen_at: Moment
    who: str
    why: str
    in_force: bool


class StationParity(Answer):
    """How one station stands to the choice of its line."""

    station: str
    line: str
    name: str
    bundle_id: str = Field(description="that judges there")
    wanted: str | None = Field(description="chosen for it; none where nothing was")
    agrees: bool
    trial: bool
    note: str


class DataSet(Answer):
    """The reviewed parts of one product on one line."""

    line: str
    product: str
    parts: Total = Field(description="that ever came, also those that retention took")
    with_picture: Total = Field(description="reviewed parts with a picture here")
    reviewed: Total
    goods: Total
    defects: dict[str, Total] = Field(description="by type; 'unnamed' where none was given")
    unsure: Total
    masks: Total = Field(description="reviewed defects with a mask drawn by a person")


class NearDuplicates(Answer):
    """Pairs of reviewed pictures that are too alike."""

    compared: Total
    pairs: tuple[tuple[str, str, Figure], ...] = Field(
        description="two event ids and the correlation of their pictures; 100 at most"
    )
    note: str

"""Routes of drift: alarms, their dismissal, and the monitors behind them."""

from fastapi import APIRouter

from inspection.hub import monitored, monitors
from inspection.hub.api.access import Engineer, TheHub, Viewer
from inspection.hub.wire.message import Name, RowNumber
from inspection.hub.wire.retraining import Alarm, Dismissal, Monitored

router = APIRouter(tags=["drift"])


@router.get("/alarms")
def get_alarms(
    hub: TheHub, _viewer: Viewer, line: Name | None = None, standing: bool = True
) -> tuple[Alarm, ...]:
    """Give the alarms of drift, the newest first; 500 at most."""
    return monitors.list_alarms(hub, line, standing=standing)


@router.post("/alarms/{alarm}/dismissal")
def dismiss(hub: TheHub, person: Engineer, alarm: RowNumber, wanted: Dismissal) -> Alarm:
    """Clear an alarm: what comes from now on is the reference of its cause."""
    return monitors.dismiss(hub, alarm, wanted.comment, person.account)


@router.get("/lines/{line}/monitors")
def get_monitors(hub: TheHub, _viewer: Viewer, line: Name) -> tuple[Monitored, ...]:
    """Say how each monitor of a line stands."""
    return monitored.monitors(hub, line)

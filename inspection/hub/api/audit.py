"""Routes of the audit log: read it, check its chain."""

from typing import Annotated

from fastapi import APIRouter, Query

from inspection.hub.api.access import TheHub, Viewer
from inspection.hub.audit import list_entries, verify_audit
from inspection.hub.wire.message import Page, RowNumber
from inspection.hub.wire.people import AuditCheck, AuditEntry

router = APIRouter(tags=["audit"], prefix="/audit")


@router.get("")
def entries(
    hub: TheHub,
    _viewer: Viewer,
    after: RowNumber | None = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> Page[AuditEntry]:
    """Give entries, the newest first."""
    return list_entries(hub, after, limit)


@router.get("/verify")
def verify(hub: TheHub, _viewer: Viewer) -> AuditCheck:
    """Check the chain from its first entry to its last."""
    return verify_audit(hub)

"""The hub's HTTP interface: every route, its errors as JSON, its OpenAPI description."""

import logging
from functools import partial
from typing import Any, cast

from anyio import CapacityLimiter
from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from inspection.core.errors import HubError, InspectionError
from inspection.hub.api import (
    audit,
    challengers,
    datasets,
    drift,
    forgotten,
    ingest,
    jobs,
    judge,
    line,
    looks,
    models,
    people,
    pulls,
    recognition,
    reviews,
    stations,
    thresholds,
)
from inspection.hub.api.access import admit, down, find_callers
from inspection.hub.api.gathering import Gathering
from inspection.hub.desk import Desk
from inspection.hub.hub import Hub
from inspection.hub.limits import Limits
from inspection.hub.metrics import Measured, Metrics
from inspection.hub.pictures import keep_pictures
from inspection.hub.refusals import Foreign, NoPicture, NotThere, Standing, TooLarge
from inspection.hub.tries import Tries
from inspection.hub.wire.message import Refusal

logger = logging.getLogger(__name__)
VERSION = "1"
LOGINS_AT_ONCE = 8  # passwords are slow to check; who waits for it holds no thread of others
ROUTERS: tuple[APIRouter, ...] = (
    ingest.router,  # first: it is asked most, and routes are tried in order
    people.router,
    stations.router,
    audit.router,
    line.router,
    drift.router,
    pulls.router,
    models.router,
    judge.router,
    looks.router,
    thresholds.router,
    reviews.router,
    datasets.router,
    jobs.router,
    challengers.router,
    forgotten.router,
    recognition.router,
)
STATUSES: dict[type[Exception], int] = {
    Foreign: 403,
    NotThere: 404,
    Standing: 409,
    TooLarge: 413,
    NoPicture: 415,
}
REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"description": "not understood as HTTP or JSON"},
    401: {"description": "no session or token, or one that does not hold"},
    403: {"description": "not with this role, or not of this station"},
    404: {"description": "not there"},
    408: {"description": "the body came too slowly"},
    409: {"description": "what stands there, or came meanwhile, forbids it"},
    413: {"description": "the body is too large"},
    415: {"description": "not a kind of body that is taken"},
    422: {"description": "understood, but it does not fit"},
    429: {"description": "too often; Retry-After says when again"},
    431: {"description": "too many headers"},
    503: {"description": "too much at once, or a database, store or provider does not answer"},
}


def make_app(hub: Hub, desk: Desk | None = None) -> FastAPI:
    """Give the app that serves an open hub, and the retraining beside it, if there is one."""
    app = FastAPI(
        title="Inspection hub",
        version=VERSION,
        summary="Events in, bundles and thresholds out.",
        docs_url=None,  # its page loads scripts from elsewhere
        redoc_url=None,
        responses={status: {"model": Refusal} | about for status, about in REFUSALS.items()},
    )
    app.state.hub = hub
    app.state.desk = desk
    app.state.tries = Tries(hub.config.limits.logins)
    app.state.logins = CapacityLimiter(LOGINS_AT_ONCE)
    app.state.metrics = Metrics(hub)
    app.state.callers = Gathering(partial(find_callers, hub))
    app.state.pictures = Gathering(partial(keep_pictures, hub))
    app.add_middleware(Limits, settings=hub.config.limits, admit=admit)
    app.add_middleware(Measured, metrics=app.state.metrics)
    for router in ROUTERS:
        app.include_router(router, prefix="/v1")
    app.include_router(line.outside)
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(RequestValidationError, _not_understood)
    app.add_exception_handler(ClientDisconnect, _gone)
    app.add_exception_handler(HubError, _down)
    app.add_exception_handler(InspectionError, _wrong)
    app.add_exception_handler(Exception, _fault)
    return app


def _refused(_request: Request, error: Exception) -> JSONResponse:
    refusal = cast("HTTPException", error)  # registered for it
    return _error(refusal.status_code, refusal.detail, dict(refusal.headers or {}))


def _not_understood(_request: Request, error: Exception) -> JSONResponse:
    first = cast("RequestValidationError", error).errors()[0]  # registered for it
    where = ".".join(str(one) for one in first["loc"])
    return _error(422, f"{where}: {first['msg']}; look at /openapi.json")


def _wrong(_request: Request, error: Exception) -> JSONResponse:
    return _error(STATUSES.get(type(error), 422), str(error))


def _gone(_request: Request, _left: Exception) -> JSONResponse:
    """Answer nobody: a client that leaves while it sends is the network's doing."""
    return _error(400, "the body ended before it was whole")


def _down(_request: Request, error: Exception) -> JSONResponse:
    refusal = down(cast("HubError", error))  # registered for it
    return _error(refusal.status_code, refusal.detail)


def _fault(_request: Request, _mistake: Exception) -> JSONResponse:
    """Say that it is our mistake; the server writes the traceback into its log."""
    return _error(500, "a mistake of the hub's; its log says more")


def _error(status: int, text: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """Give the answer; a lone surrogate that a client sent is written out by its number."""
    shown = text.encode("utf-8", "backslashreplace").decode()
    return JSONResponse({"error": shown}, status, headers)

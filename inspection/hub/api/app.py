"""The hub's HTTP interface: every route, its errors as JSON, its OpenAPI description."""

import logging

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from inspection.core.errors import HubError, InspectionError
from inspection.hub.api import people
from inspection.hub.hub import Hub

logger = logging.getLogger(__name__)
VERSION = "1"
ROUTERS: tuple[APIRouter, ...] = (people.router,)


def make_app(hub: Hub) -> FastAPI:
    """Give the app that serves an open hub."""
    app = FastAPI(
        title="Inspection hub",
        version=VERSION,
        summary="Events in, bundles and thresholds out.",
        docs_url=None,  # its page loads scripts from elsewhere
        redoc_url=None,
    )
    app.state.hub = hub
    for router in ROUTERS:
        app.include_router(router, prefix="/v1")
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(RequestValidationError, _not_understood)
    app.add_exception_handler(HubError, _down)
    app.add_exception_handler(InspectionError, _wrong)
    return app


def _refused(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for it
    return JSONResponse({"error": str(error.detail)}, error.status_code, headers=error.headers)


def _not_understood(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for it
    first = error.errors()[0]
    where = ".".join(str(one) for one in first["loc"])
    return JSONResponse({"error": f"{where}: {first['msg']}; look at /openapi.json"}, 422)


def _wrong(_request: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"error": str(error)}, 422)


def _down(_request: Request, error: Exception) -> JSONResponse:
    logger.error("hub cannot answer", extra={"reason": str(error)})
    return JSONResponse({"error": "the hub's database or store does not answer"}, 503)

# SPDX-License-Identifier: Apache-2.0
"""The application: routes, authentication, errors, metrics, health."""

from __future__ import annotations

import hmac
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request, Response
from fastapi.responses import JSONResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from fastapi.staticfiles import StaticFiles
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from sqlalchemy.exc import OperationalError

from fleet.errors import ConflictError, FleetError, InvalidError, NotFoundError
from fleet.home import Home
from fleet.http import routes
from fleet.http.gauges import FleetGauges
from fleet.metrics import Metrics

STATIC = Path(__file__).parent.parent / "web" / "static"
STATUS = {NotFoundError: 404, ConflictError: 409, InvalidError: 422}
MAX_BODY = 1 << 20

bearer = HTTPBearer(auto_error=False, description="the token in keys/api.secret")


def create_app(
    home: Home,
    metrics: Metrics,
    health: Callable[[], dict[str, Any]],
    routers: Sequence[APIRouter] = (),
) -> FastAPI:
    """The application of one process.

    Args:
        home: of the fleet.
        metrics: of the process.
        health: what /healthz shows besides the database; a false ``ok`` makes it 503.
        routers: further ones, behind the same authentication.
    """
    app = FastAPI(title="fleet", version="1", description="Devices, releases and rollouts.")
    app.state.home = home
    metrics.registry.register(FleetGauges(home))
    token = home.secret("api")

    def authorised(
        given: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)],
    ) -> None:
        if given is None or not hmac.compare_digest(given.credentials.encode(), token.encode()):
            raise HTTPException(
                401,
                {"error": "a valid token is needed", "hint": "Authorization: Bearer TOKEN"},
                {"WWW-Authenticate": "Bearer"},
            )

    for router in (routes.router, *routers):
        app.include_router(router, dependencies=[Depends(authorised)])

    @app.middleware("http")
    async def guard(
        request: Request, proceed: Callable[[Request], Awaitable[Response]]
    ) -> Response:
        if "transfer-encoding" in request.headers:
            return JSONResponse({"error": "a body needs its Content-Length"}, 411)
        length = request.headers.get("content-length", "0")
        if not length.isdigit() or int(length) > MAX_BODY:
            return JSONResponse({"error": f"a body has at most {MAX_BODY} bytes"}, 413)
        response = await proceed(request)
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["X-Frame-Options"] = "DENY"
        response.headers["Cache-Control"] = "no-store"
        return response

    @app.exception_handler(FleetError)
    def refused(request: Request, error: FleetError) -> JSONResponse:
        status = next((s for kind, s in STATUS.items() if isinstance(error, kind)), 500)
        return JSONResponse({"error": error.message, "hint": error.hint}, status)

    @app.exception_handler(HTTPException)
    def failed(request: Request, error: HTTPException) -> JSONResponse:
        detail = error.detail if isinstance(error.detail, dict) else {"error": str(error.detail)}
        return JSONResponse(detail, error.status_code, headers=error.headers)

    @app.exception_handler(OperationalError)
    def unavailable(request: Request, error: OperationalError) -> JSONResponse:
        return JSONResponse({"error": "the database cannot be used now"}, 503)

    @app.get("/healthz", tags=["operation"])
    def healthz() -> JSONResponse:
        """Whether this process can do its work."""
        shown = health()
        try:
            begun = time.perf_counter()
            with home.store.read() as connection:
                connection.exec_driver_sql("SELECT 1")
            shown["database_ms"] = round((time.perf_counter() - begun) * 1000, 2)
        except OperationalError:
            shown.update(ok=False, database="cannot be used")
        return JSONResponse(shown, 200 if shown["ok"] else 503)

    @app.get("/metrics", tags=["operation"], dependencies=[Depends(authorised)])
    def exposition() -> Response:
        """Metrics for Prometheus."""
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    if STATIC.is_dir():
        app.mount("/", StaticFiles(directory=STATIC, html=True), name="web")
    return app

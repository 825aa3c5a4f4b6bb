"""The console as an ASGI application: routes, error pages, headers. A route that does not say who may use it stops the start."""

from __future__ import annotations

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from pipeline.console import (
    abnormal,
    account,
    acts,
    announcements,
    controls,
    dead_letter,
    dead_letter_raw,
    dead_letters,
    failures,
    funds,
    home,
    openapi,
    order,
    orders,
    overview,
    payment_settings,
    reconciliation,
    replays,
    sales,
    sign_in,
    statistics,
    tasks,
    users,
)
from pipeline.console.desk import Desk
from pipeline.console.navigation import entries
from pipeline.console.problems import PROBLEMS
from pipeline.console.rendering import STATIC, Renderer
from pipeline.console.shell import Shell
from pipeline.console.visit import may_of

ROUTERS: tuple[APIRouter, ...] = (
    home.router,
    sign_in.router,
    orders.router,
    order.router,
    dead_letters.router,
    replays.router,
    dead_letter_raw.router,
    dead_letter.router,
    abnormal.router,
    tasks.router,
    overview.router,
    controls.router,
    statistics.router,
    announcements.router,
    payment_settings.router,
    funds.router,
    reconciliation.router,
    sales.router,
    account.router,
    users.router,
    acts.router,
    openapi.router,
)

MAX_BODY_BYTES = 1_000_000  # a route for files says `max_body_size` itself


def _site() -> APIRouter:
    site = APIRouter(responses=PROBLEMS, max_body_size=MAX_BODY_BYTES)
    for router in ROUTERS:
        site.include_router(router)
    return site


# FastAPI works out what each included route takes and answers when the first request comes, which takes most of a second.
# Nothing of it is a desk's own: a process that builds several consoles does it once.
SITE = _site()


def create_app(desk: Desk) -> ASGIApp:
    """Build it. Raises ValueError naming a route without `Anybody`, `Everybody`, `Agent`, `Staff` or `Supervisor`."""
    pages = {route.path: may_of(route).roles for route in routes() if "GET" in (route.methods or ())}
    app = FastAPI(
        title="daifu 代付",
        openapi_url=None,
        docs_url=None,  # its pages would load from elsewhere
        redoc_url=None,
        max_body_size=MAX_BODY_BYTES,
        routes=SITE.routes,
    )
    app.state.desk = desk
    app.state.renderer = Renderer(entries(pages), sandbox=desk.sandbox)
    app.state.pages = pages
    app.mount("/static", StaticFiles(directory=STATIC))
    failures.install(app)
    return Shell(app, desk.settings.console_proxies)


def routes() -> list[APIRoute]:
    """Every route of ours, the assets excepted."""
    return [route for router in ROUTERS for route in router.routes if isinstance(route, APIRoute)]

"""`/`: the first page of whoever is signed in."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import RedirectResponse, Response

from pipeline.console.visit import Everybody

router = APIRouter(include_in_schema=False)


@router.get("/")
def home(_visit: Everybody) -> Response:
    return RedirectResponse("/orders", status_code=303)

"""`/openapi.json`: the JSON API described. Nothing in it is anybody's."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from pipeline.console.visit import Anybody

router = APIRouter(include_in_schema=False)


@router.get("/openapi.json")
def openapi(visit: Anybody) -> dict[str, Any]:
    described: dict[str, Any] = visit.request.app.openapi()
    return described

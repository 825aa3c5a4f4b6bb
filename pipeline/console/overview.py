"""/overview 监控: five stages, holds that end soon, money in flight, outcomes per hour, the last audit. It updates by itself."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from pipeline.console import audit_words
from pipeline.console.chart import hours_chart
from pipeline.console.overview_models import Overview
from pipeline.console.visit import Staff
from pipeline.glance import glance
from pipeline.store.clock import now

router = APIRouter()


@router.get("/api/v1/overview")
def read_overview(visit: Staff) -> Overview:
    """All numbers of the overview at one moment; amounts in fen, spans in seconds."""
    return Overview.model_validate(visit.read(lambda tx: glance(tx, visit.desk.depths())))


@router.get("/overview", include_in_schema=False)
def overview_page(visit: Staff) -> Response:
    depths = visit.desk.depths()
    seen = visit.read(lambda tx: glance(tx, depths))
    return visit.show(
        "overview.html",
        seen=seen,
        chart=hours_chart(seen["hours"]),
        moment=visit.read(now),
        audit_words=audit_words,
    )

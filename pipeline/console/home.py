"""`/` 火车票后台管理: the first page of whoever is signed in: a greeting, the latest announcements, every page there is to go to."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter
from starlette.responses import Response

from pipeline.console.navigation import groups
from pipeline.console.visit import Everybody
from pipeline.matching import SHANGHAI
from pipeline.store.clock import now
from pipeline.store.queries_announcements import page_of_announcements

router = APIRouter(include_in_schema=False)
LATEST: Final = 3
WEEKDAYS: Final = ("星期一", "星期二", "星期三", "星期四", "星期五", "星期六", "星期日")


@router.get("/")
def home(visit: Everybody) -> Response:
    page, moment = visit.read(lambda tx: (page_of_announcements(tx, limit=LATEST, withdrawn=False), now(tx)))
    weekday = WEEKDAYS[moment.astimezone(SHANGHAI).weekday()]
    places = groups(visit.request.app.state.pages, visit.who.role)
    return visit.show("home.html", page=page, moment=moment, weekday=weekday, groups=places)

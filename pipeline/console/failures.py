"""Every way a request can end other than well, as a page in plain Chinese or, under /api/, as JSON. One table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from pipeline.console import words
from pipeline.console.bridge import Gone
from pipeline.console.caller import host_of
from pipeline.console.problems import Forbidden, Forged, Missing, NoSession, NotProven
from pipeline.console.visit import Visit, place_of, visit_of
from pipeline.operations_errors import NotFound, Refused
from pipeline.store.engine import StoreUnavailable
from pipeline.store.pages import BadCursor
from pipeline.tries import TooManyTries
from pipeline.vault import VaultError

log = structlog.get_logger()


class Words(NamedTuple):
    status: int
    title: str
    text: str


FORBIDDEN = Words(403, "没有权限", "您的角色不能使用这一页。需要时请联系主管。")
FORGED = Words(403, "请求无法确认", "这个请求不是从本站的页面发出的, 或页面已过期。请返回, 刷新后再试。")
MISSING = Words(404, "没有找到", "地址不对, 或者这条记录不存在。")
NOT_ALLOWED = Words(405, "方法不对", "这个地址不接受这种请求。")
TOO_LARGE = Words(413, "内容太大", "提交的内容超过了上限。")
INVALID = Words(422, "内容有误", "提交的内容不完整或格式不对, 请返回修改。")
TOO_MANY = Words(429, "尝试次数过多", "请 15 分钟后再试, 或请主管重置。")
BROKEN = Words(500, "出错了", "这次操作没有完成, 错误已记录。请稍后再试, 或把时间告诉运维。")
AWAY = Words(503, "暂时不可用", "数据库暂时无法连接, 什么都没有改变。请稍后再试。")
NO_KEYS = Words(503, "暂时不可用", "密钥环打不开这条密文: 请联系运维; 动态口令可由另一位主管重置。")
WRONG: Mapping[str, str] = {
    "missing": "没有填写",
    "string_too_long": "太长",
    "string_too_short": "不能为空",
    "enum": "不是可选的值",
    "literal_error": "不是可选的值",
    "int_parsing": "需要整数",
    "greater_than_equal": "太小",
    "less_than_equal": "太大",
    "json_invalid": "不是 JSON",
}
BY_STATUS: Mapping[int, Words] = {403: FORBIDDEN, 404: MISSING, 405: NOT_ALLOWED, 413: TOO_LARGE, 503: AWAY}


def install(app: FastAPI) -> None:
    """Register the handlers."""
    app.add_exception_handler(NoSession, _no_session)
    app.add_exception_handler(NotProven, _not_proven)
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(BadCursor, _bad_cursor)
    for kind, said in (
        (Forbidden, FORBIDDEN),
        (Forged, FORGED),
        (TooManyTries, TOO_MANY),
        (StoreUnavailable, AWAY),
        (VaultError, NO_KEYS),
        (Exception, BROKEN),
    ):
        app.add_exception_handler(kind, _says(said))
    for missing in (Missing, NotFound):
        app.add_exception_handler(missing, _missing)


def is_api(request: Request) -> bool:
    return request.url.path.startswith(("/api/", "/openapi.json"))


async def problem(
    request: Request, said: Words, code: str = "", fields: list[dict[str, str]] | None = None
) -> Response:
    """The answer for this kind of caller. It never quotes what was sent."""
    if is_api(request):
        content: dict[str, Any] = {"error": code or _code(said), "words": said.text}
        if fields:
            content["fields"] = fields
        return JSONResponse(content, status_code=said.status)
    visit = await _visit(request)
    context = {"said": said, "fields": fields or [], "visit": visit, "flash": None}
    renderer = request.app.state.renderer
    return HTMLResponse(renderer.render("problem.html", **context), status_code=said.status)


def _says(said: Words) -> Any:
    async def handler(request: Request, error: Exception) -> Response:
        if isinstance(error, Gone | ClientDisconnect):
            log.info("console_browser_gone", path=place_of(request.scope))
        elif said.status >= 500:
            log.error("console_failed", path=place_of(request.scope), status=said.status, exc_info=error)
        else:
            _log_refusal(request, type(error).__name__)
        return await problem(request, said)

    return handler


def _log_refusal(request: Request, why: str, **more: Any) -> None:
    """Who was refused what, where they came from, and by which rule: never what was sent."""
    visit: Visit | None = getattr(request.state, "visit", None)
    who = "" if visit is None or visit.unfinished is None else visit.unfinished.actor
    address = "" if visit is None else visit.caller.address
    log.warning(
        "console_refused",
        path=place_of(request.scope),
        method=request.method,
        why=why,
        who=who,
        address=address,
        **more,
    )


async def _visit(request: Request) -> Visit | None:
    """Who sees the error page; None where that can't be found out either."""
    try:
        return await visit_of(request)
    except StoreUnavailable:
        return None


async def _no_session(request: Request, _error: Exception) -> Response:
    if is_api(request):
        return JSONResponse({"error": "no_session", "words": "请先登录"}, status_code=401)
    target = "/login"
    if request.method == "GET" and request.url.path != "/":
        query = f"?{request.url.query}" if request.url.query else ""
        target += f"?next={quote(request.url.path + query, safe='/')}"
    return RedirectResponse(target, status_code=303)


async def _not_proven(request: Request, _error: Exception) -> Response:
    """Nothing was done. What the form held is not kept: it is filled in anew after the proof, and seen once more."""
    if is_api(request):
        words = "请先在 /confirm 再次确认身份"
        return JSONResponse({"error": "prove_first", "words": words}, status_code=403)
    return RedirectResponse(f"/confirm?next={quote(_page_of(request) or '/', safe='/')}", status_code=303)


async def _refused(request: Request, error: Exception) -> Response:
    """A guard said no: back to the page the form was on, which says why; the API answers 409."""
    assert isinstance(error, Refused)  # noqa: S101 - Starlette calls by type
    _log_refusal(request, error.code)
    said = Words(409, "没有执行", error.words)
    back = _page_of(request)
    if is_api(request) or back is None:
        return await problem(request, said, error.code)
    visit = await visit_of(request)
    return visit.go(back, error.words, "refused")


def _page_of(request: Request) -> str | None:
    """The page of ours that the form was on, as the browser says."""
    referer = request.headers.get("referer", "")
    if host_of(referer) != request.headers.get("host"):
        return None
    parts = urlsplit(referer)
    if not parts.path.startswith("/") or parts.path.startswith("//"):
        return None
    return f"{parts.path}?{parts.query}" if parts.query else parts.path


async def _missing(request: Request, error: Exception) -> Response:
    return await problem(request, MISSING._replace(text=str(error) or MISSING.text))


async def _bad_cursor(request: Request, error: Exception) -> Response:
    return await problem(request, INVALID._replace(text=str(error)))


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - Starlette calls by type
    fields = []
    for item in error.errors():
        name = str(item["loc"][-1]) if item["loc"] else ""
        # Pydantic's own words may quote what was sent; those of our validators (fields.py) never do.
        said = str(item["ctx"]["error"]) if item["type"] == "value_error" else WRONG.get(item["type"], "格式不对")
        fields.append({"field": name, "label": words.FIELDS.get(name, name), "problem": said})
    _log_refusal(request, "invalid", fields=[one["field"] for one in fields])
    return await problem(request, INVALID, fields=fields)


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - Starlette calls by type
    said = BY_STATUS.get(error.status_code, Words(error.status_code, "没有执行", "请求无法处理。"))
    answer = await problem(request, said)
    answer.headers.update(error.headers or {})
    return answer


def _code(said: Words) -> str:
    names = {403: "forbidden", 404: "not_found", 405: "not_allowed", 413: "too_large", 422: "invalid", 429: "too_many"}
    return names.get(said.status, "unavailable" if said.status == 503 else "failed")

"""The /otn and /pay routes: 12306's login, lists and the walk to the cashier's form, over HTTP."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable
from datetime import date, datetime
from typing import Any

from aiohttp import web

from pipeline.ports import RailwayOrder
from pipeline.railway.sandbox import forms, pages
from pipeline.railway.sandbox.behaviours import ALREADY_PAID, EXPIRED, NO_SUCH_ORDER, Says
from pipeline.railway.sandbox.world import World

WORLD: web.AppKey[World] = web.AppKey("world", World)
SESSION_COOKIE = "JSESSIONID"
_NOT_PAYABLE_NOW = frozenset({ALREADY_PAID, EXPIRED, NO_SUCH_ORDER})  # said in errorMsg, not in messages

JsonHandler = Callable[[web.Request], Awaitable[dict[str, Any]]]


def railway_routes() -> list[web.RouteDef]:
    return [
        web.get("/otn/login/init", _login_page),
        web.post("/otn/login/conf", _json(_conf)),
        web.get("/otn/passcodeNew/getPassCodeNew", _captcha),
        web.post("/otn/passcodeNew/checkRandCodeAnsyn", _json(_check_captcha)),
        web.post("/otn/login/loginAysnSuggest", _json(_login)),
        web.post("/otn/login/userLogin", _enter),
        web.post("/otn/queryOrder/queryMyOrderNoComplete", _json(_unpaid)),
        web.post("/otn/queryOrder/queryMyOrder", _json(_finished)),
        web.post("/otn/queryOrder/continuePayNoCompleteMyOrder", _json(_continue)),
        web.get("/otn/payOrder/init", _pay_page),
        web.post("/otn/payOrder/paycheckNew", _json(_paycheck)),
        web.post("/pay/payGateway", _gateway),
        web.post("/pay/webBusiness", _business),
    ]


def _json(handler: JsonHandler) -> Callable[[web.Request], Awaitable[web.Response]]:
    """12306 answers such calls only to scripts of its own pages, and says no in the envelope."""

    async def answer(request: web.Request) -> web.Response:
        if request.headers.get("X-Requested-With") != "XMLHttpRequest":
            return html(pages.NOT_ALLOWED, status=405)
        try:
            return web.json_response(await handler(request))
        except Says as says:
            return web.json_response(pages.refusal(says.text))

    return answer


def html(text: str, status: int = 200) -> web.Response:
    return web.Response(text=text, status=status, content_type="text/html", charset="utf-8")


async def form_of(request: web.Request) -> dict[str, str]:
    """The urlencoded body; of a name sent twice the last counts."""
    return {name: value for name, value in (await request.post()).items() if isinstance(value, str)}


def base_of(request: web.Request) -> str:
    """The address the caller reaches us at."""
    return f"{request.scheme}://{request.host}"


def _sid(request: web.Request) -> str:
    return request.cookies.get(SESSION_COOKIE, "")


async def _login_page(request: web.Request) -> web.Response:
    response = html(
        '<html><head><title>登录 | 客运服务 | 铁路客户服务中心</title></head><body id="login"></body></html>'
    )
    response.set_cookie(SESSION_COOKIE, uuid.uuid4().hex.upper(), path="/otn", httponly=True)
    response.set_cookie("BIGipServerotn", "100.50210.0000", path="/")
    return response


async def _conf(request: web.Request) -> dict[str, Any]:
    account = (await form_of(request)).get("loginUserDTO.user_name", "")
    wanted = request.app[WORLD].ticketing.captcha_wanted(account)
    return pages.envelope({"is_login_passCode": "Y" if wanted else "N"})


async def _captcha(request: web.Request) -> web.Response:
    """A JPEG whose comment segment holds the answer, so that a test's solver can read it."""
    return web.Response(
        body=pages.captcha_image(request.app[WORLD].ticketing.captcha_answer(_sid(request))), content_type="image/jpeg"
    )


async def _check_captcha(request: web.Request) -> dict[str, Any]:
    right = (await form_of(request)).get("randCode") == request.app[WORLD].ticketing.captcha_answer(_sid(request))
    data = {"result": "1", "msg": "randCodeRight"} if right else {"result": "0", "msg": "randCodeError"}
    return pages.envelope(data)


async def _login(request: web.Request) -> dict[str, Any]:
    form = await form_of(request)
    account, password = form.get("loginUserDTO.user_name", ""), form.get("userDTO.password", "")
    try:
        request.app[WORLD].ticketing.login(_sid(request), account, password, form.get("randCode", ""))
    except Says as says:
        return pages.envelope({}, says=says.text)
    return pages.envelope({"loginAddress": "", "otherMsg": "", "loginCheck": "Y"})


async def _enter(request: web.Request) -> web.Response:
    try:
        request.app[WORLD].ticketing.enter(_sid(request))
    except Says as says:
        return html(f"<html><body>{says.text}</body></html>")
    return html("<html><head><title>我的12306</title></head><body></body></html>")


async def _unpaid(request: web.Request) -> dict[str, Any]:
    world = request.app[WORLD]
    orders = world.ticketing.unpaid(_sid(request))
    return pages.unpaid_list(orders, _booked(world, orders))


async def _finished(request: web.Request) -> dict[str, Any]:
    world, form = request.app[WORLD], await form_of(request)
    try:
        first, last = date.fromisoformat(form["queryStartDate"]), date.fromisoformat(form["queryEndDate"])
        page, size = int(form["pageIndex"]), int(form["pageSize"])
    except (KeyError, ValueError):
        raise Says("查询条件有误") from None
    if page < 0 or not 1 <= size <= 100:
        raise Says("查询条件有误")
    orders = world.ticketing.finished(
        _sid(request), form.get("sequeue_train_name", ""), first, last, departed=form.get("query_where") == "H"
    )
    return pages.finished_list(orders, _booked(world, orders), page, size)


def _booked(world: World, orders: tuple[RailwayOrder, ...]) -> dict[str, datetime]:
    return {order.hold_no: world.find(order.hold_no).booked_at for order in orders}


async def _continue(request: web.Request) -> dict[str, Any]:
    form = await form_of(request)
    try:
        request.app[WORLD].ticketing.choose(_sid(request), form.get("sequence_no", ""))
    except Says as says:
        if says.text in _NOT_PAYABLE_NOW:
            return pages.envelope({"existError": "Y", "errorMsg": says.text})
        raise
    return pages.envelope({"existError": "N"})


async def _pay_page(request: web.Request) -> web.Response:
    return html("<html><head><title>订单支付</title></head><body>席位已锁定，请在30分钟内进行支付</body></html>")


async def _paycheck(request: web.Request) -> dict[str, Any]:
    world = request.app[WORLD]
    try:
        trade = world.ticketing.order_form(_sid(request))
    except Says as says:
        if says.text in _NOT_PAYABLE_NOW:
            return pages.envelope({"flag": False, "message": says.text})
        raise
    return pages.envelope({"flag": True, "payForm": pages.pay_form(trade, world.now(), base_of(request))})


async def _gateway(request: web.Request) -> web.Response:
    form = await form_of(request)
    trade_no = forms.trade_no_of(form.get("tranData", ""), form.get("merSignMsg", ""))
    trade = request.app[WORLD].ticketing.gateway(trade_no) if trade_no is not None else None
    if trade is None:
        return html(forms.FAILED_PAGE)
    return html(forms.gateway_page(form, trade, request.remote or "", base_of(request)))


async def _business(request: web.Request) -> web.Response:
    """Only Alipay is behind this gateway; another bank, or fields that were changed on the way, fail."""
    world, form = request.app[WORLD], await form_of(request)
    trade_no = forms.trade_no_of(form.get("tranData", ""), form.get("merSignMsg", ""))
    trade = world.ticketing.signed_trade(trade_no) if trade_no is not None else None
    if (
        trade is None
        or form.get("bankId") != forms.ALIPAY
        or form.get("orderTimeoutDate") != pages.compact(trade.deadline)
    ):
        return html(forms.FAILED_PAGE)
    base, hold = base_of(request), world.find(trade.held_order_no)
    fields = forms.cashier_fields(trade, hold, world.now(), request.remote or "", base)
    return html(forms.cashier_page(fields, base))

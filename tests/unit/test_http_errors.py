"""Foreign errors become ours by one table; no error carries a password, a cookie or a long text."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import http_exceptions

from pipeline.clock import WallClock
from pipeline.errors import Busy, Garbled, LoginRefused, Unreachable, UpstreamError
from pipeline.railway.http_cashier import HttpCashier
from pipeline.railway.http_errors import DETAIL_MAX, TRANSLATION, clip, translate
from pipeline.railway.http_railway import HttpRailway
from pipeline.railway.http_session import BODY_MAX
from tests.unit.canned_server import Canned, Talk, canned, http, http_json, read_request

PASSWORD = "canary-7f3a-not-a-real-one"
COOKIE = "canary-cookie-91c4"

INIT = http("<html>登录</html>", "200 OK", f"Set-Cookie: JSESSIONID={COOKIE}; Path=/otn")
NO_CAPTCHA = http_json({"status": True, "data": {"is_login_passCode": "N"}, "messages": []})
CAPTCHA = http_json({"status": True, "data": {"is_login_passCode": "Y"}, "messages": []})


def tree(root: type[Exception]) -> set[type[Exception]]:
    """A class and all its descendants, as far as aiohttp itself defines them."""
    found = {root} if root.__module__.startswith("aiohttp.") else set()
    return found.union(*(tree(child) for child in root.__subclasses__()))


def test_the_table_decides_every_error_of_aiohttps_client() -> None:
    decided = {cls for cls in TRANSLATION if issubclass(cls, aiohttp.ClientError)}
    assert decided == tree(aiohttp.ClientError)


@pytest.mark.parametrize("cls", sorted(tree(http_exceptions.HttpProcessingError), key=str))
def test_a_parser_error_is_garbled(cls: type[Exception]) -> None:
    assert isinstance(translate("railway", Exception.__new__(cls)), Garbled)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (TimeoutError(), Unreachable),
        (ConnectionResetError(), Unreachable),
        (BrokenPipeError(), Unreachable),
        (aiohttp.ServerDisconnectedError(), Unreachable),
        (aiohttp.ClientPayloadError(), Unreachable),
        (aiohttp.InvalidURL("http://secret.example/x"), Garbled),
    ],
)
def test_the_nearest_listed_class_decides_and_the_words_are_ours(error: Exception, kind: type[UpstreamError]) -> None:
    ours = translate("cashier", error)
    assert type(ours) is kind
    assert ours.upstream == "cashier"
    assert type(error).__name__ in ours.detail
    assert "secret" not in ours.detail


def test_an_error_of_our_own_making_is_not_translated() -> None:
    with pytest.raises(KeyError):
        translate("railway", KeyError("a bug"))


def test_a_detail_is_one_storable_line_of_two_hundred_characters() -> None:
    assert clip("第一行\n\t第二行\x00\ud800 ") == "第一行 第二行 ?"
    assert len(clip("长" * 5_000)) == DETAIL_MAX


@asynccontextmanager
async def railway(
    *answers: bytes, talk: Talk | None = None, timeout_s: float = 5
) -> AsyncIterator[tuple[HttpRailway, Canned]]:
    async with canned(*answers, talk=talk) as server:
        yield HttpRailway(server.base, cashier_url=server.base, timeout_s=timeout_s, clock=WallClock()), server


def login_error(*answers: bytes, talk: Talk | None = None, timeout_s: float = 5) -> UpstreamError:
    async def run() -> UpstreamError:
        async with railway(*answers, talk=talk, timeout_s=timeout_s) as (subject, _):
            with pytest.raises(UpstreamError) as caught:
                await subject.login("agent_user01", PASSWORD)
            return caught.value

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (b"", Unreachable),
        (http("", "500 Error"), Unreachable),
        (http("", "503 Busy"), Unreachable),
        (http("<html>系统维护中</html>"), Unreachable),
        (http_json({"status": False, "messages": ["系统维护,请稍后再试"]}), Unreachable),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\n{", Unreachable),
        (b"NONSENSE\r\n\r\n", Garbled),
        (http("<html>"), Garbled),
        (http(b"\xff\xfe{}"), Garbled),
        (http("[" * 100_000), Garbled),
        (http("1" * (BODY_MAX + 1)), Garbled),
        (http("[]"), Garbled),
        (http_json({"status": "true"}), Garbled),
        (http_json({"status": True, "data": [], "messages": []}), Garbled),
        (http("", "302 Found", "Location: /somewhere"), Garbled),
        (http("", "405 Method Not Allowed"), Garbled),
        (http("", "429 Slow"), Busy),
        (http("", "302 Found", "Location: /otn/login/init"), Busy),
        (http_json({"status": True, "messages": ["网络繁忙"]}), Busy),
        (http_json({"status": False, "messages": ["用户未登录"]}), Busy),
    ],
)
@pytest.mark.parametrize("before", [(INIT,), (INIT, NO_CAPTCHA)], ids=["at_conf", "at_the_password"])
def test_an_unusable_answer_at_login_has_its_error(
    before: tuple[bytes, ...], answer: bytes, kind: type[UpstreamError]
) -> None:
    assert type(login_error(*before, answer)) is kind


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("登录名不存在!", "wrong_password"),
        ("登录名不存在。", "wrong_password"),
        ("密码输入错误。如果输错次数超过4次，用户将被锁定。", "wrong_password"),
        ("您的用户已经被锁定,锁定时间为20分钟,请稍后再试", "account_locked"),
        ("验证码校验失败", "captcha_required"),
        ("请输入正确的验证码", "captcha_required"),
    ],
)
def test_a_refused_login_has_its_reason(text: str, reason: str) -> None:
    error = login_error(INIT, NO_CAPTCHA, http_json({"status": True, "data": {}, "messages": [text]}))
    assert isinstance(error, LoginRefused)
    assert (error.reason, error.detail) == (reason, text)


def test_an_unlisted_login_text_is_garbled_and_told() -> None:
    error = login_error(INIT, NO_CAPTCHA, http_json({"status": True, "data": {}, "messages": ["账号所属人核验未通过"]}))
    assert (type(error), error.detail) == (Garbled, "账号所属人核验未通过")


def test_a_captcha_without_a_solver_is_a_refused_login() -> None:
    error = login_error(INIT, CAPTCHA, http(b"\xff\xd8\xff\xd9"))
    assert isinstance(error, LoginRefused)
    assert error.reason == "captcha_required"


def test_a_login_without_a_date_is_garbled() -> None:
    accepted = http_json({"status": True, "data": {"loginCheck": "Y"}, "messages": []})
    error = login_error(INIT, NO_CAPTCHA, accepted, http("<html></html>"))
    assert (type(error), "Date" in error.detail) == (Garbled, True)


def test_a_silent_upstream_is_unreachable_at_the_overall_end() -> None:
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One byte now and then: no single read takes long, the whole never ends."""
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n")
        while not writer.is_closing():
            writer.write(b" ")
            await asyncio.sleep(0.01)

    assert isinstance(login_error(talk=drip, timeout_s=0.1), Unreachable)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"NONSENSE\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\n{",
        http("", "500 Error"),
        http("", "302 Found", "Location: /somewhere"),
        http_json({"status": True, "data": {}, "messages": [f"密码输入错误。{PASSWORD}"]}),
        http_json({"status": True, "data": {}, "messages": [f"unheard of: {PASSWORD}"]}),
    ],
)
def test_no_error_carries_the_password_or_a_cookie(answer: bytes) -> None:
    error: BaseException | None = login_error(INIT, NO_CAPTCHA, answer)
    while error is not None:
        shown = repr(error) + str(error) + "".join(traceback.format_exception(error))
        assert PASSWORD not in shown
        assert COOKIE not in shown
        assert not isinstance(error, aiohttp.ClientError)
        error = error.__cause__ or error.__context__


def test_the_password_is_sent_once_and_only_to_the_login() -> None:
    async def run() -> list[bytes]:
        refused = http_json({"status": True, "data": {}, "messages": ["密码输入错误。"]})
        async with railway(INIT, NO_CAPTCHA, refused) as (subject, server):
            with pytest.raises(LoginRefused):
                await subject.login("agent_user01", PASSWORD)
            return server.requests

    requests = asyncio.run(run())
    assert [PASSWORD.encode() in request for request in requests] == [False, False, True]
    assert [COOKIE.encode() in request for request in requests] == [False, True, True]


@pytest.mark.parametrize("answer", [b"", http("", "503 Busy"), http("<html>系统维护</html>"), http("", "302 Found")])
def test_the_probes_raise_unreachable_while_the_upstream_is_down(answer: bytes) -> None:
    async def run() -> None:
        async with railway(answer) as (subject, server):
            with pytest.raises(Unreachable):
                await subject.probe()
            with pytest.raises(Unreachable):
                await HttpCashier(server.base, timeout_s=5, clock=WallClock()).probe()

    asyncio.run(run())


def test_the_probes_are_content_with_any_readable_answer() -> None:
    async def run() -> None:
        unknown = http("<alipay><is_success>F</is_success><error>TRADE_NOT_EXIST</error></alipay>")
        async with railway(INIT) as (subject, _):
            await subject.probe()
        async with canned(unknown) as server:
            await HttpCashier(server.base, timeout_s=5, clock=WallClock()).probe()

    asyncio.run(run())

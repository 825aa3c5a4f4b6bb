"""The one request that may move money: what proves that nothing was sent, and that nothing is ever sent twice."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from urllib.parse import parse_qsl

import pytest

from pipeline.clock import WallClock
from pipeline.errors import Unreachable
from pipeline.ports import PaymentForm, SubmitAnswer, SubmitKind
from pipeline.railway.http_cashier import HttpCashier
from tests.unit.canned_server import Talk, canned, http, read_request

FORM = PaymentForm(
    "E123456789",
    "3E12345678900000001",
    124100,
    datetime(2014, 11, 17, 13, 1, 20, tzinfo=UTC),
    (("ord_name", "火车票 & 保险"), ("ord_amt", "1241.00"), ("service", "create_direct_pay_by_user")),
)
PAID = http('<html><div id="result" data-code="SUCCESS">支付成功</div></html>')


def ours() -> bool:
    return True


def cashier(port: int, timeout_s: float = 5) -> HttpCashier:
    return HttpCashier(f"http://127.0.0.1:{port}/cashier", timeout_s=timeout_s, clock=WallClock())


def submit(
    *answers: bytes, talk: Talk | None = None, still_ours: Callable[[], bool] = ours, timeout_s: float = 5
) -> tuple[SubmitAnswer, list[bytes]]:
    async def run() -> tuple[SubmitAnswer, list[bytes]]:
        async with canned(*answers, talk=talk) as server:
            line = await cashier(server.port, timeout_s).open()
            try:
                return await line.submit(FORM, still_ours), server.requests
            finally:
                await line.close()

    return asyncio.run(run())


def test_the_form_is_sent_once_as_it_stands() -> None:
    answer, requests = submit(PAID)
    assert (answer.kind, answer.detail, len(requests)) == (SubmitKind.SENT, "支付成功", 1)
    head, body = requests[0].split(b"\r\n\r\n", 1)
    assert head.startswith(b"POST /cashier/gateway.do HTTP/1.1\r\nHost: 127.0.0.1:")
    assert body.isascii()
    assert tuple(parse_qsl(body.decode(), strict_parsing=True)) == FORM.fields


@pytest.mark.parametrize("text", ["交易失败：账户余额不足", "交易失败：该订单不允许支付"])
def test_an_exact_listed_text_is_a_refusal(text: str) -> None:
    answer, _ = submit(http(f'<div id="result" data-code="FAIL">{text}</div>'))
    assert answer == SubmitAnswer(SubmitKind.REFUSED, text)


@pytest.mark.parametrize(
    "response",
    [
        http('<div id="result" data-code="FAIL">交易失败</div>'),
        http('<div id="result" data-code="FAIL">交易失败：账户余额不足！</div>'),
        http('<div id="result" data-code="FAIL">已完成支付</div>'),
        http('<div id="result" data-code="PROCESSING">支付处理中</div>'),
        http('<div id="result" data-code="FAIL">交易失败：账户余额不足</div>', "500 Error"),
        http('<div id="result" data-code="FAIL">交易失败：账户余额不足</div>', "201 Created"),
        http('<div id="result" data-code="FAIL">交易失败：账户余额不足</div>' * 2),
        http("", "307 Temporary Redirect", "Location: /cashier/gateway.do"),
        http("<html>系统维护</html>"),
        http(b"\x1f\x8b\x00<\xff"),
        http("", "503 Busy"),
        http(b"x" * (2 * 1024 * 1024 + 1)),
        b"NONSENSE\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n<div",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"",
    ],
)
def test_every_other_answer_is_unknown_and_nothing_is_sent_again(response: bytes) -> None:
    answer, requests = submit(response, PAID)
    assert (answer.kind, len(requests)) == (SubmitKind.UNKNOWN, 1)
    assert len(answer.detail) <= 200


def test_an_interim_answer_is_waited_over() -> None:
    assert submit(b"HTTP/1.1 100 Continue\r\n\r\n" + PAID)[0].kind is SubmitKind.SENT


def test_silence_ends_unknown_at_the_time_out() -> None:
    async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    assert submit(talk=silent, timeout_s=0.05)[0].kind is SubmitKind.UNKNOWN


def test_a_reset_after_the_form_was_read_is_unknown() -> None:
    async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.transport.abort()

    assert submit(talk=reset)[0].kind is SubmitKind.UNKNOWN


def test_what_is_not_ours_any_more_is_not_sent() -> None:
    received: list[bytes] = []

    async def listen(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        received.append(await reader.read())

    answer, _ = submit(talk=listen, still_ours=lambda: False)
    assert answer.kind is SubmitKind.NOT_SENT
    assert received in ([], [b""])


@pytest.mark.parametrize("says", [b"", b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n", PAID])
def test_a_line_that_the_cashier_closed_or_spoke_on_first_is_not_used(says: bytes) -> None:
    asked: list[bool] = []

    async def run() -> SubmitAnswer:
        ended = asyncio.Event()

        async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(says)
            await writer.drain()
            writer.close()
            await writer.wait_closed()
            ended.set()

        async with canned(talk=hang_up) as server:
            line = await cashier(server.port).open()
            await ended.wait()
            try:
                return await line.submit(FORM, lambda: not asked.append(True))  # type: ignore[func-returns-value]  # notes that it was asked
            finally:
                await line.close()

    assert asyncio.run(run()).kind is SubmitKind.NOT_SENT
    assert asked == []


def test_the_question_is_the_last_thing_before_the_first_byte() -> None:
    async def run() -> list[str]:
        story: list[str] = []
        async with canned(PAID) as server:
            line = await cashier(server.port).open()

            def still_ours() -> bool:
                # Whatever was due on the loop before the write would have to run between here and the request.
                asyncio.get_running_loop().call_soon(lambda: story.append(f"{len(server.requests)} received"))
                story.append("asked")
                return True

            await line.submit(FORM, still_ours)
            await line.close()
            return [*story, f"{len(server.requests)} received"]

    assert asyncio.run(run()) == ["asked", "0 received", "1 received"]


def test_a_line_is_good_for_one_submit() -> None:
    async def run() -> int:
        async with canned(PAID) as server:
            line = await cashier(server.port).open()
            await line.submit(FORM, ours)
            with pytest.raises(RuntimeError, match="one submit"):
                await line.submit(FORM, ours)
            await line.close()
            return len(server.requests)

    assert asyncio.run(run()) == 1


def test_a_cancelled_submit_is_not_repeated() -> None:
    async def run() -> int:
        received = asyncio.Event()
        count = 0

        async def never(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
            nonlocal count
            await read_request(reader)
            count += 1
            received.set()
            await reader.read()

        async with canned(talk=never) as server:
            line = await cashier(server.port).open()
            task = asyncio.create_task(line.submit(FORM, ours))
            await received.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            with pytest.raises(RuntimeError, match="one submit"):
                await line.submit(FORM, ours)
            await line.close()
            return count

    assert asyncio.run(run()) == 1


def test_a_cashier_that_can_not_be_reached_is_unreachable_before_the_intent() -> None:
    async def run(port: int) -> None:
        with pytest.raises(Unreachable):
            await cashier(port).open()

    with closing(socket.socket()) as unused:
        unused.bind(("127.0.0.1", 0))
        asyncio.run(run(unused.getsockname()[1]))


def test_closing_twice_or_unused_is_no_error() -> None:
    async def run() -> None:
        async with canned(PAID) as server:
            line = await cashier(server.port).open()
            await line.close()
            await line.close()

    asyncio.run(run())

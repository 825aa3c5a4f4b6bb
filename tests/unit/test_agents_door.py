"""The agents' interface over HTTP: what is read, what is refused with which code, and that it is always 200 with JSON."""

from __future__ import annotations

from urllib.parse import quote, urlencode

import pytest

from pipeline.agent_asks import AgentReply
from pipeline.requests import ERR_WORDS, ErrCode, RequestKind
from pipeline.secret import Secret
from tests.contract.tts_vectors import MERCHANT, ORDER_NO, PEOPLE, RESULT, VECTORS
from tests.unit.agents_visit import (
    GO_PAY,
    NEED_PAY,
    PASSWORD,
    PURCHASE,
    QUERY,
    FakeDesk,
    Visit,
    at_the_door,
    raw,
    signed,
)

CONFIRM = {"merchantCode": MERCHANT, "orderNo": ORDER_NO, "opt": "CONFIRM", "result": RESULT, "comment": "已出票"}
NO_TICKET = {
    "merchantCode": MERCHANT,
    "orderNo": ORDER_NO,
    "opt": "NO_TICKET",
    "reason": "6",
    "passengerReason": PEOPLE,
}
PAY = {"merchantCode": MERCHANT, "orderNo": ORDER_NO, "price": "631.0", "un": "agent_user01"}
WAITING = {"merchantCode": MERCHANT, "type": "WAIT_TICKET"}


@pytest.mark.parametrize("slashes", ["/", "//"])
def test_one_and_two_slashes_lead_to_the_same_place(slashes: str) -> None:
    async def visit(visit: Visit) -> None:
        base = f"/api/pub{slashes}"
        assert await visit.code(f"{base}ProcessPurchase.do", signed(NEED_PAY)) is None
        assert await visit.code(f"{base}ProcessGoPay.do", signed(PAY)) is None
        listed = await visit.request(f"{base}QueryOrders.do?{urlencode(signed(WAITING))}")
        assert (listed["ret"], listed["total"], len(listed["data"])) == (True, 1, 1)
        assert len(visit.desk.asked) == 2

    at_the_door(visit)


@pytest.mark.parametrize("vector", [v for v in VECTORS if v.formula in ("ProcessPurchase", "NeedPay", "ProcessGoPay")])
def test_the_vectors_of_the_sheet_enter_in_each_body_style(vector: object) -> None:
    fields = {**getattr(vector, "fields"), "HMAC": getattr(vector, "hmac")}  # noqa: B009 - parametrised as object
    path = PURCHASE if "opt" in fields else GO_PAY

    async def visit(visit: Visit) -> None:
        half = "&".join(f"{name}={quote(value, safe='{}[]:,')}" for name, value in fields.items()).encode()
        for body in (urlencode(fields).encode(), raw(fields), half):
            assert await visit.request(path, body) == {"ret": True}

    at_the_door(visit)


def test_a_need_pay_arrives_with_its_password_sealed() -> None:
    async def visit(visit: Visit) -> None:
        assert await visit.code(PURCHASE, signed({**NEED_PAY, "result": RESULT})) is None
        (ask,) = visit.desk.asked
        assert (ask.kind, ask.login, ask.hold, ask.stated_fen) == (
            RequestKind.NEED_PAY,
            "agent_user01",
            "E123456789",
            65_100,
        )
        assert ask.password_sealed is not None
        assert visit.vault.open(ask.password_sealed).reveal() == PASSWORD
        assert PASSWORD not in repr(ask)

    at_the_door(visit)


def test_a_go_pay_names_its_price_and_no_held_order_and_no_password() -> None:
    async def visit(visit: Visit) -> None:
        assert await visit.code(GO_PAY, signed({**PAY, "pw": PASSWORD})) is None
        (ask,) = visit.desk.asked
        assert (ask.hold, ask.stated_fen, ask.password_sealed) == (None, 63_100, None)

    at_the_door(visit)


def test_the_same_content_has_the_same_digest_and_a_new_password_another() -> None:
    async def visit(visit: Visit) -> None:
        for fields in (NEED_PAY, {**NEED_PAY, "comment": "又一次"}, {**NEED_PAY, "pw": "another"}):
            assert await visit.code(PURCHASE, signed(fields)) is None
        assert await visit.code(GO_PAY, signed(PAY)) is None
        first, again, changed, other = [ask.digest for ask in visit.desk.asked]
        assert first == again
        assert len({first, changed, other}) == 3

    at_the_door(visit)


def test_a_confirm_brings_its_tickets_and_a_no_ticket_its_reason_and_people() -> None:
    async def visit(visit: Visit) -> None:
        assert await visit.code(PURCHASE, signed({**CONFIRM, "un": "agent_user01"})) is None
        assert await visit.code(PURCHASE, signed(NO_TICKET)) is None
        confirm, no_ticket = visit.desk.asked
        assert confirm.kind is RequestKind.CONFIRM
        assert confirm.detail["account"] == "agent_user01"
        assert confirm.detail["tickets"][0]["price_fen"] == 65_100
        assert no_ticket.detail["reason"] == "6"
        assert no_ticket.detail["passenger_reason"][0]["name"] == "张三"

    at_the_door(visit)


@pytest.mark.parametrize("code", list(ErrCode))
def test_every_code_travels_as_text_with_its_words(code: ErrCode) -> None:
    async def visit(visit: Visit) -> None:
        answer = await visit.post(PURCHASE, signed(CONFIRM))
        assert answer == {"ret": False, "errCode": code.value, "errMsg": ERR_WORDS[code]}

    at_the_door(visit, desk=FakeDesk(reply=AgentReply(code, ERR_WORDS[code])))


@pytest.mark.parametrize(
    ("path", "fields", "code"),
    [
        (PURCHASE, {}, "101"),
        (PURCHASE, {**NEED_PAY, "merchantCode": ""}, "101"),
        (PURCHASE, {**NEED_PAY, "orderNo": ""}, "101"),
        (PURCHASE, {**NEED_PAY, "un": ""}, "101"),
        (PURCHASE, {**NEED_PAY, "result": "{"}, "101"),
        (PURCHASE, {**NEED_PAY, "pw": "x" * 257}, "101"),
        (PURCHASE, {**NEED_PAY, "opt": ""}, "101"),
        (PURCHASE, {**NEED_PAY, "opt": "PAYING"}, "104"),
        (PURCHASE, {**CONFIRM, "result": ""}, "101"),
        (PURCHASE, {**NO_TICKET, "reason": "9"}, "101"),
        (PURCHASE, {**NO_TICKET, "passengerReason": ""}, "101"),
        (GO_PAY, {**PAY, "price": ""}, "101"),
        (GO_PAY, {**PAY, "price": "免费"}, "101"),
        (GO_PAY, {**PAY, "un": ""}, "101"),
        (QUERY, {**WAITING, "type": ""}, "101"),
        (QUERY, {**WAITING, "type": "ALL"}, "104"),
        (PURCHASE, {**NEED_PAY, "merchantCode": "nobody"}, "102"),
        (PURCHASE, {**NEED_PAY, "merchantCode": "no body\x00"}, "102"),
        ("/api/pub/ProcessRefund.do", NEED_PAY, "104"),
        ("/api/pub/", NEED_PAY, "104"),
        ("/api/pub///ProcessPurchase.do", NEED_PAY, "104"),
        ("/api/pub/processpurchase.do", NEED_PAY, "104"),
    ],
)
def test_what_is_wrong_has_its_own_code_and_reaches_nobody(path: str, fields: dict[str, str], code: str) -> None:
    async def visit(visit: Visit) -> None:
        sent = signed(fields, ("merchantCode", "type") if path == QUERY else None)
        assert await visit.code(path, sent) == code
        assert visit.desk.asked == []

    at_the_door(visit)


@pytest.mark.parametrize(
    "changes", [{"HMAC": "0" * 32}, {"comment": "改过"}, {"un": "someone_else"}, {"pw": "Passw0rd "}, {"HMAC": "签名"}]
)
def test_a_wrong_signature_is_refused_and_reaches_nobody(changes: dict[str, str]) -> None:
    async def visit(visit: Visit) -> None:
        assert await visit.code(PURCHASE, signed(NEED_PAY) | changes) == "103"
        assert visit.desk.asked == []

    at_the_door(visit)


def test_a_missing_signature_is_a_missing_parameter() -> None:
    async def visit(visit: Visit) -> None:
        assert await visit.code(PURCHASE, NEED_PAY) == "101"
        assert visit.desk.looked_up == []

    at_the_door(visit)


def test_where_the_password_stands_in_the_signature_is_a_setting() -> None:
    unsigned = signed(NEED_PAY, ("merchantCode", "orderNo", "opt", "result", "un", "comment"))

    async def after_un(visit: Visit) -> None:
        assert await visit.code(PURCHASE, unsigned) == "103"

    async def not_signed(visit: Visit) -> None:
        assert await visit.code(PURCHASE, unsigned) is None
        assert await visit.code(PURCHASE, signed(NEED_PAY)) == "103"

    at_the_door(after_un)
    at_the_door(not_signed, password_signed=False)


def test_the_passwords_parameter_is_a_setting() -> None:
    fields = {name: value for name, value in NEED_PAY.items() if name != "pw"} | {"password": PASSWORD}
    names = ("merchantCode", "orderNo", "opt", "result", "un", "password", "comment")

    async def visit(visit: Visit) -> None:
        assert await visit.code(PURCHASE, signed(fields, names)) is None
        sealed = visit.desk.asked[0].password_sealed
        assert sealed is not None
        assert visit.vault.open(sealed).reveal() == PASSWORD

    at_the_door(visit, password_parameter="password")


def test_a_request_without_a_password_is_taken_for_the_settings_to_fill() -> None:
    fields = {name: value for name, value in NEED_PAY.items() if name != "pw"}

    async def visit(visit: Visit) -> None:
        assert await visit.code(PURCHASE, signed(fields)) is None
        assert visit.desk.asked[0].password_sealed is None

    at_the_door(visit)


def test_a_password_in_an_address_is_not_read() -> None:
    async def visit(visit: Visit) -> None:
        answer = await visit.request(f"{PURCHASE}?{urlencode(signed(NEED_PAY))}")
        assert answer["errCode"] == "101"
        answer = await visit.request(f"{PURCHASE}?{urlencode(signed(NEED_PAY))}", b"")
        assert answer["errCode"] == "101"

    at_the_door(visit)


def test_orders_may_be_queried_by_post_too() -> None:
    async def visit(visit: Visit) -> None:
        assert await visit.code(QUERY, signed(WAITING)) is None

    at_the_door(visit)


def test_a_database_that_is_away_is_999_and_still_200() -> None:
    async def visit(visit: Visit) -> None:
        assert await visit.code(PURCHASE, signed(NEED_PAY)) == "999"

    at_the_door(visit, desk=FakeDesk(down=True))


def test_a_defect_is_999_and_still_200_and_tells_nothing() -> None:
    class Broken(FakeDesk):
        async def merchant_keys(self, code: str) -> tuple[Secret, ...]:
            raise RuntimeError(f"defect about {code}")

    async def visit(visit: Visit) -> None:
        answer = await visit.post(PURCHASE, signed(NEED_PAY))
        assert answer == {"ret": False, "errCode": "999", "errMsg": ERR_WORDS[ErrCode.NOT_STORED]}

    at_the_door(visit, desk=Broken())

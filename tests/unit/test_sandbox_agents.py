"""The agent's address of the sandbox: what it checks, journals and answers."""

from __future__ import annotations

import pytest

from pipeline.railway.sandbox.agents import sign
from pipeline.railway.sandbox.behaviours import Fault, Way
from pipeline.railway.sandbox.controls import InvalidError
from tests.unit.sandbox_world import Payer

KEY, CODE, ORDER_NO = "0123456789ABCDEF0123456789ABCDEF", "demo", "demo140221160433005636"


def _form(pay_status: str = "1", key: str = KEY) -> dict[str, str]:
    return {"orderNo": ORDER_NO, "payStatus": pay_status, "HMAC": sign(key, CODE, ORDER_NO, pay_status)}


def test_the_signature_is_that_of_the_published_vectors() -> None:
    # wire-protocols D: pay result, payStatus 1, 2, 3
    assert [sign(KEY, CODE, ORDER_NO, status) for status in "123"] == [
        "5B53CFE20AA15867FA8EA9B52C31BE4C",
        "DEC5E552BAC2BC46C8CB16F250A4E150",
        "7B4F6EB8E55E28BDED21B2BC3675C315",
    ]


def test_a_callback_is_journalled_with_what_the_agent_was_told() -> None:
    payer = Payer()
    payer.world.set_agent(CODE, {"key": KEY})
    answer = payer.world.agents.callback(CODE, _form("3"), "msg_1")
    assert (answer.status, answer.body) == (200, {"ret": True})
    (line,) = payer.world.journal()
    told = {name: line[name] for name in ("kind", "order_no", "outcome", "pay_status", "hmac_ok", "webhook_id")}
    assert told == {
        "kind": "callback",
        "order_no": ORDER_NO,
        "outcome": "ok",
        "pay_status": "3",
        "hmac_ok": True,
        "webhook_id": "msg_1",
    }


@pytest.mark.parametrize(
    "form",
    [_form(key="another"), {**_form("1"), "payStatus": "2"}, {**_form(), "HMAC": "ö"}, {"orderNo": ORDER_NO}, {}],
)
def test_a_wrong_signature_shows(form: dict[str, str]) -> None:
    payer = Payer()
    payer.world.set_agent(CODE, {"key": KEY})
    payer.world.agents.callback(CODE, form, None)
    assert payer.world.journal()[0]["hmac_ok"] is False


def test_without_a_key_no_signature_is_genuine() -> None:
    payer = Payer()
    payer.world.agents.callback(CODE, _form(key=""), None)
    assert payer.world.journal()[0]["hmac_ok"] is False


def test_an_answer_lasts_for_the_times_it_was_told_then_is_ok_again() -> None:
    payer = Payer()
    payer.world.set_agent(CODE, {"answer": "false", "times": 2, "key": KEY})
    answers = [payer.world.agents.callback(CODE, _form(), None).body["ret"] for _ in range(4)]
    assert answers == [False, False, True, True]
    assert payer.outcomes("callback") == ["false", "false", "ok", "ok"]


def test_an_answer_without_times_lasts_and_the_key_stays() -> None:
    payer = Payer()
    payer.world.set_agent(CODE, {"key": KEY})
    payer.world.set_agent(CODE, {"answer": 500})
    assert [payer.world.agents.callback(CODE, _form(), None).status for _ in range(5)] == [500] * 5
    assert all(line["hmac_ok"] for line in payer.world.journal())


@pytest.mark.parametrize(("told", "way"), [("timeout", Way.SILENCE), ("reset", Way.RESET)])
def test_an_agent_that_does_not_answer_still_journals(told: str, way: Way) -> None:
    payer = Payer()
    payer.world.set_agent(CODE, {"answer": told, "times": 1, "key": KEY})
    with pytest.raises(Fault) as fault:
        payer.world.agents.callback(CODE, _form(), None)
    assert fault.value.way is way
    assert payer.outcomes("callback") == [told]


def test_an_answer_nobody_knows_is_refused_without_its_key_in_the_error() -> None:
    payer = Payer()
    with pytest.raises(InvalidError) as error:
        payer.world.set_agent(CODE, {"answer": "maybe", "key": KEY})
    assert error.value.field == "answer"
    assert KEY not in repr(error.value)

"""Every test vector of the fact sheet, byte for byte (wire-protocols D)."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from schemas.tts_signature import (
    PAY_RESULT,
    PROCESS_GO_PAY,
    PROCESS_PURCHASE,
    QUERY_ORDERS,
    is_signed,
    need_pay_fields,
    signature,
)
from tests.contract.tts_vectors import KEY, VECTORS, Vector

FORMULAS: Mapping[str, tuple[str, ...]] = {
    "QueryOrders": QUERY_ORDERS,
    "ProcessPurchase": PROCESS_PURCHASE,
    "NeedPay": need_pay_fields("pw"),
    "ProcessGoPay": PROCESS_GO_PAY,
    "PayResult": PAY_RESULT,
    "ProcessRefund": ("merchantCode", "orderNo", "refundCash", "opt", "comment", "reason"),
    "ProcessApplyAutoRefund": ("merchantCode", "orderNo", "refundCash", "reason", "comment"),
    "ReserveResult": ("merchantCode", "orderNo", "result", "status", "code", "msg", "comment"),
    "Cancel": ("orderNo", "reqFrom", "reqTime"),
}


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector.name)
def test_a_vector_of_the_sheet_is_signed_alike(vector: Vector) -> None:
    values = [vector.fields.get(name, "") for name in FORMULAS[vector.formula]]
    assert signature(KEY, values) == vector.hmac


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector.name)
def test_a_vector_is_recognised_in_either_case(vector: Vector) -> None:
    values = [vector.fields.get(name, "") for name in FORMULAS[vector.formula]]
    assert is_signed(vector.hmac, KEY, values)
    assert is_signed(vector.hmac.lower(), KEY, values)
    assert is_signed(f" {vector.hmac}\r\n", KEY, values)
    assert not is_signed(vector.hmac[:-1] + "0", KEY, values) or vector.hmac.endswith("0")
    assert not is_signed(vector.hmac[:-1], KEY, values)
    assert not is_signed("", KEY, values)
    assert not is_signed("签名", KEY, values)


def test_an_unsigned_password_leaves_the_formula_of_the_other_operations() -> None:
    assert need_pay_fields(None) == PROCESS_PURCHASE


def test_a_password_under_another_name_stands_right_after_un() -> None:
    names = need_pay_fields("password")
    assert names[names.index("un") + 1] == "password"
    assert tuple(name for name in names if name != "password") == PROCESS_PURCHASE

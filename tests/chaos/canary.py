"""A canary that must fail the run: somebody pays a hold a second time, past daifu, with the cashier form it has used."""

from __future__ import annotations

import http.client
import time
from typing import Final
from urllib.parse import urlencode, urlsplit

import psycopg

from tests.chaos.stack import Stack

LOOK_S: Final = 0.5
TRIES: Final = 120
FORM_TYPE: Final = "application/x-www-form-urlencoded"
LAST_PAID: Final = """
SELECT trade_no, amount_fen, held_order_no FROM attempts
WHERE submitted_at IS NOT NULL AND proof = 'paid' ORDER BY submitted_at DESC LIMIT 1
"""


def pay_again(stack: Stack) -> str:
    """Send the newest paid form once more, straight to the sandbox's cashier; returns the hold number."""
    for _ in range(TRIES):
        found = _newest(stack)
        if found is not None:
            trade_no, amount_fen, hold_no = found
            _submit(stack, trade_no, amount_fen)
            return hold_no
        time.sleep(LOOK_S)
    raise AssertionError("no order was paid that the canary could pay again")


def _newest(stack: Stack) -> tuple[str, int, str] | None:
    dsn = stack.direct["DATABASE_URL"].replace("postgresql+psycopg://", "postgresql://")
    with psycopg.connect(dsn) as connection:
        row = connection.execute(LAST_PAID).fetchone()
    return None if row is None else (str(row[0]), int(row[1]), str(row[2]))


def _submit(stack: Stack, trade_no: str, amount_fen: int) -> None:
    form = {
        "service": "create_direct_pay_by_user",
        "ord_id_ext": trade_no,
        "ord_amt": f"{amount_fen // 100}.{amount_fen % 100:02d}",
    }
    parts = urlsplit(stack.sandbox_url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=20)
    try:
        connection.request("POST", "/cashier/gateway.do", urlencode(form), {"Content-Type": FORM_TYPE})
        connection.getresponse().read()
    finally:
        connection.close()

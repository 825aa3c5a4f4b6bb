"""An agent's program in a few lines: signs, sends, returns the decoded answer."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode, urlsplit

from schemas.tts_signature import PROCESS_GO_PAY, PROCESS_PURCHASE, QUERY_ORDERS, need_pay_fields, signature


class AgentsProgram:
    """`base` is the address of the door; fields are texts, the order of signing follows from the operation."""

    def __init__(self, base: str, code: str, key: str) -> None:
        self.base, self.code, self._key = base, code, key

    def purchase(self, order_no: str, opt: str, **fields: str) -> dict[str, Any]:
        formula = need_pay_fields("pw") if opt == "NEED_PAY" else PROCESS_PURCHASE
        return self._post("ProcessPurchase.do", {"orderNo": order_no, "opt": opt, **fields}, formula)

    def go_pay(self, order_no: str, price: str, login: str) -> dict[str, Any]:
        fields = {"orderNo": order_no, "price": price, "un": login}
        return self._post("ProcessGoPay.do", fields, PROCESS_GO_PAY)

    def orders(self, listing: str = "WAIT_TICKET") -> dict[str, dict[str, Any]]:
        """By order number."""
        fields = self._signed({"type": listing}, QUERY_ORDERS)
        answer = self._send("GET", f"/api/pub/QueryOrders.do?{urlencode(fields)}", None)
        assert answer["ret"] is True, answer
        assert answer["total"] == len(answer["data"])
        return {order["orderNo"]: order for order in answer["data"]}

    def _signed(self, fields: Mapping[str, str], formula: tuple[str, ...]) -> dict[str, str]:
        whole = {"merchantCode": self.code, **fields}
        return {**whole, "HMAC": signature(self._key, [whole.get(name, "") for name in formula])}

    def _post(self, name: str, fields: Mapping[str, str], formula: tuple[str, ...]) -> dict[str, Any]:
        return self._send("POST", f"/api/pub/{name}", urlencode(self._signed(fields, formula)).encode())

    def _send(self, method: str, target: str, body: bytes | None) -> dict[str, Any]:
        parts = urlsplit(self.base)
        connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=20)
        try:
            headers = {"Content-Type": "application/x-www-form-urlencoded; charset=UTF-8"}
            connection.request(method, target, body, headers)
            answer = connection.getresponse()
            text = answer.read().decode("utf-8")
        finally:
            connection.close()
        assert answer.status == 200, text
        decoded: dict[str, Any] = json.loads(text)
        return decoded

"""The agents' side of the payStatus callback: checks the signature, journals, answers as it was told to."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.railway.sandbox.behaviours import Fault, Way
from pipeline.railway.sandbox.book import Book
from pipeline.railway.sandbox.holds import Agent
from pipeline.railway.sandbox.journal import Record


@dataclass(frozen=True, slots=True)
class AgentAnswer:
    status: int
    body: Record


_FAULTS = {"timeout": Way.SILENCE, "reset": Way.RESET}
_ANSWERS = {
    "ok": AgentAnswer(200, {"ret": True}),
    "false": AgentAnswer(200, {"ret": False, "msg": "订单处理失败"}),
    "500": AgentAnswer(500, {"ret": False, "msg": "系统错误"}),
}


class Agents:
    def __init__(self, book: Book) -> None:
        self._book = book

    def callback(self, code: str, form: Mapping[str, str], webhook_id: str | None) -> AgentAnswer:
        """A payStatus form for the agent `code`. A wrong signature shows in the journal; the answer is as told all the
        same. Raises Fault for the answers `timeout` and `reset`."""
        book = self._book
        agent = book.agents.get(code, Agent())
        order_no, pay_status = form.get("orderNo", ""), form.get("payStatus", "")
        expected = sign(agent.key, code, order_no, pay_status)
        genuine = bool(agent.key) and hmac.compare_digest(expected.encode(), form.get("HMAC", "").encode())
        told = agent.next_answer
        book.write(
            book.line(
                "callback",
                told,
                account=code,
                order_no=order_no,
                pay_status=pay_status,
                hmac_ok=genuine,
                webhook_id=webhook_id,
            )
        )
        if told in _FAULTS:
            raise Fault(_FAULTS[told])
        return _ANSWERS[told]


def sign(key: str, code: str, order_no: str, pay_status: str) -> str:
    """Upper-case hex MD5 of key + merchantCode + orderNo + payStatus (wire-protocols A.2)."""
    text = f"{key}{code}{order_no}{pay_status}"
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest().upper()

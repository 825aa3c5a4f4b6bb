"""AM and an agent against a running pipeline: holds seats at the sandbox, sends messages as AM does, reads how each order ended."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from pipeline.cli.house import vault_public
from producers.sdk import Publisher
from producers.sdk_events import EventMaker
from schemas.am_messages import AmData, AmEvent
from schemas.orders import OrderPaid, Ticket
from tests.integration.pipeline_endings import Ending
from tests.integration.pipeline_house import House
from tests.integration.pipeline_process import request, until

AGENT: Final = "xcslw"
KEY: Final = "K" * 32  # invented
FARE_FEN, PRICE_FEN = 128_400, 124_100  # the source document's sample
TOP_UP_FEN: Final = 100_000_000
PASSENGERS: Final = (
    {"name": "张三", "id_type": "1", "id_no": "000000190001010000", "ticket_type": "1"},
    {"name": "李四", "id_type": "1", "id_no": "000000190002020000", "ticket_type": "1"},
    {"name": "王五", "id_type": "1", "id_no": "000000190003030000", "ticket_type": "1"},
)
SEATS: Final = (
    {"seat": "硬卧下", "price_fen": 42_800},
    {"seat": "硬卧中", "price_fen": 41_300},
    {"seat": "硬卧上", "price_fen": 40_000},
)


@dataclass(frozen=True, slots=True)
class Bought:
    """An order with its hold. `hold_no` names it at the sandbox."""

    order_no: str
    hold_no: str
    account: str
    password: str


class Am:
    """One agent with funds, and AM that sends its orders in."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.maker = EventMaker(vault_public(house.settings))
        self.source = "am"
        self._holds = 0

    # -- the agent ---------------------------------------------------------------------------------------------

    def add_agent(self, code: str = AGENT, *, fund_fen: int = TOP_UP_FEN, key: str = KEY) -> dict[str, Any]:
        """Through the CLI, as an operator does; the sandbox answers its callbacks."""
        url = f"{self.house.sandbox_url}/sandbox/agents/{code}/callback"
        added: dict[str, Any] = self.house.json("agents", "add", code, "--callback", url, stdin=key)
        if fund_fen:
            self.house.json("funds", "top-up", code, "--fen", str(fund_fen), "--reason", "采购资金")
        self.tell_agent(code, answer="ok", key=key)
        return added

    def tell_agent(self, code: str, **how: Any) -> None:
        """How the agent's address answers from now on."""
        self._put(f"/sandbox/agents/{code}", how)

    def _put(self, path: str, body: dict[str, Any]) -> None:
        status, answer = request(f"{self.house.sandbox_url}{path}", "PUT", body)
        assert status == 200, answer

    def hold(self, account: str, password: str, behaviour: str = "ok", **changes: Any) -> str:
        """Hold three berths for 1241.00 yuan, ten minutes to pay; returns the hold number."""
        self._holds += 1
        number = f"E{self._holds:09d}"
        body = {
            "account": account,
            "password": password,
            "held_order_no": number,
            "train_no": "T7",
            "departure_at": departure().isoformat(),
            "from": "北京西",
            "to": "成都",
            "passengers": PASSENGERS,
            "seats": SEATS,
            "price_fen": PRICE_FEN,
            "deadline_s": 600,
            "behaviour": behaviour,
            "force": True,
        }
        status, answer = request(f"{self.house.sandbox_url}/sandbox/holds", "POST", body | changes)
        assert status == 201, answer
        return number

    # -- messages ----------------------------------------------------------------------------------------------

    def order(self, order_no: str, **changes: Any) -> OrderPaid:
        """The user paid 1284.00 yuan for three berths."""
        moment = datetime.now(UTC).isoformat()
        data: dict[str, Any] = {
            "order_no": order_no,
            "agent": AGENT,
            "trip": "single",
            "train_no": "T7",
            "from": "北京西",
            "to": "成都",
            "departure_at": departure().isoformat(),
            "seat": {"code": "7", "price_fen": 42_800},
            "fallback_seats": [{"code": "5", "price_fen": 42_800}, {"code": "6", "price_fen": 42_800}],
            "passengers": list(PASSENGERS),
            "contact": {"name": "张三", "phone": "00000000000", "email": ""},
            "fare_fen": FARE_FEN,
            "insurance_fen": 6_000,
            "ordered_at": moment,
            "paid_at": moment,
        }
        return OrderPaid.model_validate_json(json.dumps(data | changes))

    def event(self, data: AmData, event_id: str | None = None) -> AmEvent:
        return self.maker.event(data, event_id=event_id)

    def need_pay(self, bought: Bought, **changes: Any) -> AmEvent:
        """The agent asks to have its hold paid; a change to None leaves that field out."""
        facts: dict[str, Any] = {
            "order_no": bought.order_no,
            "agent": AGENT,
            "account": bought.account,
            "password": bought.password,
            "held_order_no": bought.hold_no,
            "price_fen": PRICE_FEN,
        }
        return self.maker.need_pay(**(facts | changes))

    def buy(self, order_no: str, behaviour: str = "ok", **hold: Any) -> Bought:
        """Hold seats for a new order on an account of its own; nothing is sent yet."""
        account, password = f"{order_no}@example.com", f"invented-{order_no}"
        return Bought(order_no, self.hold(account, password, behaviour, **hold), account, password)

    def messages(self, bought: Bought, **changes: Any) -> list[AmEvent]:
        """What AM sends for it: the order, then the request."""
        return [self.event(self.order(bought.order_no)), self.need_pay(bought, **changes)]

    def send(self, events: Sequence[AmEvent]) -> None:
        """With the SDK on RabbitMQ, with `daifu publish` (the AM door) where the broker is embedded."""
        settings = self.house.settings
        if settings.embedded:
            lines = b"\n".join(event.to_bytes() for event in events).decode()
            assert all(row["accepted"] for row in self.house.json("publish", "-", stdin=lines))
            return
        with Publisher(settings.broker_url, None) as publisher:
            refused = [result for result in publisher.publish_many(events) if not result.accepted]
        assert not refused, refused

    def send_orders(self, boughts: Iterable[Bought]) -> None:
        self.send([event for bought in boughts for event in self.messages(bought)])

    # -- how it stands -----------------------------------------------------------------------------------------

    def rows(self) -> dict[str, dict[str, Any]]:
        """`daifu orders list --json` by order number."""
        return {row["order_no"]: row for row in self.house.json("orders", "list")}

    def state(self, order_no: str) -> str | None:
        """Of the latest purchase; None where there is none yet."""
        return self.rows().get(order_no, {}).get("state")

    def show(self, order_no: str) -> dict[str, Any]:
        shown: dict[str, Any] = self.house.json("orders", "show", order_no)
        return shown

    def wait_ended(self, order_nos: Collection[str], within_s: float = 60.0) -> dict[str, dict[str, Any]]:
        """Until each has an outcome, is settled if it was purchased, and its agent was told. Returns their rows."""

        def ended() -> dict[str, dict[str, Any]] | None:
            rows = self.rows()
            return rows if not _open(rows, order_nos) else None

        try:
            rows: dict[str, dict[str, Any]] = until("all orders ended and told", ended, within_s)
        except AssertionError as error:
            rows = self.rows()
            still = {number: _gist(rows.get(number)) for number in _open(rows, order_nos)}
            raise AssertionError(f"{error}\n{json.dumps(still, indent=1)}") from None
        return {number: rows[number] for number in order_nos}

    def journal(self, after: int = 0) -> list[dict[str, Any]]:
        """The sandbox's journal: the oracle."""
        status, lines = request(f"{self.house.sandbox_url}/sandbox/journal?after={after}")
        assert status == 200
        return list(lines)

    def lines_of(self, bought: Bought, kind: str) -> list[dict[str, Any]]:
        """Journal lines of one kind about this hold, its account, or its order."""
        return [
            line
            for line in self.journal()
            if line["kind"] == kind
            and (
                line["held_order_no"] == bought.hold_no
                or (line["held_order_no"] is None and line["account"] == bought.account)
                or line["order_no"] == bought.order_no
            )
        ]

    def wait_line(self, bought: Bought, kind: str, within_s: float = 30.0) -> None:
        until(f"{kind} of {bought.order_no}", lambda: self.lines_of(bought, kind), within_s)

    def told(self, bought: Bought) -> list[str]:
        """The payStatus of each callback that the agent took, in order."""
        lines = self.lines_of(bought, "callback")
        assert all(line["hmac_ok"] for line in lines), lines
        return [line["pay_status"] for line in lines if line["outcome"] == "ok"]

    def check(self, bought: Bought, ending: Ending, row: dict[str, Any]) -> None:
        """State, outcome, reason, callbacks, and what 12306 and the cashier saw."""
        found = {name: row[name] for name in ("state", "outcome", "reason", "pay_status", "agent_told")}
        seen = Counter(line["kind"] for line in self.journal() if line["held_order_no"] == bought.hold_no)
        expected = {
            "state": ending.state,
            "outcome": ending.outcome,
            "reason": ending.reason,
            "pay_status": ending.pay_status,
            "agent_told": True,
        }
        assert found == expected
        assert (seen["pay"], seen["debit"]) == (ending.pays, ending.debits)
        assert self.told(bought)[-1] == ending.pay_status

    def audit_is_clean(self) -> None:
        """`daifu audit`, also line by line against the sandbox's journal."""
        audit = self.house.json("audit", "--journal", str(self.house.sandbox_journal))
        assert audit["ok"], audit


def departure() -> datetime:
    """The day after tomorrow, 17:10 in Asia/Shanghai."""
    day = datetime.now(UTC) + timedelta(days=2)
    return day.replace(hour=9, minute=10, second=0, microsecond=0)


def ticket(hold_no: str, **changes: Any) -> Ticket:
    facts = {"ticket_no": hold_no, "seat_type": "7", "seat_no": "11车04号下铺", "price_fen": 42_800}
    return Ticket.model_validate(facts | changes)


def _open(rows: dict[str, dict[str, Any]], order_nos: Collection[str]) -> list[str]:
    return [
        number
        for number in order_nos
        if number not in rows
        or not rows[number]["outcome"]
        or not rows[number]["agent_told"]
        or rows[number]["state"] == "purchased"
    ]


def _gist(row: dict[str, Any] | None) -> dict[str, Any] | None:
    return None if row is None else {name: row[name] for name in ("state", "reason", "pay_status", "agent_told")}

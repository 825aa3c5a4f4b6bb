"""Sample orders: read from a file, held in the sandbox, sent in as AM would, and compared with what the file expects.

The file's format is described in deploy/docs/samples.md. Expectations stand in the file; results come from the database and
from the sandbox's journal, so a changed behaviour changes the row.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib import resources
from pathlib import Path
from typing import Any

import aiohttp
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.broker.port import Outgoing
from pipeline.broker.topology import EXCHANGE
from pipeline.cli.house import House
from pipeline.cli.output import table, yuan
from pipeline.errors import UsageProblem
from pipeline.matching import SHANGHAI
from pipeline.operations_agents import add_agent, top_up_fund
from pipeline.reasons import OUTCOME_WORDS, RULES, Outcome, Reason
from pipeline.secret import Secret
from pipeline.settings import PREFIX, Settings
from pipeline.states import ORDER_STATE_WORDS, OrderState
from pipeline.store import accounts
from pipeline.store.engine import Transaction
from pipeline.store.queries_orders import OrderFilter, list_orders
from pipeline.vault import KeyRing
from producers.sdk_events import EventMaker
from schemas.am_messages import AmEvent
from schemas.envelope import CONTENT_TYPE
from schemas.orders import OrderPaid

ACTOR = "human:demo"
POLL_S = 0.2
WITHIN_S = 60.0
DEMO_TIMES: dict[str, Any] = {
    "pay_timeout_s": 2.0,
    "pay_margin_s": 1.0,
    "pay_grace_s": 1.0,
    "lease_s": 6.0,
    "list_retry_s": 0.2,
    "in_hand_retry_s": 3.0,
    "relay_patience_s": 1.0,
    "callback_schedule_s": (1.0, 2.0, 4.0),
}


class SamplesError(UsageProblem):
    """The samples file can't be used; the text says where and why."""


class Sample(BaseModel):
    """One order with its hold on 12306 and how it must end."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str
    order: dict[str, Any]  # order.paid; `departure` "HH:MM" stands for the day after tomorrow, in Asia/Shanghai
    departure: str = Field(pattern=r"^\d\d:\d\d$")
    account: str
    held_order_no: str
    hold_fen: int
    seats: list[dict[str, Any]]  # what is held: [{seat, price_fen}]
    behaviour: str = "ok"
    deadline_s: float = 20.0
    expected: dict[str, Any]  # fields of the row and sandbox_debits


class Samples(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    agent: str
    fund_fen: int
    orders: list[Sample] = Field(min_length=1)


@dataclass(frozen=True, slots=True)
class Held:
    sample: Sample
    order_no: str


def load(path: Path | None) -> Samples:
    """The samples of this file, or those that come with daifu. Raises SamplesError."""
    text = (
        (resources.files("pipeline.cli") / "samples.json").read_text("utf-8")
        if path is None
        else path.read_text("utf-8")
    )
    try:
        return Samples.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        raise SamplesError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def with_demo_times(settings: Settings) -> Settings:
    """Short times for the sandbox, except where the environment gave one."""
    return settings.model_copy(
        update={name: value for name, value in DEMO_TIMES.items() if name not in settings.model_fields_set}
    )


async def run(house: House, sandbox_url: str | None, samples: Samples) -> list[dict[str, Any]]:
    """Send what is not there yet, wait until each has ended and been told, and return the rows. Raises SamplesError."""
    if sandbox_url is None:
        raise SamplesError(f"samples need the sandbox: leave {PREFIX}RAILWAY_URL and {PREFIX}CASHIER_URL unset")
    keys = KeyRing.load(house.settings.service_keys_path)
    vault = KeyRing.load(house.settings.vault_path).public
    async with aiohttp.ClientSession(sandbox_url) as sandbox:
        await _agent(house, sandbox, sandbox_url, samples, keys)
        known = await _known(house)
        fresh = [sample for sample in samples.orders if sample.order["order_no"] not in known]
        events = [await _hold_and_ask(sandbox, vault_sealer(vault), samples.agent, sample) for sample in fresh]
        outbox = house.broker.outbox()
        await outbox.publish([Outgoing(EXCHANGE, event.type, event.to_bytes(), CONTENT_TYPE) for event in events])
        numbers = [str(sample.order["order_no"]) for sample in samples.orders]
        await _wait(house, numbers)
        rows = await _rows(house, numbers)
        debits = {sample.held_order_no: await _debits(sandbox, sample.held_order_no) for sample in samples.orders}
    return [_judged(rows[str(sample.order["order_no"])], sample, debits) for sample in samples.orders]


def vault_sealer(public: Any) -> EventMaker:
    return EventMaker(public, "daifu-demo")


async def _agent(
    house: House, sandbox: aiohttp.ClientSession, sandbox_url: str, samples: Samples, keys: KeyRing
) -> None:
    def add(tx: Transaction) -> Secret:
        row = accounts.load_agents(tx, [samples.agent]).get(samples.agent)
        if row is not None:
            return keys.open(row.merchant_key_sealed)
        url = f"{sandbox_url}/sandbox/agents/{samples.agent}/callback"
        added = add_agent(tx, samples.agent, url, None, keys.public, ACTOR, allow_http=True)
        top_up_fund(tx, samples.agent, samples.fund_fen, "示例采购资金", ACTOR)
        return added.key

    key = (await house.executor.run(lambda: house.store.write(add))).value
    async with sandbox.put(f"/sandbox/agents/{samples.agent}", json={"answer": "ok", "key": key.reveal()}) as answer:
        answer.raise_for_status()


async def _known(house: House) -> set[str]:
    listed = await house.executor.run(lambda: house.store.read(lambda tx: list_orders(tx, OrderFilter())))
    return {row["order_no"] for row in listed}


async def _hold_and_ask(sandbox: aiohttp.ClientSession, maker: EventMaker, agent: str, sample: Sample) -> AmEvent:
    """Hold the seats as the agent would, and make the message that asks to have them paid."""
    hour, minute = map(int, sample.departure.split(":"))
    now = datetime.now(UTC)
    day = now.astimezone(SHANGHAI) + timedelta(days=2)
    departure_at = day.replace(hour=hour, minute=minute, second=0, microsecond=0)
    times = {"departure_at": departure_at.isoformat(), "ordered_at": now.isoformat(), "paid_at": now.isoformat()}
    order = OrderPaid.model_validate_json(json.dumps({**sample.order, "agent": agent, **times}))
    password = f"sandbox-{sample.held_order_no}"  # invented, for this hold alone
    hold = {
        "account": sample.account,
        "password": password,
        "held_order_no": sample.held_order_no,
        "train_no": order.train_no,
        "departure_at": departure_at.isoformat(),
        "from": order.from_station,
        "to": order.to_station,
        "passengers": [person.model_dump(mode="json") for person in order.passengers],
        "seats": sample.seats,
        "price_fen": sample.hold_fen,
        "deadline_s": sample.deadline_s,
        "behaviour": sample.behaviour,
        "force": True,
    }
    async with sandbox.post("/sandbox/holds", json=hold) as answer:
        if answer.status not in (201, 409):
            raise SamplesError(f"{sample.held_order_no}: the sandbox refused the hold: {await answer.text()}")
    return maker.need_pay(
        order_no=order.order_no,
        agent=agent,
        account=sample.account,
        password=password,
        held_order_no=sample.held_order_no,
        price_fen=sample.expected.get("stated_fen", sample.hold_fen),
        order=order,
        event_id=f"sample-{order.order_no}",
    )


async def _wait(house: House, numbers: list[str]) -> None:
    """Until each order has an outcome and its agent was told, or WITHIN_S is over (the rows then show what is missing)."""
    end = house.clock.monotonic() + WITHIN_S
    while house.clock.monotonic() < end:
        rows = await _rows(house, numbers)
        if len(rows) == len(numbers) and all(
            row["outcome"] and row["agent_told"] and row["state"] != "purchased" for row in rows.values()
        ):
            return
        await asyncio.sleep(POLL_S)


async def _rows(house: House, numbers: list[str]) -> dict[str, dict[str, Any]]:
    listed = await house.executor.run(lambda: house.store.read(lambda tx: list_orders(tx, OrderFilter())))
    return {row["order_no"]: row for row in listed if row["order_no"] in numbers}


async def _debits(sandbox: aiohttp.ClientSession, hold_no: str) -> int:
    async with sandbox.get(f"/sandbox/holds/{hold_no}") as answer:
        return int((await answer.json())["debits"]) if answer.status == 200 else 0


def _judged(row: dict[str, Any], sample: Sample, debits: dict[str, int]) -> dict[str, Any]:
    found = {**row, "title": sample.title, "sandbox_debits": debits[sample.held_order_no]}
    expected = {name: value for name, value in sample.expected.items() if name != "stated_fen"}
    return {**found, "expected": expected, "ok": all(found.get(name) == value for name, value in expected.items())}


def table_of(rows: list[dict[str, Any]]) -> str:
    """How each order ended, in Chinese and code."""
    shown = []
    for row in rows:
        outcome = "-" if row["outcome"] is None else f"{OUTCOME_WORDS[Outcome(row['outcome'])]} {row['outcome']}"
        reason = "" if row["reason"] is None else f"{RULES[Reason(row['reason'])].words} {row['reason']}"
        shown.append(
            {
                "订单号": row["order_no"],
                "订单状态": f"{ORDER_STATE_WORDS[OrderState(row['order_state'])]} {row['order_state']}",
                "结果": outcome,
                "原因": reason,
                "支付": yuan(row["paid_fen"]),
                "解冻": yuan(row["unfrozen_fen"]),
                "部分退款": yuan(row["partial_refund_fen"]),
                "通知": f"payStatus {row['pay_status']}" if row["agent_told"] else "未通知",
                "核对": "符合" if row["ok"] else f"不符, 应为 {json.dumps(row['expected'], ensure_ascii=False)}",
            }
        )
    return table(shown, tuple(shown[0])) if shown else ""

"""One trace per purchase through every stage, its dead letter and its replay, kept in the database; and nothing while it is off."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from consumers.credentials import Credentials
from consumers.intake import Intake
from pipeline import endings
from pipeline.acceptance import Limits
from pipeline.broker.factory import open_broker
from pipeline.broker.port import Delivery, Outgoing
from pipeline.broker.topology import EVENTS
from pipeline.cli.door import am_door
from pipeline.cli.house import House
from pipeline.executors import InlineExecutor, ThreadExecutor
from pipeline.metrics import Metrics
from pipeline.reasons import Reason
from pipeline.relay import Relay, RelayTimes
from pipeline.runner import Ports
from pipeline.secret import Secret
from pipeline.settings import read
from pipeline.store import orders
from pipeline.store import traces as stored
from pipeline.store.engine import Transaction
from pipeline.traces import Part, Worked, purchase_of, with_traceparent
from pipeline.tracing import KEPT_S, OtelTraces, traces_to
from pipeline.transaction_runner import IntakeRunner, TransactionRunner
from schemas.wakeup import wakeup
from tests.unit.desk_world import Desk, desk_at
from tests.unit.message_samples import NEED_PAY, ORDER, ORDER_NO, body

ASKED_UNDER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
PURCHASE = f"{ORDER_NO}:1"


class Mail:
    """A broker in hand: delivers these once, keeps what is published."""

    connected = True

    def __init__(self, *bodies: bytes) -> None:
        self.bodies = list(bodies)
        self.sent: list[Outgoing] = []
        self.empty = asyncio.Event()

    async def take(self, most: int) -> list[Delivery]:
        if not self.bodies:
            self.empty.set()
            await asyncio.Event().wait()
        taken, self.bodies = self.bodies[:most], self.bodies[most:]
        return [Delivery(one, tag, 0, redelivered=False) for tag, one in enumerate(taken)]

    async def gathered(self, count: int) -> None:
        await asyncio.Event().wait()

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        """Nothing is held."""

    async def publish(self, messages: Sequence[Outgoing]) -> None:
        self.sent += messages

    async def close(self) -> None:
        """Nothing is open."""


class Traced:
    """A desk whose stages and relay make traces."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.exporter = InMemorySpanExporter()
        self.traces: OtelTraces | None = traces_to(SimpleSpanProcessor(self.exporter), "test")

    def ports(self, mail: Mail) -> Ports:
        return Ports(mail, mail, self.desk.store, InlineExecutor(), self.desk.clock, Metrics(), traces=self.traces)

    def intake(self, *bodies: bytes) -> None:
        mail = Mail(*bodies)
        stage = Intake(Limits(1200.0, 300.0), self.desk.services.public, self.desk.clock)
        asyncio.run(until_empty(IntakeRunner(stage, self.ports(mail), careful=False), mail))

    def credentials(self, purchase_id: str) -> None:
        mail = Mail(wakeup(f"{purchase_id}:credentials"))
        asyncio.run(until_empty(TransactionRunner(Credentials(), self.ports(mail), careful=False), mail))

    def relay(self) -> list[Outgoing]:
        mail = Mail()
        relay = Relay(mail, self.desk.store, InlineExecutor(), Metrics(), RelayTimes(5.0, 86_400.0), traces=self.traces)
        asyncio.run(relay.tick())
        return mail.sent

    def spans(self) -> dict[str, ReadableSpan]:
        return {span.name: span for span in self.exporter.get_finished_spans()}

    def kept(self) -> list[tuple[Any, ...]]:
        ids = [f"{ORDER_NO}:{generation}" for generation in range(4)]
        return sorted(self.desk.read(lambda tx: stored.of(tx, ids)).items())


async def until_empty(runner: IntakeRunner | TransactionRunner, mail: Mail) -> None:
    running = asyncio.ensure_future(runner.run())
    await mail.empty.wait()
    runner.stop()
    await running


@pytest.fixture
def traced(tmp_path: Path) -> Iterator[Traced]:
    with desk_at(f"sqlite:///{tmp_path / 'desk.sqlite3'}") as desk:
        yield Traced(desk)


def messages(desk: Desk, **envelope: Any) -> list[bytes]:
    time = desk.clock.moment.isoformat()
    paid = body("order.paid", ORDER, id="p", time=time)
    return [paid, body("purchase.need_pay", NEED_PAY, id="n", time=time, **envelope)]


def trace_of(span: ReadableSpan) -> int:
    assert span.context is not None
    return int(span.context.trace_id)


def span_of(span: ReadableSpan) -> int:
    assert span.context is not None
    return int(span.context.span_id)


def parent_of(span: ReadableSpan) -> int:
    assert span.parent is not None
    return int(span.parent.span_id)


def test_a_purchase_is_one_trace_from_ams_request_to_its_dead_letter(traced: Traced) -> None:
    traced.intake(*messages(traced.desk, traceparent=ASKED_UNDER))
    traced.credentials(PURCHASE)
    desk = traced.desk
    desk.write(lambda tx: end(desk, tx))
    traced.relay()
    spans = traced.spans()
    assert set(spans) == {"process daifu.intake", "process daifu.credentials", "send daifu.payment.dlq"}
    assert {f"{trace_of(span):032x}" for span in spans.values()} == {ASKED_UNDER.split("-")[1]}
    first = spans["process daifu.intake"]
    assert f"{parent_of(first):016x}" == ASKED_UNDER.split("-")[2]
    assert {parent_of(span) for span in spans.values() if span is not first} == {span_of(first)}
    dead = spans["send daifu.payment.dlq"]
    assert dead.status.status_code is StatusCode.ERROR
    assert dead.attributes is not None
    assert dead.attributes["daifu.reason"] == "insufficient_funds"
    told = spans["process daifu.credentials"].attributes
    assert told is not None
    assert (told["daifu.order_no"], told["daifu.step"], told["messaging.destination.name"]) == (
        ORDER_NO, "credentials", "daifu.credentials",
    )  # fmt: skip


def end(desk: Desk, tx: Transaction) -> None:
    purchase = orders.load_purchases(tx, [PURCHASE])[PURCHASE]
    endings.end_before_intent(tx, purchase, Reason.INSUFFICIENT_FUNDS, "", stage="payment", actor="system:payment")


def test_what_leaves_carries_the_trace(traced: Traced) -> None:
    traced.intake(*messages(traced.desk))
    desk = traced.desk
    desk.run("credentials")
    desk.write(lambda tx: end(desk, tx))
    sent = traced.relay()
    trace_id = traced.kept()[0][1].split("-")[1]
    results = [json.loads(one.body) for one in sent if one.exchange == EVENTS]
    letters = [json.loads(one.body) for one in sent if one.routing_key.startswith("dead.")]
    assert results
    assert letters
    assert {one["traceparent"].split("-")[1] for one in [*results, *letters]} == {trace_id}


def test_a_replay_is_a_trace_of_its_own_with_a_link_to_the_one_before(traced: Traced) -> None:
    traced.intake(*messages(traced.desk))
    desk = traced.desk
    desk.run("credentials")
    desk.write(lambda tx: end(desk, tx))
    traced.relay()
    desk.top_up(10_000_000)
    desk.set_password()
    letter = int(desk.letter()["id"])
    result = desk.replay(letter)
    assert result.result == "replayed", result.why
    traced.credentials(f"{ORDER_NO}:2")
    spans = [span for span in traced.exporter.get_finished_spans() if span.name == "accept purchase"]
    (first,) = spans
    assert first.attributes is not None
    assert (first.attributes["daifu.generation"], first.attributes["daifu.origin"]) == (2, "replay")
    (link,) = first.links
    before = traced.spans()["process daifu.intake"]
    assert link.context.trace_id == trace_of(before) != trace_of(first)


def test_ams_trace_goes_on_from_its_http_door_too(traced: Traced, tmp_path: Path) -> None:
    desk, token = traced.desk, "token-of-a-test"
    batch = b"[" + b",".join(messages(desk, traceparent=ASKED_UNDER)) + b"]"

    async def post() -> int:
        settings = read({"DAIFU_HOME": str(tmp_path)})
        house = House(
            settings, desk.store, ThreadExecutor(1), open_broker("memory://", name="test"), traces=traced.traces
        )
        door = am_door(house, Mail(), desk.passwords.public, Secret(token))
        async with TestClient(TestServer(door)) as client:
            answer = await client.post("/am/messages", data=batch, headers={"Authorization": f"Bearer {token}"})
        house.executor.close()
        return answer.status

    assert asyncio.run(post()) == 202
    first = traced.spans()["accept purchase"]
    assert f"{trace_of(first):032x}" == ASKED_UNDER.split("-")[1]
    assert f"{parent_of(first):016x}" == ASKED_UNDER.split("-")[2]


def test_a_request_that_comes_twice_begins_one_trace(traced: Traced) -> None:
    traced.intake(*messages(traced.desk))
    traced.intake(*messages(traced.desk))
    assert len(traced.exporter.get_finished_spans()) == 1
    assert len(traced.kept()) == 1


@pytest.mark.parametrize("nonsense", ["", "00-xyz", 7, {"a": 1}])
def test_a_traceparent_that_is_none_harms_nothing(traced: Traced, nonsense: object) -> None:
    traced.intake(*messages(traced.desk, traceparent=nonsense))
    assert traced.desk.purchase().state == "accepted"
    assert len(traced.kept()) == 1


def test_no_secret_and_nothing_personal_is_in_a_span(traced: Traced) -> None:
    traced.intake(*messages(traced.desk, traceparent=ASKED_UNDER))
    traced.credentials(PURCHASE)
    text = "".join(span.to_json() for span in traced.exporter.get_finished_spans())
    person = ORDER["passengers"][0]
    for word in (person["name"], person["id_no"], NEED_PAY["account"], NEED_PAY["held_order_no"]):
        assert str(word) not in text


def test_off_nothing_is_written_and_nothing_is_carried(traced: Traced) -> None:
    traced.traces = None
    traced.intake(*messages(traced.desk, traceparent=ASKED_UNDER))
    traced.credentials(PURCHASE)
    assert traced.kept() == []
    assert not [one for one in traced.relay() if b"traceparent" in one.body]


def test_contexts_are_forgotten_and_a_call_that_failed_says_so(traced: Traced) -> None:
    traced.intake(*messages(traced.desk))
    assert traced.traces is not None
    login = Part("railway", "login", 1.2, 1.4, "Unreachable")
    traced.traces.worked(traced.desk.store, "payment", [Worked(PURCHASE, "pay", 1.0, 2.5, "KeyError", (login,))])
    span = traced.spans()["process daifu.payment"]
    assert span.attributes is not None
    assert span.attributes["error.type"] == "KeyError"
    assert span.start_time is not None
    assert span.end_time is not None
    assert span.end_time - span.start_time == 1_500_000_000
    asked = traced.spans()["railway login"]
    assert (parent_of(asked), trace_of(asked)) == (span_of(span), trace_of(span))
    assert asked.attributes is not None
    assert asked.attributes["error.type"] == "Unreachable"
    traced.desk.later(KEPT_S + 1)
    traced.traces.forget(traced.desk.store)
    assert traced.kept() == []


def test_keys_name_their_purchase() -> None:
    assert purchase_of("o:2:purchase.refused:id:with:colons") == "o:2"
    assert json.loads(with_traceparent(b'{"a":1}', "x")) == {"a": 1, "traceparent": "x"}

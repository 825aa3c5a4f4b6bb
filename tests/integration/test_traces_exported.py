"""The extra `traces` as it is shipped: every process sends its spans by OTLP over HTTP, and a collector finds one trace per purchase,
from AM's own span through all stages, in a dead letter, and linked from its replay.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.integration.pipeline_house import STAGES, start_on
from tests.integration.pipeline_orders import AGENT, TOP_UP_FEN, Am, Bought
from tests.integration.pipeline_process import until
from tests.services.ports import LOOPBACK

POOR: Final = "poor"
AM_TRACE, AM_SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
ASKED: Final = {
    "railway login", "railway unpaid_orders", "railway payment_form", "cashier open",
    "cashier submit", "railway find_order", "cashier trade",
}  # fmt: skip


class Got(NamedTuple):
    """A span as it came in."""

    process: str
    name: str
    trace: str
    span: str
    parent: str
    links: tuple[tuple[str, str], ...]
    order_no: str
    generation: int


class Collector(ThreadingHTTPServer):
    """Takes OTLP over HTTP at `/v1/traces`."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__((LOOPBACK, 0), _Taker)
        self.bodies: list[bytes] = []

    def spans(self) -> list[Got]:
        return [span for body in list(self.bodies) for span in _spans(body)]

    def of(self, bought: Bought, generation: int = 1) -> dict[str, Got]:
        """By name; of what was asked several times, the last."""
        mine = [one for one in self.spans() if (one.order_no, one.generation) == (bought.order_no, generation)]
        return {one.name: one for one in mine}


class _Taker(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        assert self.path == "/v1/traces"
        self.server.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base's name
        """Nothing to stderr."""


def _spans(body: bytes) -> Iterator[Got]:
    for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
        about = {one.key: one.value.string_value for one in resource.resource.attributes}
        for span in (one for scope in resource.scope_spans for one in scope.spans):
            facts = {one.key: one.value for one in span.attributes}
            yield Got(
                about["service.name"],
                span.name,
                span.trace_id.hex(),
                span.span_id.hex(),
                span.parent_span_id.hex(),
                tuple((link.trace_id.hex(), link.span_id.hex()) for link in span.links),
                facts["daifu.order_no"].string_value,
                facts["daifu.generation"].int_value,
            )


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    with Collector() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://{LOOPBACK}:{server.server_port}")
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
        yield server
        server.shutdown()


@pytest.fixture
def am(tmp_path: Path, fresh_vhost: str, fresh_database: str, collector: Collector) -> Iterator[Am]:
    house = start_on(tmp_path, fresh_vhost, fresh_database, 1, TRACES="otlp")
    try:
        am = Am(house)
        am.add_agent()
        am.add_agent(POOR, fund_fen=0)
        yield am
    finally:
        house.close()


def test_a_collector_sees_one_trace_per_purchase_through_all_processes(am: Am, collector: Collector) -> None:
    paid, failed = am.buy(f"{AGENT}-paid"), am.buy(f"{AGENT}-failed")
    am.send(am.messages(paid, traceparent=f"00-{AM_TRACE}-{AM_SPAN}-01"))
    am.send([am.event(am.order(failed.order_no, agent=POOR)), am.need_pay(failed, agent=POOR)])
    am.wait_ended([paid.order_no, failed.order_no])
    replay(am, failed)

    goes_through_every_stage(collector, paid)
    first = collector.of(paid)["process daifu.intake"]
    assert (first.trace, first.parent) == (AM_TRACE, AM_SPAN)

    until("the dead letter's span", lambda: "send daifu.payment.dlq" in collector.of(failed))
    before = collector.of(failed)
    assert len({span.trace for span in before.values()}) == 1
    assert before["send daifu.payment.dlq"].process == "daifu relay"
    goes_through_every_stage(collector, failed, generation=2)
    again = collector.of(failed, 2)["accept purchase"]
    assert again.links == ((before["process daifu.intake"].trace, before["process daifu.intake"].span),)
    assert again.trace != before["process daifu.intake"].trace

    sent = b"".join(collector.bodies)
    for bought in (paid, failed):
        assert bought.account.encode() not in sent
        assert bought.hold_no.encode() not in sent


def replay(am: Am, failed: Bought) -> None:
    """Once the agent has paid money in, and given its password anew."""
    am.house.json("agents", "set-password", POOR, "--account", failed.account, stdin=failed.password)
    am.house.json("funds", "top-up", POOR, "--fen", str(TOP_UP_FEN), "--reason", "采购资金")
    letters = until("the dead letter", lambda: am.house.json("dead-letters", "list", "--state", "open"))
    am.house.json("dead-letters", "replay", str(letters[0]["id"]), "--agreed", "代理商已同意")
    until("the replay is settled", lambda: am.state(failed.order_no) == "settled")
    am.wait_ended([failed.order_no])


def goes_through_every_stage(collector: Collector, bought: Bought, generation: int = 1) -> None:
    """One trace: every stage's process under its first span, and under payment's what it asked of 12306 and the cashier."""
    root = "process daifu.intake" if generation == 1 else "accept purchase"
    stages = {f"process daifu.{stage}": stage for stage in STAGES if generation == 1 or stage != "intake"}
    spans = until("spans of all stages", lambda: complete(collector.of(bought, generation), {root, *stages, *ASKED}))
    assert len({span.trace for span in spans.values()}) == 1
    for name, stage in stages.items():
        assert spans[name].process == f"daifu {stage}"
        assert name == root or spans[name].parent == spans[root].span
    for name in ASKED:
        assert spans[name].process == "daifu payment"
    asking = {one.span for one in collector.spans() if one.name == "process daifu.payment"}
    assert {spans[name].parent for name in ASKED} <= asking


def complete(spans: dict[str, Got], names: set[str]) -> dict[str, Got] | None:
    return spans if names <= set(spans) else None

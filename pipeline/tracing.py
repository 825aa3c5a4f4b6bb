"""Traces by OpenTelemetry: `pip install daifu[traces]`, DAIFU_TRACES=otlp, and OpenTelemetry's own OTEL_… variables.

Spans carry order number, generation, stage, reason and OpenTelemetry's messaging attributes: no account, no name, no text of
an error, no amount.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import structlog
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import (
    Link,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    get_current_span,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from pipeline.broker.topology import dead_letter_queue_of, queue_of
from pipeline.store import traces as stored
from pipeline.store.engine import Store, StoreUnavailable, Transaction
from pipeline.traces import Dead, Worked
from schemas.am_messages import AmMessage

log = structlog.get_logger()

KEPT_S: Final = 30 * 86_400.0
INTAKE: Final = queue_of("intake")
_W3C: Final = TraceContextTextMapPropagator()
TRACEPARENT: Final = "traceparent"


class Spans:
    """Spans that end together."""

    def __init__(self, spans: Iterable[Span] = ()) -> None:
        self._spans = list(spans)

    def end(self) -> None:
        for span in self._spans:
            span.end()


class OtelTraces:
    """`pipeline.traces.Traces`."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("daifu")

    def accept(self, tx: Transaction, messages: Sequence[AmMessage], began: float) -> Spans:
        sent: dict[str, str | None] = {}
        for message in messages:  # the order and the request may come together, and only one of them with a trace
            sent[message.order_no] = message.traceparent or sent.get(message.order_no)
        latest = stored.latest_of(tx, sent) if sent else {}
        known = stored.of(tx, latest.values()) if latest else {}
        parents = {purchase_id: sent[order_no] for order_no, purchase_id in latest.items() if purchase_id not in known}
        return self._begin(tx, parents, began)

    def worked(self, store: Store, stage: str, work: Sequence[Worked]) -> None:
        contexts = self._contexts(store, [one.purchase_id for one in work])
        for one in work:
            if one.purchase_id not in contexts:
                continue  # not a purchase's work: a departure
            queue = queue_of(stage)
            span = self._tracer.start_span(
                f"process {queue}",
                context=_context(contexts[one.purchase_id]),
                kind=SpanKind.CONSUMER,
                start_time=_ns(one.began),
                attributes=_about(one.purchase_id) | _messaging(queue, "process") | {"daifu.step": one.step},
            )
            if one.error:
                span.set_status(Status(StatusCode.ERROR))
                span.set_attribute("error.type", one.error)
            self._parts(span, one)
            span.end(_ns(one.ended))

    def _parts(self, call: Span, one: Worked) -> None:
        """What the call asked of 12306 and the cashier, each a span of its own."""
        for part in one.parts:
            span = self._tracer.start_span(
                f"{part.upstream} {part.name}",
                context=set_span_in_context(call),
                kind=SpanKind.CLIENT,
                start_time=_ns(part.began),
                attributes=_about(one.purchase_id),
            )
            if part.error:
                span.set_status(Status(StatusCode.ERROR))
                span.set_attribute("error.type", part.error)
            span.end(_ns(part.ended))

    def dead(self, store: Store, letters: Sequence[Dead]) -> dict[str, str]:
        contexts = self._contexts(store, [letter.purchase_id for letter in letters])
        carried = {}
        for letter in letters:
            if letter.purchase_id not in contexts:
                continue
            queue = dead_letter_queue_of(letter.stage)
            attributes: dict[str, str | int] = {"daifu.stage": letter.stage, "daifu.reason": letter.reason}
            span = self._tracer.start_span(
                f"send {queue}",
                context=_context(contexts[letter.purchase_id]),
                kind=SpanKind.PRODUCER,
                attributes=_about(letter.purchase_id) | _messaging(queue, "send") | attributes,
            )
            span.set_status(Status(StatusCode.ERROR))
            span.end()
            carried[letter.purchase_id] = _traceparent(span)
        return carried

    def of(self, store: Store, purchase_ids: Sequence[str]) -> Mapping[str, str]:
        return self._contexts(store, purchase_ids)

    def forget(self, store: Store) -> None:
        try:
            store.write(lambda tx: stored.forget(tx, KEPT_S))
        except StoreUnavailable as error:
            log.warning("traces_not_forgotten", error=str(error))

    def close(self) -> None:
        self._provider.shutdown()

    def _contexts(self, store: Store, purchase_ids: Sequence[str]) -> dict[str, str]:
        """Of each purchase; traces that nobody has begun yet (a request over HTTP, a replay) begin here."""
        try:
            found = store.read(lambda tx: stored.of(tx, purchase_ids))
            missing = {purchase_id: None for purchase_id in purchase_ids if purchase_id not in found}
            if missing:
                store.write(lambda tx: self._begin(tx, missing, None)).value.end()
                found = store.read(lambda tx: stored.of(tx, purchase_ids))
        except StoreUnavailable as error:
            log.warning("trace_not_written", purchases=len(purchase_ids), error=str(error))
            return {}
        return found

    def _begin(self, tx: Transaction, parents: Mapping[str, str | None], began: float | None) -> Spans:
        """First spans of these purchases, under their parents. Where somebody else was first, ours is never ended and so never
        sent: as with a transaction that does not commit."""
        rows = stored.purchases_of(tx, parents) if parents else []
        before = {row.id: f"{row.order_no}:{row.generation - 1}" for row in rows if row.generation > 1}
        linked = stored.of(tx, before.values()) if before else {}
        spans = {}
        for row in rows:
            earlier = linked.get(before.get(row.id, ""))
            start = row.accepted_at.timestamp() if began is None else began
            by_queue = row.origin == "queue"
            spans[row.id] = self._tracer.start_span(
                f"process {INTAKE}" if by_queue else "accept purchase",
                context=_context(parents[row.id]),
                kind=SpanKind.CONSUMER if by_queue else SpanKind.INTERNAL,
                start_time=_ns(start),
                links=[] if earlier is None else [Link(_span_context(earlier))],
                attributes=_about(row.id)
                | {"daifu.origin": row.origin}
                | (_messaging(INTAKE, "process") if by_queue else {}),
            )
        new = stored.begin(tx, [(key, _traceparent(span)) for key, span in spans.items()])
        return Spans(span for key, span in spans.items() if key in new)


def _context(traceparent: str | None) -> Any:
    """An empty context for what is no traceparent, as W3C wants it."""
    return _W3C.extract({} if traceparent is None else {TRACEPARENT: traceparent})


def _span_context(traceparent: str) -> SpanContext:
    return get_current_span(_context(traceparent)).get_span_context()


def _traceparent(span: Span) -> str:
    context = span.get_span_context()
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def _about(purchase_id: str) -> dict[str, str | int]:
    order_no, _, generation = purchase_id.rpartition(":")
    return {"daifu.order_no": order_no, "daifu.generation": int(generation)}


def _messaging(queue: str, operation: str) -> dict[str, str | int]:
    return {
        "messaging.system": "rabbitmq",
        "messaging.destination.name": queue,
        "messaging.operation.name": operation,
        "messaging.operation.type": operation,
    }


def _ns(seconds: float) -> int:
    return int(seconds * 1e9)


def traces_to(processor: SpanProcessor, name: str) -> OtelTraces:
    """Traces of the process `name`, to whatever takes its spans."""
    provider = TracerProvider(resource=Resource.create({"service.name": f"daifu {name}"}))
    provider.add_span_processor(processor)
    return OtelTraces(provider)


def open_traces(name: str, exporter: SpanExporter) -> OtelTraces:
    """The same in batches, from a thread of its own."""
    return traces_to(BatchSpanProcessor(exporter), name)

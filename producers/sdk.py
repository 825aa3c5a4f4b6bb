"""The upstream SDK: publish order messages to daifu, each one confirmed by the broker or named with the reason why not.

    with Publisher(url, vault_public_key) as publisher:
        publisher.publish(publisher.order_paid(order))
        publisher.publish(publisher.need_pay(order_no=…, agent=…, account=…, password=…, held_order_no=…))

Needs pika, pynacl and pydantic only. Publishing is at least once: after a lost connection the same event goes out again under
the same id, and daifu takes a known `source` + `id` as a repeat.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from urllib.parse import unquote, urlsplit

import pika

from pipeline.secret import Secret
from pipeline.vault import PublicKey
from producers.sdk_errors import PublishError, Refused, Unreachable, Unroutable
from producers.sdk_events import EventMaker
from producers.sdk_line import EXCHANGE, Batch, Line, Outgoing
from schemas.am_messages import MAX_BODY_BYTES, AmData, AmEvent, NeedPayEvent, OrderPaidEvent
from schemas.orders import OrderPaid, Ticket

__all__ = ["EXCHANGE", "PublishError", "Publisher", "Refused", "Result", "Unreachable", "Unroutable"]

HEARTBEAT_S = 30
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 5.0


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one event. `accepted`: the broker has it, on disk, in a queue."""

    id: str
    accepted: bool
    error: PublishError | None = None


class Publisher:
    """A connection to the broker that mends itself. Threads may share it; one batch is on its way at a time.

    `url` is an AMQP URL (`amqp://user:password@host:5672/vhost`, amqps for TLS). `patience_s` is how long nothing may move
    (no confirm, no connection) before the rest of a batch is given up as Unreachable.
    """

    def __init__(
        self,
        url: str,
        vault_public_key: str | PublicKey | None,
        source: str = "am",
        *,
        patience_s: float = 30.0,
        connect_timeout_s: float = 10.0,
    ) -> None:
        """Raises ValueError for what is no AMQP URL, VaultError for what is no public key."""
        self._events = EventMaker(vault_public_key, source)
        self._parameters = _parameters(url, patience_s, connect_timeout_s)
        self.address = _address(self._parameters)
        self._patience_s = patience_s
        self._turn = threading.Lock()
        self._leaving = threading.Event()
        self._line: Line | None = None

    def __enter__(self) -> Publisher:
        """Connect. Raises Unreachable."""
        with self._turn:
            self._connected()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Hang up. A batch that is on its way in another thread is awaited, but not retried."""
        self._leaving.set()
        with self._turn:
            if self._line is not None:
                self._line.close()
                self._line = None

    def publish(self, event: AmEvent) -> None:
        """Returns once the broker has the event. Raises Unroutable, Refused or Unreachable."""
        (result,) = self.publish_many([event])
        if result.error is not None:
            raise result.error

    def publish_many(self, events: Iterable[AmEvent]) -> list[Result]:
        """Publish with up to 300 unconfirmed at a time; one result per event, in their order. Raises nothing of its own."""
        messages = [Outgoing(event.id, event.type, event.to_bytes()) for event in events]
        batch = Batch(messages)
        for index, message in enumerate(messages):
            if len(message.body) > MAX_BODY_BYTES:
                batch.settle(index, Refused(f"{message.routing_key}: longer than {MAX_BODY_BYTES} bytes"))
        with self._turn:
            self._deliver(batch)
        return [
            Result(message.message_id, index in batch.accepted, batch.errors.get(index))
            for index, message in enumerate(messages)
        ]

    def event(
        self,
        data: AmData,
        *,
        event_id: str | None = None,
        time: datetime | None = None,
        traceparent: str | None = None,
    ) -> AmEvent:
        """The event that carries `data`, to be published; keep it to publish it again. See EventMaker.event."""
        return self._events.event(data, event_id=event_id, time=time, traceparent=traceparent)

    def order_paid(
        self,
        order: OrderPaid,
        *,
        event_id: str | None = None,
        time: datetime | None = None,
        traceparent: str | None = None,
    ) -> OrderPaidEvent:
        """The user paid for `order`."""
        return self._events.order_paid(order, event_id=event_id, time=time, traceparent=traceparent)

    def need_pay(
        self,
        *,
        order_no: str,
        agent: str,
        account: str,
        password: str | Secret | None = None,
        held_order_no: str | None = None,
        price_fen: int | None = None,
        tickets: Sequence[Ticket] = (),
        order: OrderPaid | None = None,
        asked_at: datetime | None = None,
        event_id: str | None = None,
        traceparent: str | None = None,
    ) -> NeedPayEvent:
        """The agent asked to have its held order paid; the password is sealed here and now. See EventMaker.need_pay."""
        return self._events.need_pay(
            order_no=order_no,
            agent=agent,
            account=account,
            password=password,
            held_order_no=held_order_no,
            price_fen=price_fen,
            tickets=tickets,
            order=order,
            asked_at=asked_at,
            event_id=event_id,
            traceparent=traceparent,
        )

    def _deliver(self, batch: Batch) -> None:
        pause, give_up_at = FIRST_PAUSE_S, time.monotonic() + self._patience_s
        while batch.settled < len(batch.messages):
            before = batch.settled
            trouble = self._try(batch)
            if trouble is None:
                return
            if batch.settled > before:
                pause, give_up_at = FIRST_PAUSE_S, time.monotonic() + self._patience_s
            late = time.monotonic() + pause >= give_up_at
            if late or not isinstance(trouble, Unreachable) or self._leaving.wait(pause):
                batch.fail_rest(trouble)
            pause = min(pause * 2, LONGEST_PAUSE_S)

    def _try(self, batch: Batch) -> PublishError | None:
        try:
            return self._connected().send(batch, self._patience_s)
        except Unreachable as error:
            return error

    def _connected(self) -> Line:
        if self._leaving.is_set():
            raise Unreachable(f"{self.address}: the publisher is closed")
        if self._line is None or self._line.trouble is not None:
            if self._line is not None:
                self._line.close()
                self._line = None
            line = Line(self._parameters, self.address)
            line.open()
            self._line = line
        return self._line


def _parameters(url: str, patience_s: float, connect_timeout_s: float) -> pika.URLParameters:
    """pika's parameters with every wait bounded. The vhost is read as kombu does: `//` and `/%2F` and nothing mean `/`."""
    parameters = None
    try:
        if urlsplit(url).scheme in {"amqp", "amqps"}:
            parameters = pika.URLParameters(url)
            parameters.virtual_host = unquote(urlsplit(url).path[1:]) or "/"
    except ValueError:  # its text may quote the password: the error below is raised out of this block
        parameters = None
    if parameters is None:
        raise ValueError("the broker's address is not an AMQP URL: amqp://user:password@host:port/vhost")
    parameters.connection_attempts = 1
    parameters.heartbeat = HEARTBEAT_S
    parameters.blocked_connection_timeout = patience_s  # pika waits for ever by default (anchors/messaging.md 3.6, 23)
    parameters.socket_timeout = connect_timeout_s
    parameters.stack_timeout = connect_timeout_s
    return parameters


def _address(parameters: pika.URLParameters) -> str:
    scheme = "amqp" if parameters.ssl_options is None else "amqps"
    return f"{scheme}://{parameters.host}:{parameters.port}/{parameters.virtual_host.removeprefix('/')}"

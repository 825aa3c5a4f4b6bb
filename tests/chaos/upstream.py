"""AM: publishes orders with the SDK at a steady rate, reads `daifu.am`, and sends again, under the same id, whatever has
neither `purchase.accepted` nor `purchase.refused`.
"""

from __future__ import annotations

import json
import threading
import time
from collections import defaultdict, deque
from collections.abc import Sequence
from typing import Any, Final

import pika
from pika.adapters.utils.connection_workflow import AMQPConnectorException
from pika.exceptions import AMQPError

from producers.sdk import Publisher
from schemas.am_messages import AmEvent
from tests.chaos.orders import Letters, Order, hold_body
from tests.integration.pipeline_process import request

AM_QUEUE: Final = "daifu.am"
ANSWERS: Final = frozenset({"purchase.accepted", "purchase.refused"})
AGAIN_S: Final = 8.0  # without an answer for so long, it is sent again
PATIENCE_S: Final = 5.0
PAUSE_S: Final = 0.25
#: Away, restarted, wiped, cut: that is what a run is about. A handshake that gets no end is none of pika's AMQPErrors.
AWAY: Final = (AMQPError, AMQPConnectorException, OSError)


class Mailbox(threading.Thread):
    """Consumes `daifu.am` for as long as the run lasts; a broker or a queue that is gone is waited for."""

    def __init__(self, url: str) -> None:
        super().__init__(name="mailbox", daemon=True)
        self.events: dict[str, dict[int, str]] = defaultdict(dict)  # order → seq → type
        self.answered: set[str] = set()
        self.reconnected = 0
        self.failure: BaseException | None = None
        self._parameters = pika.URLParameters(url)
        self._parameters.heartbeat = 10
        self._parameters.socket_timeout = 5
        self._parameters.stack_timeout = 5
        self._parameters.blocked_connection_timeout = 10
        self.stopping = threading.Event()

    def known(self) -> int:
        """How many different results were read."""
        return sum(len(events) for events in list(self.events.values()))

    def stop(self) -> None:
        self.stopping.set()
        self.join(15)

    def run(self) -> None:
        try:
            while not self.stopping.is_set():
                try:
                    self._read()
                except AWAY:
                    self.reconnected += 1
                    self.stopping.wait(1.0)
        except BaseException as error:  # reported by the run: an AM that reads nothing more proves nothing
            self.failure = error
            raise

    def _read(self) -> None:
        connection = pika.BlockingConnection(self._parameters)
        try:
            channel = connection.channel()
            channel.basic_qos(prefetch_count=200)
            for method, _properties, body in channel.consume(AM_QUEUE, inactivity_timeout=0.5):
                if self.stopping.is_set():
                    return
                if method is not None:
                    self._take(json.loads(body))
                    channel.basic_ack(method.delivery_tag)
                elif not channel.is_open:
                    return
        finally:
            if connection.is_open:
                connection.close()

    def _take(self, event: dict[str, Any]) -> None:
        order_no = str(event["subject"])
        self.events[order_no][int(event["data"]["seq"])] = str(event["type"])
        if event["type"] in ANSWERS:
            self.answered.add(order_no)


class Upstream(threading.Thread):
    """Sends `orders` evenly over `over_s` seconds, then goes on until each has an answer or it is stopped.

    `deadline_s` is how long the agents' holds last. `withheld`: orders that are booked and never sent (a canary).
    """

    def __init__(
        self,
        url: str,
        sandbox_url: str,
        letters: Letters,
        mailbox: Mailbox,
        orders: Sequence[Order],
        *,
        over_s: float,
        deadline_s: float,
        withheld: frozenset[str] = frozenset(),
    ) -> None:
        super().__init__(name="upstream", daemon=True)
        self.sent = 0
        self.sent_again = 0
        self.failure: BaseException | None = None
        self._sandbox_url, self._letters, self._mailbox = sandbox_url, letters, mailbox
        self._coming = deque(orders)
        self._gap_s = over_s / max(1, len(orders))
        self._deadline_s, self._withheld = deadline_s, withheld
        self._publisher = Publisher(url, None, patience_s=PATIENCE_S, connect_timeout_s=PATIENCE_S)
        self._open: dict[str, tuple[Sequence[AmEvent], float]] = {}  # order → its messages, when they were last sent
        self._stopping = threading.Event()

    @property
    def done(self) -> bool:
        """All is sent and answered."""
        return not self._coming and not self._open

    def raise_failure(self) -> None:
        """What ended this thread, or the one that reads its answers."""
        failure = self.failure or self._mailbox.failure
        if failure is not None:
            raise failure

    def stop(self) -> None:
        self._stopping.set()
        self.join(30)
        self._publisher.close()

    def run(self) -> None:
        try:
            began = time.monotonic()
            while not self._stopping.wait(PAUSE_S):
                self._send_due(began)
                self._send_again()
        except BaseException as error:  # reported by the run, which would otherwise wait for nothing
            self.failure = error
            raise

    def _send_due(self, began: float) -> None:
        events: list[AmEvent] = []
        while self._coming and began + self.sent * self._gap_s <= time.monotonic():
            order = self._coming.popleft()
            self.sent += 1
            status, answer = request(f"{self._sandbox_url}/sandbox/holds", "POST", hold_body(order, self._deadline_s))
            assert status == 201, answer
            if order.order_no in self._withheld:
                continue
            written = self._letters.of(order)
            self._open[order.order_no] = (written, time.monotonic())
            events += written
        self._publish(events)

    def _send_again(self) -> None:
        now = time.monotonic()
        for order_no in [no for no in self._open if no in self._mailbox.answered]:
            del self._open[order_no]
        late = [no for no, (_written, at) in self._open.items() if now - at > AGAIN_S]
        events: list[AmEvent] = []
        for order_no in late:
            written, _at = self._open[order_no]
            events += written
            self._open[order_no] = (written, now)
        self.sent_again += len(late)
        self._publish(events)

    def _publish(self, events: Sequence[AmEvent]) -> None:
        """What the broker did not take is sent again like everything that got no answer."""
        if events:
            self._publisher.publish_many(events)

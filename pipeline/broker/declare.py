"""Bringing the topology to a broker, and comparing a broker with it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import amqp
import kombu
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random

from pipeline.broker.connection import close, connect, safe_url, words
from pipeline.broker.port import BrokerUnavailable
from pipeline.broker.topology import TOPOLOGY, Exchange, Queue, Topology
from pipeline.errors import DaifuError

#: Half typed: to mypy it is untyped, as py-amqp is.
_kombu: Final[Any] = kombu

#: Tries of `apply`, and seconds between them (less up to a half at random).
TRIES: Final = 6
PAUSE_S: Final = 1.0

#: PRECONDITION_FAILED - inequivalent arg 'x-max-length' for queue 'daifu.am' in vhost '/': received … but current is …
_INEQUIVALENT: Final = re.compile(
    r"inequivalent arg '(?P<arg>[^']+)'.*?: received (?P<ours>.*?) but current is (?P<theirs>.*)"
)


class TopologyDiffers(DaifuError):
    """A queue or exchange exists with other arguments. It can only be deleted (when empty) and declared anew."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One way in which the broker is not as `topology.TOPOLOGY` says."""

    object: str
    expected: str
    found: str


def apply(url: str, topology: Topology = TOPOLOGY) -> None:
    """Declare every exchange, queue and binding; what is there already stays as it is. Blocking.

    On `memory://` this holds for the calling process only, as that transport keeps its bindings in process memory.
    Raises TopologyDiffers, BrokerUnavailable.
    """
    if url.startswith("memory:"):
        with _kombu.Connection("memory://") as connection, connection.channel() as channel:
            declare(channel, topology)
        return
    # Two processes that declare the same new quorum queue at once: on 3.10 the slower one's channel or connection may
    # crash. Everything here may be repeated.
    again = Retrying(
        retry=retry_if_exception_type(BrokerUnavailable),
        stop=stop_after_attempt(TRIES),
        wait=wait_random(PAUSE_S / 2, PAUSE_S),
        reraise=True,
    )
    again(_declare_once, url, topology)


def _declare_once(url: str, topology: Topology) -> None:
    connection = connect(url, name="daifu topology apply")
    try:
        declare(connection.channel(), topology)
    except amqp.PreconditionFailed as exc:
        raise TopologyDiffers(f"{words(exc)} (at {safe_url(url)}; see `daifu topology check`)") from exc
    except (OSError, amqp.AMQPError) as exc:
        raise BrokerUnavailable(f"topology not declared at {safe_url(url)}: {words(exc)}") from exc
    finally:
        close(connection)


def remove(url: str, topology: Topology) -> dict[str, int]:
    """Delete every queue and exchange of `topology`, however full; how many messages each queue still had, where any.

    What is missing is passed over. Blocking. Raises BrokerUnavailable.
    """
    connection = connect(url, name="daifu topology remove")
    try:
        channel = connection.channel()
        left = {queue.name: int(channel.queue_delete(queue.name)) for queue in topology.queues}
        for exchange in topology.exchanges:
            channel.exchange_delete(exchange.name)
    except (OSError, amqp.AMQPError) as exc:
        raise BrokerUnavailable(f"topology not removed at {safe_url(url)}: {words(exc)}") from exc
    finally:
        close(connection)
    return {name: count for name, count in left.items() if count}


def declare(channel: Any, topology: Topology = TOPOLOGY) -> None:
    """Declare everything on a channel of kombu's pyamqp or memory transport."""
    for exchange in topology.exchanges:
        _declare_exchange(channel, exchange, passive=False)
    for queue in topology.queues:
        _declare_queue(channel, queue, passive=False)
    for binding in topology.bindings:
        channel.queue_bind(queue=binding.queue, exchange=binding.exchange, routing_key=binding.pattern)


def check(url: str) -> list[Difference]:
    """How exchanges and queues differ, one entry per object; creates and changes nothing. Blocking.

    AMQP can't ask for bindings and policies: `compare.differences` does, where the management API may be asked. On
    `memory://` there is nothing to compare. Raises BrokerUnavailable.
    """
    if url.startswith("memory:"):
        return []
    connection = connect(url, name="daifu topology check")
    try:
        found = [_compare(connection, f"exchange {it.name}", _exchange_declarer(it)) for it in TOPOLOGY.exchanges]
        found += [_compare(connection, f"queue {it.name}", _queue_declarer(it)) for it in TOPOLOGY.queues]
    except (OSError, amqp.AMQPError) as exc:
        raise BrokerUnavailable(f"topology not checked at {safe_url(url)}: {words(exc)}") from exc
    finally:
        close(connection)
    return [difference for difference in found if difference is not None]


Declarer = Callable[[Any, bool], None]


def _exchange_declarer(exchange: Exchange) -> Declarer:
    return lambda channel, passive: _declare_exchange(channel, exchange, passive=passive)


def _queue_declarer(queue: Queue) -> Declarer:
    return lambda channel, passive: _declare_queue(channel, queue, passive=passive)


def _compare(connection: Any, name: str, declarer: Declarer) -> Difference | None:
    # A refused declare closes its channel: each object gets its own.
    channel = connection.channel()
    try:
        # Passive first, so that the declare below, which makes the broker compare arguments, never creates.
        declarer(channel, True)
        declarer(channel, False)
    except amqp.NotFound:
        return Difference(name, "declared", "missing")
    except amqp.PreconditionFailed as exc:
        return _difference(name, words(exc))
    finally:
        channel.close()
    return None


def _difference(name: str, text: str) -> Difference:
    told = _INEQUIVALENT.search(text)
    if told is None:
        return Difference(name, "as declared by daifu", text)
    return Difference(f"{name} {told['arg']}", told["ours"], told["theirs"])


def _declare_exchange(channel: Any, exchange: Exchange, *, passive: bool) -> None:
    channel.exchange_declare(exchange=exchange.name, type="topic", durable=True, auto_delete=False, passive=passive)


def _declare_queue(channel: Any, queue: Queue, *, passive: bool) -> None:
    arguments = dict(queue.arguments)
    channel.queue_declare(queue=queue.name, durable=True, auto_delete=False, passive=passive, arguments=arguments)

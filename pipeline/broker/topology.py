"""The queues and exchanges daifu lives on, as data: nothing here talks to a broker.

    daifu (topic)          order.* purchase.* refund.*  ->  daifu.intake          messages from AM, by type
                           wake.<stage>                 ->  daifu.<stage>         "a work row is due"
                           dead.<stage>                 ->  daifu.<stage>.dlq     dead letters
    daifu.events (topic)   #                            ->  daifu.am              results, for AM

Names are promised in INTERFACES section 3, the rules are DESIGN section 7. Every queue is a durable quorum queue.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final

EXCHANGE: Final = "daifu"
EVENTS: Final = "daifu.events"
AM_QUEUE: Final = "daifu.am"

STAGES: Final = ("intake", "credentials", "payment", "settlement", "notification")

#: What AM sends, by the first word of its type.
INTAKE_PATTERNS: Final = ("order.*", "purchase.*", "refund.*")

#: RabbitMQ 4 drops a message after 20 returns unless told otherwise, and 3.10 knows no "unlimited". Crash loops are
#: counted in the database (DESIGN section 4), so the broker shall never be the one to give up.
DELIVERY_LIMIT: Final = 1_000_000_000

#: `daifu.am` drops its oldest beyond this: AM may be away for days, and `daifu events resend` fills it again.
AM_MAX_LENGTH: Final = 100_000


@dataclass(frozen=True, slots=True)
class Exchange:
    """A durable topic exchange."""

    name: str


@dataclass(frozen=True, slots=True)
class Queue:
    """A durable queue; `arguments` are the `x-…` arguments of its declaration."""

    name: str
    arguments: Mapping[str, str | int] = field(hash=False)


@dataclass(frozen=True, slots=True)
class Binding:
    """Messages of `exchange` whose routing key matches `pattern` go to `queue`."""

    exchange: str
    pattern: str
    queue: str


@dataclass(frozen=True, slots=True)
class Topology:
    exchanges: tuple[Exchange, ...]
    queues: tuple[Queue, ...]
    bindings: tuple[Binding, ...]


def prefixed(topology: Topology, prefix: str) -> Topology:
    """The same topology under other names, `<prefix><name>`: for a bench that must not meet the real one."""

    def arguments(queue: Queue) -> Mapping[str, str | int]:
        named = {name: value for name, value in queue.arguments.items() if name == "x-dead-letter-exchange"}
        return MappingProxyType({**queue.arguments, **{name: f"{prefix}{value}" for name, value in named.items()}})

    return Topology(
        exchanges=tuple(Exchange(f"{prefix}{it.name}") for it in topology.exchanges),
        queues=tuple(Queue(f"{prefix}{it.name}", arguments(it)) for it in topology.queues),
        bindings=tuple(
            replace(it, exchange=f"{prefix}{it.exchange}", queue=f"{prefix}{it.queue}") for it in topology.bindings
        ),
    )


def queue_of(stage: str) -> str:
    """The queue a stage consumes: `daifu.<stage>`."""
    return f"{EXCHANGE}.{_known(stage)}"


def dead_letter_queue_of(stage: str) -> str:
    """The queue of a stage's dead letters: `daifu.<stage>.dlq`."""
    return f"{queue_of(stage)}.dlq"


def wake_key(stage: str) -> str:
    """Routing key on `daifu` of a wake-up for a stage."""
    return f"wake.{_known(stage)}"


def dead_key(stage: str) -> str:
    """Routing key on `daifu` of a stage's dead letters."""
    return f"dead.{_known(stage)}"


def _known(stage: str) -> str:
    if stage not in STAGES:
        raise ValueError(f"{stage!r} is no stage; stages are {', '.join(STAGES)}")
    return stage


def _quorum(**arguments: str | int) -> Mapping[str, str | int]:
    named = {f"x-{name.replace('_', '-')}": value for name, value in arguments.items()}
    return MappingProxyType({"x-queue-type": "quorum", "x-delivery-limit": DELIVERY_LIMIT, **named})


def _stage_queue(stage: str) -> Queue:
    if stage != "intake":
        return Queue(queue_of(stage), _quorum())
    # What upstream sent is nowhere else until intake's commit: should the broker ever set it aside, it must not get
    # lost on the way. At-least-once needs reject-publish; with any other overflow it silently is at-most-once.
    return Queue(
        queue_of(stage),
        _quorum(
            dead_letter_exchange=EXCHANGE,
            dead_letter_routing_key=dead_key(stage),
            dead_letter_strategy="at-least-once",
            overflow="reject-publish",
        ),
    )


TOPOLOGY: Final = Topology(
    exchanges=(Exchange(EXCHANGE), Exchange(EVENTS)),
    queues=(
        # A dead-letter queue stands before the queue that feeds it: no TTL, no length limit.
        *(Queue(dead_letter_queue_of(stage), _quorum()) for stage in STAGES),
        *(_stage_queue(stage) for stage in STAGES),
        Queue(AM_QUEUE, _quorum(max_length=AM_MAX_LENGTH, overflow="drop-head")),
    ),
    bindings=(
        *(Binding(EXCHANGE, dead_key(stage), dead_letter_queue_of(stage)) for stage in STAGES),
        *(Binding(EXCHANGE, wake_key(stage), queue_of(stage)) for stage in STAGES),
        *(Binding(EXCHANGE, pattern, queue_of("intake")) for pattern in INTAKE_PATTERNS),
        Binding(EVENTS, "#", AM_QUEUE),
    ),
)

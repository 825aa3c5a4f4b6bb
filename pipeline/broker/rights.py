"""Who may do what on RabbitMQ: a user for every process, with no more than its work needs. Data, derived from the topology.

RabbitMQ asks three regular expressions of a user (what it may declare, publish to, consume from), and on a topic exchange one
more of the routing key. A worker publishes wake-ups, which only say "look into the database"; what AM says, what a result says
and what lands in a dead-letter queue each have one author.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from pipeline.broker.topology import (
    AM_QUEUE,
    EVENTS,
    EXCHANGE,
    INTAKE_PATTERNS,
    STAGES,
    TOPOLOGY,
    dead_key,
    dead_letter_queue_of,
    queue_of,
    wake_key,
)

NOTHING: Final = "^$"

#: Where RabbitMQ puts the leaders of new quorum queues: spread over the nodes, not all on the one that `topology apply` talked to.
POLICY: Final = "daifu"
POLICY_PATTERN: Final = r"^daifu\."
POLICY_DEFINITION: Final[Mapping[str, str | int]] = MappingProxyType({"queue-leader-locator": "balanced"})


@dataclass(frozen=True, slots=True)
class Rights:
    """Of one user. `keys`: exchange -> which routing keys it may publish there. `tags` open parts of the management API."""

    user: str
    configure: str = NOTHING
    write: str = NOTHING
    read: str = NOTHING
    keys: Mapping[str, str] = field(default_factory=dict, hash=False)
    tags: str = ""


def user_of(process: str) -> str:
    """The user of a stage, or of another process: `daifu-payment`, `daifu-relay`."""
    return f"daifu-{process}"


def only(names: Iterable[str]) -> str:
    """A regular expression for exactly these names."""
    return f"^({'|'.join(re.escape(name) for name in sorted(names))})$"


def _words(pattern: str) -> str:
    """The routing keys of a topic pattern, `*` being one word."""
    return re.escape(pattern).replace(r"\*", "[^.]+")


_WAKE: Final = [wake_key(stage) for stage in STAGES]
_DEAD: Final = [dead_key(stage) for stage in STAGES]


def _worker(stage: str) -> Rights:
    # Only intake meets bytes that nobody can read: they have no row, so it puts them into its dead-letter queue itself.
    keys = [*_WAKE, *([dead_key(stage)] if stage == "intake" else [])]
    return Rights(
        user_of(stage),
        write=only([EXCHANGE]),
        read=only([queue_of(stage)]),
        keys=MappingProxyType({EXCHANGE: only(keys)}),
    )


_EVERYTHING: Final = only(
    [*(exchange.name for exchange in TOPOLOGY.exchanges), *(queue.name for queue in TOPOLOGY.queues)],
)

RIGHTS: Final[tuple[Rights, ...]] = (
    *(_worker(stage) for stage in STAGES),
    Rights(
        user_of("relay"),
        write=only([EXCHANGE, EVENTS]),
        read=only(dead_letter_queue_of(stage) for stage in STAGES),
        keys=MappingProxyType({EXCHANGE: only([*_WAKE, *_DEAD])}),
    ),
    Rights(user_of("serve"), write=only([EXCHANGE]), keys=MappingProxyType({EXCHANGE: only(_WAKE)})),
    # AM: says what happened to orders, hears how purchases ended.
    Rights(
        user_of("am"),
        write=only([EXCHANGE]),
        read=only([AM_QUEUE]),
        keys=MappingProxyType({EXCHANGE: f"^({'|'.join(_words(pattern) for pattern in INTAKE_PATTERNS)})$"}),
    ),
    # `topology apply` and `check`: declares, binds (which reads the exchange and writes the queue), and sees policies.
    Rights(user_of("setup"), _EVERYTHING, _EVERYTHING, _EVERYTHING, tags="policymaker"),
    # KEDA: reads the lengths of queues through the management API, no message.
    Rights(user_of("scaler"), tags="management"),
)

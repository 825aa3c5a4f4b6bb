"""What the management API shows and AMQP does not: bindings, effective policies, strangers among our queues."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from pipeline.broker.declare import Difference
from pipeline.broker.management import Management
from pipeline.broker.rights import POLICY_DEFINITION
from pipeline.broker.topology import TOPOLOGY, Binding, Topology

APPLY_TO_QUORUM_QUEUES: Final = ("all", "queues", "quorum_queues")


def differences(management: Management, topology: Topology = TOPOLOGY) -> list[Difference]:
    """How bindings, policies and queues' names differ; operators' policies too, where the user is told of them.

    Changes nothing. Raises BrokerUnavailable.
    """
    return [
        *_bindings(management.bindings(), topology),
        *_policies(management.policies(), management.operator_policies() or [], topology),
        *_strangers(management.queues(), topology),
    ]


def _bindings(found: Iterable[Mapping[str, Any]], topology: Topology) -> list[Difference]:
    exchanges = {exchange.name for exchange in topology.exchanges}
    queues = {queue.name for queue in topology.queues}
    # Another system may bind a queue of its own to the results; to what AM and daifu say among themselves nobody may.
    ours = {
        Binding(it["source"], it["routing_key"], it["destination"])
        for it in found
        if it["source"] != "" and (it["destination"] in queues or it["source"] in exchanges)
    }
    expected = set(topology.bindings)
    missing = [Difference(_name(it), "bound", "missing") for it in topology.bindings if it not in ours]
    extra = [
        Difference(_name(it), "not bound", "bound")
        for it in sorted(ours - expected, key=lambda it: (it.exchange, it.pattern, it.queue))
        if it.queue in queues or it.exchange == topology.exchanges[0].name
    ]
    return missing + extra


def _name(binding: Binding) -> str:
    return f"binding {binding.exchange} {binding.pattern} {binding.queue}"


def _policies(
    policies: Sequence[Mapping[str, Any]], operators: Sequence[Mapping[str, Any]], topology: Topology
) -> list[Difference]:
    """A policy changes a queue behind its arguments' back: a TTL on a dead-letter queue would lose what it holds."""
    told = []
    for queue in topology.queues:
        held = {**_holds_for(queue.name, policies), **_holds_for(queue.name, operators)}
        for key in sorted(set(held) | set(POLICY_DEFINITION)):
            expected, is_ = POLICY_DEFINITION.get(key), held.get(key)
            if expected != is_:
                told.append(Difference(f"policy of {queue.name} {key}", _said(expected), _said(is_)))
    return told


def _holds_for(queue: str, policies: Iterable[Mapping[str, Any]]) -> Mapping[str, Any]:
    """One policy holds for a queue, the matching one of the highest priority; the patterns are anchored nowhere."""
    matching = [
        it for it in policies if it["apply-to"] in APPLY_TO_QUORUM_QUEUES and re.search(str(it["pattern"]), queue)
    ]
    if not matching:
        return {}
    definition: Mapping[str, Any] = max(matching, key=lambda it: int(it["priority"]))["definition"]
    return definition


def _strangers(found: Iterable[Mapping[str, Any]], topology: Topology) -> list[Difference]:
    """A queue named like ours that this version does not know: nobody consumes it."""
    known = {queue.name for queue in topology.queues}
    prefix = f"{topology.exchanges[0].name}."
    names = sorted(queue["name"] for queue in found if queue["name"].startswith(prefix))
    return [Difference(f"queue {name}", "none of this name", "declared") for name in names if name not in known]


def _said(value: object) -> str:
    return "not set" if value is None else str(value)

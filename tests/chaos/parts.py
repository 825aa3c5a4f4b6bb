"""The parts of a run: which faults, how often. Each plays until its end; `calm` follows each."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final
from urllib.parse import unquote, urlsplit

from tests.chaos.cluster import Cluster
from tests.chaos.faults import CALM_S, PAYMENT, Fire
from tests.chaos.stack import ARGUMENTS
from tests.integration.pipeline_process import until

RELAY_AWAY_S: Final = (10.0, 40.0)
LEADER_QUEUES: Final = ("daifu.payment", "daifu.intake")


def workers(fire: Fire) -> None:
    """One act of: killed, frozen longer than the lease, asked to end; sometimes several, sometimes all of payment."""
    dice = fire.chance.random()
    if dice < 0.48:
        fire.kill(fire.someone(), down_s=fire.chance.choice((0.0, 0.0, 2.0)))
    elif dice < 0.60:
        fire.cut_power(fire.someone())
    elif dice < 0.78:
        fire.freeze(fire.someone())
    elif dice < 0.88:
        fire.terminate(fire.someone())
    elif dice < 0.96:
        fire.kill(*PAYMENT)
    else:
        fire.kill(*ARGUMENTS)
    fire.wait(fire.chance.uniform(1.0, 5.0))


def network(fire: Fire) -> None:
    fire.disturb_network()
    fire.wait(fire.chance.uniform(0.5, 4.0))


def postgres(fire: Fire) -> None:
    """Every 5 to 20 seconds; now and then a worker dies during it."""
    fire.restart_database(at_once=fire.chance.random() < 0.6)
    if fire.chance.random() < 0.3:
        fire.kill(fire.someone())
    fire.wait(fire.chance.uniform(5.0, 20.0))


def rabbitmq(fire: Fire) -> None:
    dice = fire.chance.random()
    if dice < 0.5:
        fire.wipe_broker()
    else:
        fire.restart_broker(at_once=dice < 0.8)
    if fire.chance.random() < 0.5:
        fire.kill(fire.someone())
    fire.wait(fire.chance.uniform(5.0, 15.0))


def relay(fire: Fire) -> None:
    """Nobody wakes what is due; meanwhile workers die, so that there is much to wake afterwards."""
    away_s = fire.chance.uniform(*RELAY_AWAY_S)
    fire.kill("relay", down_s=away_s)
    end = time.monotonic() + away_s
    while time.monotonic() < end:
        fire.kill(fire.chance.choice((*PAYMENT, "settlement", "notification")))
        fire.wait(min(fire.chance.uniform(3.0, 10.0), max(0.0, end - time.monotonic())))
    fire.wait(fire.chance.uniform(5.0, 10.0))


class ClusterPart:
    """The broker becomes a cluster of three (for daifu: another, empty broker at the same address), then loses the node
    that leads a queue, under load; the node returns. `close` ends the cluster."""

    def __init__(self) -> None:
        self.cluster: Cluster | None = None

    def __call__(self, fire: Fire) -> None:
        cluster = self.cluster or self._move_in(fire)
        vhost = fire.stack.vhost
        queue = fire.chance.choice(LEADER_QUEUES)
        leader = cluster.leader_of(vhost, queue)
        leader.kill()
        fire.stack.tally["leader nodes killed"] += 1
        fire.say(f"killed {leader.name}, the leader of {queue}")
        fire.wait(fire.chance.uniform(15.0, 25.0))
        cluster.return_of(leader)
        fire.say(f"{leader.name} is back")
        fire.wait(fire.chance.uniform(10.0, 20.0))

    def _move_in(self, fire: Fire) -> Cluster:
        stack = fire.stack
        parts = urlsplit(stack.broker_url)
        cluster = self.cluster = Cluster(unquote(parts.username or ""), unquote(parts.password or ""))
        began = time.monotonic()
        cluster.start()
        fire.say(f"a cluster of three formed in {time.monotonic() - began:.0f} s")
        until("the cluster has the virtual host", lambda: cluster.took_vhost(stack.vhost), CALM_S)
        stack.move_broker(cluster)
        until("the topology is in the cluster", stack.declare, CALM_S)
        fire.say("the broker is the cluster now")
        fire.wait(10.0)
        return cluster

    def close(self) -> None:
        if self.cluster is not None:
            self.cluster.close()


PARTS: Final[Mapping[str, Callable[[Fire], None]]] = MappingProxyType(
    {"workers": workers, "network": network, "postgres": postgres, "rabbitmq": rabbitmq, "relay": relay}
)
CLUSTER: Final = "cluster"
#: Of the whole run. The cluster comes last: the broker stays there.
SHARES: Final[Mapping[str, float]] = MappingProxyType(
    {"workers": 0.22, "network": 0.22, "postgres": 0.20, "rabbitmq": 0.15, "relay": 0.07, CLUSTER: 0.14}
)

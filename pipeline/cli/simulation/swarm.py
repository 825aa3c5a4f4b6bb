"""What a seed is: which kinds of faults are on, how strong each is, who does what, and the settings of the house.

Each seed leaves kinds out at random (swarm testing): a run in which everything fails at once never gets deep.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from pipeline.railway.sandbox.behaviours import BEHAVIOURS
from pipeline.settings import Settings

HEALTHY = "ok"
STORMS = 4  # every so many-th seed


@dataclass(frozen=True, slots=True)
class Rates:
    """How likely each fault is at each point that a process passes; 0 is off."""

    death: float
    death_in_recovery: float  # of a process that has just come back from a death
    freeze: float
    statement: float  # of a transaction: one of its statements fails
    before_commit: float  # the transaction does not happen
    commit_unknown: float  # it happens, or not, and nobody is told
    publish: float
    lost_answer: float  # 12306 or the cashier did what was asked, and the answer is lost
    connections: float  # the broker's connections break right here


@dataclass(frozen=True, slots=True)
class Weather:
    """How often what comes over everybody comes: mean seconds between, None where it never does."""

    connections_s: float | None
    broker_down_s: float | None
    disk_lost_s: float | None
    database_down_s: float | None
    outage_s: float | None
    skew_s: float | None
    agents_s: float | None
    relay_away_s: float | None
    redeploy_s: float | None


@dataclass(frozen=True, slots=True)
class Swarm:
    """One seed, drawn."""

    seed: int
    workers: int
    rates: Rates
    weather: Weather
    copies: float  # how likely a message arrives twice
    late: float  # how likely it arrives late
    late_by_s: float
    shuffled: bool
    slow: float  # how likely an answer from outside takes its time
    slow_by_s: float
    behaviours: tuple[str, ...]  # of holds, the healthy one first
    healthy: float  # how likely a hold is healthy
    strikes_per_order: float  # faults that are aimed: every point that was seen is as likely as any other
    in_flight: float  # how likely a form reaches the cashier only after we have given up waiting
    sets_back: float  # how likely 12306's clock is set back meanwhile, so far that the form is still taken after deadline + grace
    acts_per_order: float  # of people, aimed likewise
    acts: tuple[str, ...]  # which of people's acts this seed knows
    shared_accounts: float
    wrong_clocks: float  # how likely a process runs on a machine whose clock is wrong
    fund_orders: float  # the fund pays for so much of all orders
    settings: Settings


def stream(seed: int, name: str) -> random.Random:
    """A source of randomness of its own, so that one part drawing more changes no other part."""
    return random.Random(f"daifu:{seed}:{name}")  # text is hashed by SHA-512, whatever PYTHONHASHSEED says


class _Draw:
    def __init__(self, source: random.Random) -> None:
        self.source = source

    def rate(self, least: float, most: float, likely: float = 0.5) -> float:
        """0, or something between the two, evenly on a logarithmic scale."""
        on, place = self.source.random() < likely, self.source.random()
        return float(least * (most / least) ** place) if on else 0.0

    def every(self, least_s: float, most_s: float, likely: float = 0.4) -> float | None:
        return self.rate(least_s, most_s, likely) or None

    def some(self, names: Sequence[str], likely: float) -> tuple[str, ...]:
        return tuple(name for name in names if self.source.random() < likely)


def draw(seed: int, acts: Sequence[str]) -> Swarm:
    """The swarm of a seed; every fourth is a storm. `acts`: all that people can do."""
    return storm(seed, acts) if seed % STORMS == 0 else _mixed(seed, acts)


def storm(seed: int, acts: Sequence[str]) -> Swarm:
    """Nearly every hold is healthy, 12306 is slow, and what is aimed is aimed at payments that would go well."""
    mixed = _mixed(seed, acts)
    source = stream(seed, "storm")
    return replace(
        mixed,
        workers=2,
        weather=replace(mixed.weather, broker_down_s=None, disk_lost_s=None, outage_s=None, skew_s=None),
        slow=1.0,
        slow_by_s=source.choice((0.5, 2.0, 5.0)),
        healthy=0.9,
        in_flight=0.3,
        strikes_per_order=4.0,
        acts_per_order=4.0,
        acts=tuple(acts),
        fund_orders=5.0,
    )


def _mixed(seed: int, acts: Sequence[str]) -> Swarm:
    one = _Draw(stream(seed, "swarm"))
    source = one.source
    ill = tuple(sorted(set(BEHAVIOURS) - {HEALTHY}))
    return Swarm(
        seed=seed,
        workers=source.choice((1, 2)),
        rates=Rates(
            death=one.rate(0.001, 0.02),
            death_in_recovery=one.rate(0.01, 0.2),
            freeze=one.rate(0.0005, 0.01),
            statement=one.rate(0.002, 0.03),
            before_commit=one.rate(0.002, 0.03),
            commit_unknown=one.rate(0.002, 0.03),
            publish=one.rate(0.001, 0.05),
            lost_answer=one.rate(0.001, 0.05),
            connections=one.rate(0.0003, 0.005),
        ),
        weather=Weather(
            connections_s=one.every(60, 1_200),
            broker_down_s=one.every(300, 3_600),
            disk_lost_s=one.every(300, 3_600),
            database_down_s=one.every(120, 3_600),
            outage_s=one.every(300, 3_600),
            skew_s=one.every(600, 3_600, 0.25),
            agents_s=one.every(60, 1_200),
            relay_away_s=one.every(300, 3_600),
            redeploy_s=one.every(300, 3_600),
        ),
        copies=one.rate(0.02, 0.5),
        late=one.rate(0.02, 0.5),
        late_by_s=source.choice((0.1, 2.0, 30.0, 400.0)),
        shuffled=source.random() < 0.5,
        slow=one.rate(0.05, 1.0, 0.7),
        slow_by_s=source.choice((0.2, 1.0, 4.0, 20.0)),
        behaviours=(HEALTHY, *one.some(ill, source.choice((0.1, 0.5, 1.0)))),
        healthy=source.choice((0.4, 0.7, 0.9)),
        strikes_per_order=source.choice((0.0, 1.0, 2.0, 4.0)),
        in_flight=one.rate(0.1, 0.6),
        sets_back=_Draw(stream(seed, "sets_back")).rate(0.3, 1.0, 0.4),
        acts_per_order=source.choice((0.0, 1.0, 2.0, 3.0)),
        acts=one.some(acts, source.choice((0.3, 0.7, 1.0))),
        shared_accounts=source.choice((0.0, 0.0, 0.2, 0.6)),
        wrong_clocks=_Draw(stream(seed, "wrong_clocks")).rate(0.1, 1.0, 0.3),
        fund_orders=source.choice((5.0, 5.0, 0.5)),
        settings=_settings(source),
    )


def _settings(source: random.Random) -> Settings:
    """Shorter than in production where that only saves virtual time; nothing that weakens a rule."""
    return Settings(
        verify_window_s=source.choice((4_800.0, 7_200.0, 10_800.0)),
        lease_s=source.choice((45.0, 90.0, 120.0)),
        relay_patience_s=source.choice((1.0, 5.0, 20.0)),
        order_wait_s=source.choice((60.0, 300.0)),
        callback_schedule_s=source.choice(((5.0, 60.0), (5.0, 300.0, 1_800.0), (5.0, 60.0, 300.0, 900.0, 1_800.0))),
        four_eyes_fen=source.choice((500_000, 100_000)),
        railway_concurrency=source.choice((None, None, 3)),
        railway_rate=source.choice((None, None, 2.0)),
    )

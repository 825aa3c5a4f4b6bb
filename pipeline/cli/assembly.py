"""Putting stages together from settings and ports. Every process, `daifu up` and the tests of virtual time use these.

Nothing here opens a connection or reads a file: what talks to the outside comes in. A stage's modules are loaded when it is
put together: a process that runs one stage starts faster and stays smaller without the other four.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.breaker import Breaker
from pipeline.call_runner import CallRunner
from pipeline.errors import Upstream
from pipeline.ports import AgentCaller, Cashier, Railway, Randomness
from pipeline.runner import Ports
from pipeline.settings import Settings
from pipeline.stage import Executor
from pipeline.store.engine import Store
from pipeline.transaction_runner import IntakeRunner, TransactionRunner
from pipeline.vault import KeyRing, Sealer

if TYPE_CHECKING:
    from pipeline.acceptance import Limits

PAYMENT_PLACES = 4000  # payments in flight in one worker; memory allows more, deadlines of what is claimed would not
NOTIFICATION_PLACES = 600  # half of them on their way while the others are recorded
PROBE_S = 5.0

AnyRunner = IntakeRunner | TransactionRunner | CallRunner


@dataclass(frozen=True, slots=True)
class PaymentOutside:
    """What the payment stage talks to, and the key ring that only it holds."""

    railway: Railway
    cashier: Cashier
    vault: KeyRing


@dataclass(frozen=True, slots=True)
class NotificationOutside:
    caller: AgentCaller
    service_keys: KeyRing


@dataclass(frozen=True, slots=True)
class PaymentParts:
    runner: CallRunner
    breakers: tuple[Breaker, Breaker]


def limits_of(settings: Settings) -> Limits:
    from pipeline.acceptance import Limits

    return Limits(settings.submit_within_s, settings.order_wait_s)


def intake_runner(settings: Settings, service_key: Sealer, ports: Ports, *, careful: bool = False) -> IntakeRunner:
    from consumers.intake import Intake

    return IntakeRunner(Intake(limits_of(settings), service_key, ports.clock), ports, careful=careful)


def credentials_runner(ports: Ports, *, careful: bool = False) -> TransactionRunner:
    from consumers.credentials import Credentials

    return TransactionRunner(Credentials(), ports, careful=careful)


def settlement_runner(ports: Ports, *, careful: bool = False) -> TransactionRunner:
    from consumers.settlement import Settlement

    return TransactionRunner(Settlement(), ports, careful=careful)


def notification_runner(
    settings: Settings, outside: NotificationOutside, ports: Ports, randomness: Randomness, worker: str
) -> CallRunner:
    from consumers.notification import Notification

    stage = Notification(
        outside.caller,
        outside.service_keys,
        ports.clock,
        randomness,
        worker,
        settings.callback_schedule_s,
        settings.lease_s,
        ports.metrics.called_back,
    )
    return CallRunner(stage, ports, NOTIFICATION_PLACES)


def payment_parts(
    settings: Settings, outside: PaymentOutside, ports: Ports, randomness: Randomness, worker: str
) -> PaymentParts:
    """The payment stage with its breakers; the caller runs `breaker.watch()` of both beside the runner."""
    from consumers.payment import Payment, intent_follow_up
    from consumers.payment_calls import PaymentCalls
    from consumers.payment_login import Login
    from consumers.payment_questions import PayTimes, Questions
    from pipeline.intents import IntentWriter
    from pipeline.store.pace import Pace
    from pipeline.traced import TracedCashier, TracedRailway

    store, executor, clock = ports.store, ports.executor, ports.clock
    railway, cashier = outside.railway, outside.cashier
    if ports.traces is not None:
        railway, cashier = TracedRailway(railway, clock), TracedCashier(cashier, clock)
    railway_breaker = _breaker(settings, "railway", outside, store, executor)
    cashier_breaker = _breaker(settings, "cashier", outside, store, executor)
    login = Login(railway, outside.vault, store, executor, clock, railway_breaker)
    intents = IntentWriter(store, executor, clock, intent_follow_up(worker, settings.lease_s))
    times = PayTimes(
        margin_s=settings.pay_margin_s,
        grace_s=settings.pay_grace_s,
        lease_s=settings.lease_s,
        pay_timeout_s=settings.pay_timeout_s,
        in_hand_retry_s=settings.in_hand_retry_s,
        intent_age_s=settings.intent_age_s,
        list_retry_s=settings.list_retry_s,
    )
    questions = Questions(login, cashier, clock, railway_breaker, cashier_breaker, times)
    calls = PaymentCalls(
        login,
        cashier,
        intents,
        store,
        executor,
        clock,
        randomness,
        railway_breaker,
        cashier_breaker,
        questions,
        times,
    )

    def ready() -> bool:
        return not (railway_breaker.is_open or cashier_breaker.is_open)

    paces = (
        Pace("railway", settings.railway_rate, settings.railway_concurrency),
        Pace("cashier", settings.cashier_rate, settings.cashier_concurrency),
    )
    stage = Payment(calls, questions, worker, settings.lease_s, settings.list_retry_s, randomness, ready, paces)
    return PaymentParts(CallRunner(stage, ports, PAYMENT_PLACES), (railway_breaker, cashier_breaker))


def _breaker(
    settings: Settings, upstream: Upstream, outside: PaymentOutside, store: Store, executor: Executor
) -> Breaker:
    probe = outside.railway.probe if upstream == "railway" else outside.cashier.probe
    probe_s = min(PROBE_S, settings.in_hand_retry_s)
    return Breaker(upstream, probe, store, executor, probe_s=probe_s, window_s=settings.verify_window_s)

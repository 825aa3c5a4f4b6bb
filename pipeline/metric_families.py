"""Every metric there is: its name as PromQL spells it, what it means, who serves it. `deploy/docs/metrics.md` is written from here.

`process`: counted by each process for itself, summed over instances. `relay`: read from the database by the relay, for the
whole installation; several relays serve the same figures, so take their maximum, never their sum.
Labels have few values, none of them from outside: no order, no account, no text of an error.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

Kind = Literal["counter", "gauge", "histogram"]
ServedBy = Literal["process", "relay"]

SECONDS_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)
# From an agent's request to its proven outcome: a question may be open for a day.
END_TO_END_BUCKETS: Final = (1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1200, 1800, 3600, 86_400)


class Family(NamedTuple):
    name: str
    kind: Kind
    served_by: ServedBy
    labels: tuple[str, ...]
    help: str


#: The values of one family, by its labels' values in their order.
Values = Mapping[tuple[str, ...], float]


class Ended(NamedTuple):
    """Purchases concluded in one stretch of time that ended alike and took as long: `place` is the bucket of END_TO_END_BUCKETS
    that they fall into, one more for those above the last. `seconds` is their sum."""

    outcome: str
    reason: str
    place: int
    purchases: int
    seconds: float


#: OpenTelemetry's messaging metrics (semantic conventions 1.3x, status Development), as its Prometheus exporter would name them.
_DESTINATION: Final = ("messaging_system", "messaging_operation_name", "messaging_destination_name")

FAMILIES: Final[tuple[Family, ...]] = (
    Family("daifu_purchases_total", "counter", "relay", ("outcome", "reason"),
           "Purchases concluded since the relay started, by outcome and reason (empty: purchased)"),
    Family("daifu_end_to_end_seconds", "histogram", "relay", ("outcome",),
           "From the agent's request to the proven outcome of its purchase"),
    Family("daifu_in_flight_fen", "gauge", "relay", (), "Money whose fate is open, in fen: the ledger's account in flight"),
    Family("daifu_in_flight_age_fen", "gauge", "relay", ("from_s", "state"),
           "The same by the seconds since it was submitted, from that many on up to the next value; in_doubt: questions are still "
           "asked, abnormal: only a person closes it"),
    Family("daifu_in_doubt", "gauge", "relay", (), "Purchases submitted with unknown outcome"),
    Family("daifu_in_doubt_oldest_seconds", "gauge", "relay", (),
           "How long ago the oldest of them was submitted; 0 without any"),
    Family("daifu_holds_expiring", "gauge", "relay", ("within_s", "what"),
           "Holds that end unpaid within that many seconds: purchase, not submitted yet; dead_letter, could still be replayed"),
    Family("daifu_holds_expiring_fen", "gauge", "relay", ("within_s", "what"), "Their sum in fen"),
    Family("daifu_dead_letters_open", "gauge", "relay", ("stage", "reason"), "Open dead letters"),
    Family("daifu_tasks_open", "gauge", "relay", ("kind",), "Tasks that wait for a person"),
    Family("daifu_breaker_open", "gauge", "relay", ("upstream",),
           "1 while the breaker is open: nothing is claimed for payment, one worker probes"),
    Family("daifu_breaker_open_seconds", "gauge", "relay", ("upstream",), "For how long it has been open; 0 while closed"),
    Family("daifu_pauses", "gauge", "relay", ("scope",), "Pauses that people set: stage, agent, account"),
    Family("daifu_paying_paused", "gauge", "relay", (), "1 after `daifu recover --since`, until every hold since was asked about"),
    Family("daifu_procurement_fen", "gauge", "relay", ("agent",),
           "An agent's procurement fund in fen; the 200 lowest are served"),
    Family("daifu_funds_missing_fen", "gauge", "relay", (),
           "What all procurement funds together lack for the purchases that wait to be paid from them, in fen"),
    Family("daifu_work_due", "gauge", "relay", ("stage",), "Work rows that are due and that nobody has in hand"),
    Family("daifu_work_in_hand", "gauge", "relay", ("stage",), "Work rows that a living worker has in hand"),
    Family("daifu_work_failing", "gauge", "relay", ("stage",), "Work rows that failed at least once and are tried again"),
    Family("daifu_work_oldest_due_seconds", "gauge", "relay", ("stage",),
           "Queue age: how long the oldest due row has waited; 0 without any"),
    Family("daifu_waiting_for_account", "gauge", "relay", (),
           "Purchases and questions that wait because a call is using their 12306 account"),
    Family("daifu_workers_alive", "gauge", "relay", ("stage",), "Workers whose heartbeat is fresh"),
    Family("daifu_queue_messages", "gauge", "relay", ("queue",), "Messages ready in the queue, as the broker says"),
    Family("daifu_queue_consumers", "gauge", "relay", ("queue",), "Consumers of the queue, as the broker says"),
    Family("daifu_results_unsent", "gauge", "relay", (), "Results for AM that the broker has not confirmed yet"),
    Family("daifu_relay_lag_seconds", "gauge", "relay", (), "How long the oldest due, unclaimed row has been due"),
    Family("daifu_audit_broken", "gauge", "relay", ("invariant",), "Breaches found by the last audit"),
    Family("daifu_audit_last_run_timestamp_seconds", "gauge", "relay", (), "When the last audit began"),
    Family("daifu_connected", "gauge", "process", ("part", "to"), "1 while this part reaches its database, its broker"),
    Family("daifu_key_created_timestamp_seconds", "gauge", "process", ("ring",),
           "When the current key of a ring was made, by the processes that hold the ring; none for rings older than this metric"),
    Family("daifu_critical_time_seconds", "histogram", "process", ("stage",),
           "From the moment a step was made true to its end (intake: from AM's time on; notification: from the intent on, which plans the "
           "telling)"),
    Family("daifu_call_seconds", "histogram", "process", ("stage",), "Time of one call to 12306 and cashier, or to an agent"),
    Family("daifu_lease_conflicts_total", "counter", "process", ("stage",),
           "Work that somebody else had taken over or removed by the time this worker recorded its result"),
    Family("daifu_callbacks_total", "counter", "process", ("agent", "outcome"),
           "Calls to agents: delivered, refused (no ret true), http_error, gone (410), unreachable; agents beyond 200 are `other`"),
    Family("daifu_messages_total", "counter", "process", ("stage",), "Messages taken"),
    Family("daifu_door_requests_total", "counter", "process", ("type", "err_code"),
           "Requests that the agents' door answered; no err_code: ret true"),
    Family("daifu_door_seconds", "histogram", "process", ("type",),
           "From a request's head to its answer at the agents' door"),
    Family("messaging_client_consumed_messages_total", "counter", "process", _DESTINATION,
           "OpenTelemetry messaging.client.consumed.messages: messages delivered to this process, by queue"),
    Family("messaging_client_sent_messages_total", "counter", "process", _DESTINATION,
           "OpenTelemetry messaging.client.sent.messages: messages the broker confirmed, by exchange"),
    Family("messaging_client_operation_duration_seconds", "histogram", "process", (*_DESTINATION, "error_type"),
           "OpenTelemetry messaging.client.operation.duration: publishing one batch until it is confirmed"),
    Family("messaging_process_duration_seconds", "histogram", "process", (*_DESTINATION, "error_type"),
           "OpenTelemetry messaging.process.duration: from a batch's delivery to its ack; the calls of a stage that has any come "
           "after it, in daifu_call_seconds"),
)  # fmt: skip

BY_NAME: Final = {family.name: family for family in FAMILIES}

HEAD = """# Metrics

Written by `python -m pipeline.metric_families > deploy/docs/metrics.md`; a test fails when it is stale.

Every process serves `/metrics` on `DAIFU_HEALTH_LISTEN`. What says **relay** is read from the database by the relay, for the whole
installation: several relays serve the same figures, so take `max`, never `sum`. A relay that can't read the database stops
serving them: `absent()` is true then, and no stale figure is shown. What says **process** is counted by each process for itself.
Amounts are in fen (分), times in seconds. Labels never hold an order, an account or a text from outside.
Histograms have `_bucket`, `_sum` and `_count`.

| metric | type | by | labels | meaning |
|---|---|---|---|---|
"""


def page() -> str:
    """The whole page, as it must stand in deploy/docs/metrics.md."""
    return HEAD + "".join(
        f"| `{one.name}` | {one.kind} | {one.served_by} | {' '.join(f'`{label}`' for label in one.labels) or '–'} | {one.help} |\n"
        for one in FAMILIES
    )


if __name__ == "__main__":
    sys.stdout.write(page())

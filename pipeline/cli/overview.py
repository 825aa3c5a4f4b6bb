"""`daifu overview`: what the console's page shows, once."""

from __future__ import annotations

from typing import Any

import click

from pipeline.broker.gauge import count_once
from pipeline.cli.context import query, read_settings
from pipeline.cli.output import as_json, emit, table, yuan
from pipeline.glance import glance

STAGE = (
    "stage",
    "queue",
    "dead_letter_queue",
    "due",
    "oldest_due_s",
    "in_hand",
    "later",
    "per_minute",
    "failing",
    "dead_letters",
    "workers",
    "paused",
)
ENDING = ("within_s", "purchases", "amount", "dead_letters", "dead_letters_amount")
AGES = ("from_s", "in_doubt", "in_doubt_amount", "abnormal", "abnormal_amount")
HOURS = ("hour", "purchased", "held_unpaid", "paid_abnormal")


@click.command()
@as_json
def overview(*, json_: bool) -> None:
    """Stages and their queues, holds that end soon, money in flight, outcomes per hour, the last audit."""
    settings = read_settings()
    depths = count_once(settings.broker_url)
    seen = query(lambda tx: glance(tx, depths), settings)
    emit(seen, json_=json_, human=lambda: _told(seen))


def _told(seen: dict[str, Any]) -> str:
    stages = [{**one, "paused": _why(one["paused"])} for one in seen["stages"]]
    holds, ages = [_in_yuan(one) for one in seen["holds"]], [_in_yuan(one) for one in seen["in_flight"]["ages"]]
    hours = [one for one in seen["hours"] if any(one[outcome] for outcome in HOURS[1:])]
    audit, broker, since = seen["audit"], seen["broker"], seen["paying_paused_since"]
    parts = [
        table(stages, STAGE),
        *([f"queues not counted: {broker['trouble']}"] if broker["trouble"] else []),
        *(f"queue {name} is missing: run `daifu topology apply`" for name in broker["missing"]),
        *([f"paying is paused since a restore ({since}): see `daifu recover`"] if since else []),
        *(f"breaker {one['upstream']}: open since {one['open_since']}: {one['detail']}" for one in seen["breakers"]),
        *(f"paused {one['scope']} {one['name']}: {_why(one)}" for one in seen["pauses"]),
        f"holds that end soon\n{table(holds, ENDING)}",
        f"in flight {yuan(seen['in_flight']['total_fen'])}\n{table(ages, AGES)}",
        f"outcomes per hour\n{table(hours, HOURS)}",
        f"open tasks\n{table(seen['tasks'], ('kind', 'tasks', 'free', 'oldest_at'))}",
        "last audit: none yet" if audit is None else f"last audit {audit['at']}: {_verdict(audit)}",
    ]
    return "\n\n".join(parts)


def _in_yuan(row: dict[str, Any]) -> dict[str, Any]:
    amounts = {f"{name.removesuffix('_fen')}_amount": yuan(fen) for name, fen in row.items() if name.endswith("_fen")}
    return {**row, **amounts, "amount": yuan(row.get("amount_fen"))}


def _why(pause: dict[str, Any] | None) -> str | None:
    return None if pause is None else f"{pause['reason']} ({pause['actor']}, {pause['at']})"


def _verdict(audit: dict[str, Any]) -> str:
    return "ok" if audit["ok"] else f"broken: {', '.join(audit['broken'])}"

"""`daifu dead-letters`: dry run first, each replay a transaction of its own, result per item."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict

import click

from pipeline import operations_dead_letters, operations_replay
from pipeline.acceptance import Limits
from pipeline.cli.context import acting, opened, query, read_settings, write
from pipeline.cli.output import as_json, emit, fields, note, table
from pipeline.operations_import import Rules
from pipeline.operations_replay import ReplayResult
from pipeline.reasons import Reason
from pipeline.settings import Settings
from pipeline.store import dead_letters as letter_store
from pipeline.store.engine import Store, Transaction
from pipeline.store.queries import Json
from pipeline.store.queries_desk import letter, letter_groups, list_letters
from pipeline.store.work import STAGES
from pipeline.vault import KeyRing, VaultError

COLUMNS = (
    "id", "stage", "order_no", "generation", "agent", "reason", "attempts",
    "amount_fen", "deadline", "state", "replays", "replay", "detail",
)  # fmt: skip
STATES = ("open", "replayed", "discarded", "superseded")


@click.group()
def dead_letters() -> None:
    """What a stage could not finish; replay."""


@dead_letters.command("list")
@click.option("--stage", type=click.Choice(STAGES))
@click.option("--reason", type=click.Choice([reason.value for reason in Reason]))
@click.option("--state", type=click.Choice(STATES))
@as_json
def list_(stage: str | None, reason: str | None, state: str | None, *, json_: bool) -> None:
    """Dead letters, open ones first, nearest deadline first."""
    rows = query(lambda tx: list_letters(tx, stage=stage, reason=reason, state=state))
    emit(rows, json_=json_, human=lambda: table(rows, COLUMNS))
    if not json_ and rows:
        groups = query(letter_groups)
        note("\nopen, by reason:\n" + table(groups, ("reason", "words", "letters", "amount_fen", "deadline")))


@dead_letters.command("show")
@click.argument("letter_id", metavar="ID", type=int)
@as_json
def show(letter_id: int, *, json_: bool) -> None:
    """One dead letter, and what a replay would do now."""
    settings = read_settings()
    rules = _rules(settings)

    def work(tx: Transaction) -> Json:
        row = operations_replay.find_letter(tx, letter_id)
        plan = operations_replay.would_replay(tx, row, rules)
        return {**letter(row), "would": plan.result, "why": plan.why}

    found = query(work, settings)
    emit(found, json_=json_, human=lambda: fields(found))


@dead_letters.command("replay")
@click.argument("ids", metavar="ID…", type=int, nargs=-1)
@click.option("--reason", type=click.Choice([reason.value for reason in Reason]), help="All open ones of this reason.")
@click.option("--all", "all_", is_flag=True, help="All open ones.")
@click.option("--dry-run", is_flag=True, help="Only say what would happen.")
@click.option("--rate", type=click.FloatRange(min=0, min_open=True), metavar="N", help="At most N replays per second.")
@click.option("--agreed", metavar="TEXT", help="Who of the agent agreed, where payStatus 2 was delivered before.")
@as_json
@acting
def replay(
    ids: tuple[int, ...],
    reason: str | None,
    *,
    all_: bool,
    dry_run: bool,
    rate: float | None,
    agreed: str | None,
    json_: bool,
    actor: str,
) -> None:
    """Do the work of dead letters again, under guards. Ctrl-C stops between two; exit 4 when all were refused."""
    if (len(ids) > 0) + (reason is not None) + all_ != 1:
        raise click.UsageError("name dead letters by ID, or give --reason R, or --all")
    settings = read_settings()
    rules = _rules(settings)
    with opened(settings) as store:
        chosen = list(ids) if ids else store.read(lambda tx: _open_ids(tx, reason))
        if dry_run:
            results = [_dry_run(store, letter_id, rules) for letter_id in chosen]
        else:
            results = list(_replay_each(store, chosen, rules, actor, rate, agreed))
    rows = [asdict(result) for result in results]
    emit(rows, json_=json_, human=lambda: table(rows, ("id", "result", "why")))
    if rows and all(row["result"] == "refused" for row in rows):
        click.get_current_context().exit(4)


def _dry_run(store: Store, letter_id: int, rules: Rules) -> ReplayResult:
    def work(tx: Transaction) -> ReplayResult:
        plan = operations_replay.would_replay(tx, operations_replay.find_letter(tx, letter_id), rules)
        # The same two words as a replay itself, so that one reader fits both.
        return ReplayResult(plan.id, "replayed" if plan.result == "replay" else "refused", plan.why)

    return store.read(work)


def _replay_each(
    store: Store, ids: Sequence[int], rules: Rules, actor: str, rate: float | None, agreed: str | None
) -> Iterator[ReplayResult]:
    pause = threading.Event()  # never set: it waits, and Ctrl-C ends the wait
    for place, letter_id in enumerate(ids):
        try:
            if place and rate is not None:
                pause.wait(1 / rate)
            result = _replay_one(store, letter_id, rules, actor, agreed)
        except KeyboardInterrupt:
            note(f"stopped: {place} of {len(ids)} done")
            return
        note(f"{place + 1}/{len(ids)} dead letter {result.id}: {result.result} {result.why}".rstrip())
        yield result


def _replay_one(store: Store, letter_id: int, rules: Rules, actor: str, agreed: str | None) -> ReplayResult:
    return store.write(lambda tx: operations_replay.replay(tx, letter_id, actor, rules, agreed=agreed)).value


def _open_ids(tx: Transaction, reason: str | None) -> list[int]:
    return [row.id for row in letter_store.find(tx, stage=None, reason=reason, state="open")]


def _rules(settings: Settings) -> Rules:
    limits = Limits(settings.submit_within_s, settings.order_wait_s)
    try:
        keys: KeyRing | None = KeyRing.load(settings.service_keys_path)
    except VaultError:
        keys = None  # only undecodable messages need it; replaying one says so
    return Rules(limits, settings.pay_margin_s, keys)


@contextmanager
def _telling(letter_id: int, state: str, *, json_: bool) -> Iterator[None]:
    yield
    emit({"id": letter_id, "state": state}, json_=json_, human=lambda: f"dead letter {letter_id}: {state}")


@dead_letters.command("discard")
@click.argument("letter_id", metavar="ID", type=int)
@click.option("--reason", required=True, metavar="TEXT", help="Why nobody shall replay it.")
@as_json
@acting
def discard(letter_id: int, reason: str, *, json_: bool, actor: str) -> None:
    """Close it without replaying; a live purchase without a payment intent ends held_unpaid, withdrawn."""
    with _telling(letter_id, "discarded", json_=json_):
        write(lambda tx: operations_dead_letters.discard(tx, letter_id, reason, actor))


@dead_letters.command("restore")
@click.argument("letter_id", metavar="ID", type=int)
@as_json
@acting
def restore(letter_id: int, *, json_: bool, actor: str) -> None:
    """Open a discarded one again."""
    with _telling(letter_id, "open", json_=json_):
        write(lambda tx: operations_dead_letters.restore(tx, letter_id, actor))


@dead_letters.command("note")
@click.argument("letter_id", metavar="ID", type=int)
@click.argument("text")
@as_json
@acting
def note_(letter_id: int, text: str, *, json_: bool, actor: str) -> None:
    """What people should know about it."""
    write(lambda tx: operations_dead_letters.note(tx, letter_id, text, actor))
    emit({"id": letter_id, "note": text}, json_=json_, human=lambda: f"dead letter {letter_id}: noted")

"""`daifu dead-letters`: what the console's desk can, from the command line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

import click

from pipeline import operations_dead_letters, operations_raw, operations_replay
from pipeline.cli.context import acting, opened, query, read_settings, write
from pipeline.cli.dead_letter_filters import filtered
from pipeline.cli.dead_letter_replays import jobs, replay, rules
from pipeline.cli.output import as_json, emit, fields, note, table
from pipeline.operations_errors import Refused
from pipeline.spreadsheet import csv_lines
from pipeline.store.engine import Transaction
from pipeline.store.queries import Json, shown
from pipeline.store.queries_desk import letter
from pipeline.store.queries_letters import EXPORTED, LetterFilter, all_letters, groups_of_letters, list_letters

COLUMNS = (
    "id", "stage", "order_no", "generation", "agent", "reason", "attempts",
    "amount_fen", "deadline", "state", "replays", "replay", "detail",
)  # fmt: skip
GROUP_COLUMNS = ("reason", "stage", "words", "letters", "amount_fen", "deadline", "failed_again", "replay")


@click.group()
def dead_letters() -> None:
    """What a stage could not finish; replay."""


@dead_letters.command("list")
@filtered(state=True)
@click.option("--limit", type=click.IntRange(min=1), help="At most this many.")
@as_json
def list_(wanted: LetterFilter, limit: int | None, *, json_: bool) -> None:
    """Dead letters, open ones first, nearest deadline first."""
    rows = query(lambda tx: list_letters(tx, wanted, limit))
    emit(rows, json_=json_, human=lambda: table(rows, COLUMNS))
    if not json_ and rows:
        found = query(groups_of_letters)
        note("\nopen, by reason:\n" + table(found, GROUP_COLUMNS))


@dead_letters.command("groups")
@filtered(state=True, usual="open")
@as_json
def groups(wanted: LetterFilter, *, json_: bool) -> None:
    """By reason and stage: how many, their sum, the nearest deadline, how many failed again."""
    rows = query(lambda tx: groups_of_letters(tx, wanted))
    emit(rows, json_=json_, human=lambda: table(rows, GROUP_COLUMNS))


@dead_letters.command("export")
@filtered(state=True)
@click.option("--format", "format_", type=click.Choice(["csv", "json"]), default="csv", show_default=True)
@click.option("--output", type=click.File("w", encoding="utf-8"), default="-", help="A file, or stdout.")
def export(wanted: LetterFilter, format_: str, output: TextIO) -> None:
    """Every one that the filter finds, with all its fields; JSON is one object on each line."""
    with opened(read_settings()) as store:
        rows = all_letters(store, wanted)
        if format_ == "json":
            output.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
            return
        output.writelines(csv_lines(EXPORTED, rows))


@dead_letters.command("show")
@click.argument("letter_id", metavar="ID", type=int)
@as_json
def show(letter_id: int, *, json_: bool) -> None:
    """One dead letter, and what a replay would do now."""
    settings = read_settings()
    by = rules(settings)

    def work(tx: Transaction) -> Json:
        row = operations_replay.find_letter(tx, letter_id)
        plan = operations_replay.would_replay(tx, row, by)
        facts = {"would": plan.result, "why": plan.why, "does": plan.does, "told_at": shown(plan.told_at)}
        return {**letter(row), **facts}

    found = query(work, settings)
    emit(found, json_=json_, human=lambda: fields(found))


@dead_letters.command("raw")
@click.argument("letter_id", metavar="ID", type=int)
@click.option("--with", "mended", type=click.File(encoding="utf-8"), help="The text as mended; - is stdin.")
@click.option("--replay", "replay_", is_flag=True, help="Accept it as mended; else only the difference is shown.")
@as_json
@acting
def raw(letter_id: int, mended: TextIO | None, *, replay_: bool, json_: bool, actor: str) -> None:
    """A message that nobody could read, masked; mended and replayed. What stays masked stays as it was."""
    settings = read_settings()
    by = rules(settings)
    if mended is None:
        text = query(lambda tx: operations_raw.masked(operations_replay.find_letter(tx, letter_id), by.service_keys))
        emit({"id": letter_id, "text": text}, json_=json_, human=lambda: text)
        return
    content = mended.read()

    def work(tx: Transaction) -> Json:
        row = operations_replay.find_letter(tx, letter_id)
        edit = operations_raw.edited(row, by.service_keys, content)
        operations_raw.readable(row, by.service_keys, edit)
        found: Json = {"id": letter_id, "changes": edit.changes}
        if replay_:
            result = operations_replay.replay(tx, letter_id, actor, by, edit=edit)
            if result.result == "refused":
                raise Refused("refused", result.why)
            found |= {"result": "replay", "why": result.why}
        return found

    found = write(work, settings) if replay_ else query(work, settings)
    emit(found, json_=json_, human=lambda: _difference(found))


def _difference(found: Json) -> str:
    rows = [{"field": path, **change} for path, change in found["changes"].items()]
    done = f"\n\ndead letter {found['id']}: replayed {found['why']}" if "result" in found else ""
    return table(rows, ("field", "before", "after")) + done


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


dead_letters.add_command(replay)
dead_letters.add_command(jobs)

"""`daifu dead-letters replay` here and now, and `daifu dead-letters jobs`, which the serving process works off."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import click

from pipeline import operations, operations_jobs, operations_replay
from pipeline.cli.context import acting, one_by_one, opened, query, read_settings, write, write_in
from pipeline.cli.dead_letter_filters import filtered, is_narrowed
from pipeline.cli.output import as_json, emit, fields, note, table
from pipeline.operations_errors import NotFound
from pipeline.operations_import import Rules, rules_of
from pipeline.operations_replay import ReplayResult
from pipeline.settings import Settings
from pipeline.store.engine import Store, Transaction
from pipeline.store.queries import Json
from pipeline.store.queries_letters import LetterFilter, list_letters
from pipeline.store.queries_replays import RESULTS, job, page_of_items, page_of_jobs
from pipeline.vault import KeyRing, VaultError

JOB_COLUMNS = (
    "id", "state", "total", "eligible", "ineligible", "replayed", "refused", "failed", "waiting", "left_alone", "rate",
    "made_by", "made_at", "stopped_by",
)  # fmt: skip
ITEM_COLUMNS = (
    "id", "order_no", "reason", "amount_fen", "plan", "plan_why", "result", "why", "failed_again", "purchase_state",
)  # fmt: skip


def rules(settings: Settings) -> Rules:
    """Without the second key ring undecodable messages can't be replayed; replaying one says so."""
    try:
        keys: KeyRing | None = KeyRing.load(settings.service_keys_path)
    except VaultError:
        keys = None
    return rules_of(settings, keys)


@click.command()
@click.argument("ids", metavar="ID…", type=int, nargs=-1)
@filtered(state=False)
@click.option("--all", "all_", is_flag=True, help="All open ones.")
@click.option("--dry-run", is_flag=True, help="Only say what would happen.")
@click.option("--rate", type=click.FloatRange(min=0, min_open=True), metavar="N", help="At most N replays per second.")
@click.option("--agreed", metavar="TEXT", help="Who of the agent agreed, where payStatus 2 was delivered before.")
@as_json
@acting
def replay(
    ids: tuple[int, ...],
    wanted: LetterFilter,
    *,
    all_: bool,
    dry_run: bool,
    rate: float | None,
    agreed: str | None,
    json_: bool,
    actor: str,
) -> None:
    """Do the work of dead letters again, under guards. Ctrl-C stops between two; exit 4 when all were refused."""
    if bool(ids) + (is_narrowed(wanted) or all_) != 1:
        raise click.UsageError("name dead letters by ID, or give --reason R or another filter, or --all")
    settings = read_settings()
    with opened(settings) as store:
        chosen = list(ids) if ids else store.read(lambda tx: [row["id"] for row in list_letters(tx, wanted)])
        if dry_run:
            rows = [_dry_run(store, letter_id, rules(settings)) for letter_id in chosen]
        else:
            results = _replay_each(store, chosen, rules(settings), actor, rate, agreed)
            rows = [{"id": one.id, "result": _word(one.result), "why": one.why} for one in results]
    emit(rows, json_=json_, human=lambda: table(rows, tuple(rows[0]) if rows else ()))
    if rows and all(row["result"] == "refused" for row in rows):
        click.get_current_context().exit(4)


def _word(result: str) -> str:
    """The same two words for a replay and its dry run, so that one reader fits both."""
    return "replay" if result.startswith("replay") else "refused"


def _dry_run(store: Store, letter_id: int, by: Rules) -> Json:
    def work(tx: Transaction) -> Json:
        letter = operations_replay.find_letter(tx, letter_id)
        plan = operations_replay.would_replay(tx, letter, by)
        return {
            "id": plan.id,
            "order_no": letter.order_no,
            "reason": letter.reason,
            "result": _word(plan.result),
            "does": plan.does,
            "why": plan.why,
        }

    return store.read(work)


def _replay_each(
    store: Store, ids: Sequence[int], by: Rules, actor: str, rate: float | None, agreed: str | None
) -> Iterator[ReplayResult]:
    def act(letter_id: int) -> ReplayResult:
        return write_in(store, lambda tx: operations_replay.replay(tx, letter_id, actor, by, agreed=agreed))

    for place, result in enumerate(one_by_one(ids, act, rate), 1):
        note(f"{place}/{len(ids)} dead letter {result.id}: {_word(result.result)} {result.why}".rstrip())
        yield result


@click.group()
def jobs() -> None:
    """Replays of many, made one by one at a rate by `daifu serve` or `up`; they survive restarts."""


@jobs.command("check")
@click.argument("ids", metavar="ID…", type=int, nargs=-1)
@filtered(state=False)
@click.option("--all", "all_", is_flag=True, help="All open ones.")
@as_json
@acting
def check(ids: tuple[int, ...], wanted: LetterFilter, *, all_: bool, json_: bool, actor: str) -> None:
    """Make a job: the dry run of each. Nothing is replayed before `jobs start`."""
    if bool(ids) + (is_narrowed(wanted) or all_) != 1:
        raise click.UsageError("name dead letters by ID, or give a filter, or --all")
    settings = read_settings()
    by = rules(settings)
    with opened(settings) as store:
        job_id = write_in(store, lambda tx: operations.make_job(tx, actor, None if ids else wanted, ids))
        while write_in(store, lambda tx: operations_jobs.check_some(tx, job_id, by, operations_jobs.CHECKS_AT_ONCE)):
            pass
        found = store.read(lambda tx: job(tx, job_id))
    emit(found, json_=json_, human=lambda: fields(found or {}))


@jobs.command("list")
@as_json
def list_(*, json_: bool) -> None:
    """The newest fifty."""
    rows = query(lambda tx: page_of_jobs(tx)).rows
    emit(rows, json_=json_, human=lambda: table(rows, JOB_COLUMNS))


@jobs.command("show")
@click.argument("job_id", metavar="JOB", type=int)
@click.option("--result", type=click.Choice(RESULTS), help="Only its dead letters with this result.")
@as_json
def show(job_id: int, result: str | None, *, json_: bool) -> None:
    """Progress, and each dead letter's result."""

    def work(tx: Transaction) -> Json:
        found = job(tx, job_id)
        if found is None:
            raise NotFound(f"no job {job_id}: see `daifu dead-letters jobs list`")
        return found | {"items": page_of_items(tx, job_id, result, limit=max(found["total"], 1)).rows}

    found = query(work)
    rows = found["items"]
    head = {name: value for name, value in found.items() if name != "items"}
    emit(found, json_=json_, human=lambda: f"{fields(head)}\n\n{table(rows, ITEM_COLUMNS)}")


@jobs.command("start")
@click.argument("job_id", metavar="JOB", type=int)
@click.option("--rate", type=float, default=operations_jobs.USUAL, show_default=True, help="Replays per second.")
@click.option("--agreed", metavar="TEXT", help="Who of the agent agreed; needed where payStatus 2 was delivered.")
@as_json
@acting
def start(job_id: int, rate: float, agreed: str | None, *, json_: bool, actor: str) -> None:
    """Begin to replay what the dry run let through."""
    waits = write(lambda tx: operations.start_job(tx, job_id, actor, rate, agreed))
    emit({"id": job_id, "waiting": waits}, json_=json_, human=lambda: f"job {job_id}: {waits} dead letters wait")


@jobs.command("stop")
@click.argument("job_id", metavar="JOB", type=int)
@as_json
@acting
def stop(job_id: int, *, json_: bool, actor: str) -> None:
    """Leave alone what was not replayed yet."""
    write(lambda tx: operations.stop_job(tx, job_id, actor))
    emit({"id": job_id, "state": "stopped"}, json_=json_, human=lambda: f"job {job_id}: stopped")

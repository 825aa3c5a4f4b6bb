"""`daifu pause`, `daifu resume` and `daifu pauses`."""

from __future__ import annotations

import click

from pipeline import operations
from pipeline.cli.context import acting, query, write
from pipeline.cli.output import as_json, emit, table
from pipeline.operations import Scope
from pipeline.store.queries_desk import list_pauses

scoped = click.argument("scope", type=click.Choice([scope.value for scope in Scope]))


@click.command()
@scoped
@click.argument("name")
@click.option("--reason", required=True, metavar="TEXT", help="Why, for the audit log.")
@as_json
@acting
def pause(scope: str, name: str, reason: str, *, json_: bool, actor: str) -> None:
    """Hold back what has no payment intent yet; questions about submitted payments go on."""
    closed = write(lambda tx: operations.pause(tx, Scope(scope), name, reason, actor))
    shown = {"scope": scope, "name": name, "paused": True, "closed_attempts": closed}
    emit(shown, json_=json_, human=lambda: f"{scope} {name}: paused, {closed} open attempts closed")


@click.command()
@scoped
@click.argument("name")
@click.option("--reason", required=True, metavar="TEXT", help="Why, for the audit log.")
@as_json
@acting
def resume(scope: str, name: str, reason: str, *, json_: bool, actor: str) -> None:
    """End a pause; what waited is woken."""
    write(lambda tx: operations.resume(tx, Scope(scope), name, reason, actor))
    emit({"scope": scope, "name": name, "paused": False}, json_=json_, human=lambda: f"{scope} {name}: resumed")


@click.command()
@as_json
def pauses(*, json_: bool) -> None:
    """What is paused, by whom, since when and why."""
    rows = query(list_pauses)
    emit(rows, json_=json_, human=lambda: table(rows, ("scope", "name", "reason", "actor", "at")))

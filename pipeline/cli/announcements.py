"""`daifu announcements`."""

from __future__ import annotations

import click

from pipeline import operations_announcements as operations
from pipeline.cli.context import acting, query, write
from pipeline.cli.output import as_json, emit, table
from pipeline.store.queries_announcements import page_of_announcements

COLUMNS = ("id", "published_at", "published_by", "title", "withdrawn_at")


@click.group()
def announcements() -> None:
    """What everybody sees on the console's first page (系统公告)."""


@announcements.command("list")
@click.option("--limit", type=click.IntRange(min=1, max=1000), default=50, show_default=True)
@as_json
def list_(limit: int, *, json_: bool) -> None:
    """Latest first, with those that were withdrawn."""
    rows = query(lambda tx: page_of_announcements(tx, limit=limit, withdrawn=True)).rows
    emit(rows, json_=json_, human=lambda: table(rows, COLUMNS))


@announcements.command("publish")
@click.argument("title")
@click.argument("text")
@as_json
@acting
def publish(title: str, text: str, *, json_: bool, actor: str) -> None:
    """Everybody sees it at once."""
    announcement_id = write(lambda tx: operations.publish_announcement(tx, title, text, actor))
    emit({"id": announcement_id}, json_=json_, human=lambda: f"announcement {announcement_id} is published")


@announcements.command("withdraw")
@click.argument("id_", metavar="ID", type=click.IntRange(min=1))
@click.option("--reason", required=True, help="Why, for the audit log.")
@as_json
@acting
def withdraw(id_: int, reason: str, *, json_: bool, actor: str) -> None:
    """Nobody but staff sees it any more."""
    write(lambda tx: operations.withdraw_announcement(tx, id_, reason, actor))
    emit({"id": id_, "withdrawn": True}, json_=json_, human=lambda: f"announcement {id_} is withdrawn")

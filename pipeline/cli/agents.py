"""`daifu agents`."""

from __future__ import annotations

import click

from pipeline import operations_agents as operations
from pipeline.cli.context import (
    acting,
    http_allowed,
    optional_key_on_stdin,
    query,
    read_settings,
    secret_on_stdin,
    service_key,
    vault_key,
    write,
)
from pipeline.cli.output import as_json, emit, fields, note, table
from pipeline.secret import Secret
from pipeline.store.agent_keys import KeyKind
from pipeline.store.queries_desk import list_agents


@click.group()
def agents() -> None:
    """Agents, their addresses and passwords."""


def _key_on_stdin() -> Secret | None:
    """The key that is given; without one it is said that one is generated."""
    given = optional_key_on_stdin()
    if given is None:
        note("no key on stdin: one is generated")
    return given


@agents.command("add")
@click.argument("code")
@click.option("--callback", required=True, metavar="URL", help="Where the agent is told how each purchase ended.")
@as_json
@acting
def add(code: str, callback: str, *, json_: bool, actor: str) -> None:
    """Add an agent. Its merchant key is read from stdin, or generated; keys are printed this once."""
    settings = read_settings()
    sealing = service_key(settings)
    given = _key_on_stdin()
    new = write(
        lambda tx: operations.add_agent(tx, code, callback, given, sealing, actor, allow_http=http_allowed(settings)),
        settings,
    )
    shown = {"code": new.code, "key": new.key.reveal(), "webhook_secret": new.webhook_secret.reveal()}
    emit(shown, json_=json_, human=lambda: fields(shown))


@agents.command("change-key")
@click.argument("code")
@click.option(
    "--kind",
    type=click.Choice([kind.value for kind in KeyKind]),
    default=KeyKind.MERCHANT.value,
    show_default=True,
    help="merchant: what the agent signs requests with, and we callbacks; webhook: the Standard Webhooks secret of callbacks.",
)
@click.option("--at-once", is_flag=True, help="The old key leaked: it and all before it are good no more.")
@as_json
@acting
def change_key(code: str, kind: str, *, at_once: bool, json_: bool, actor: str) -> None:
    """Another key for an agent, read from stdin or generated, printed this once; the old one is good for another 24 h."""
    settings = read_settings()
    sealing = service_key(settings)
    given = _key_on_stdin()
    new = write(
        lambda tx: operations.change_key(tx, code, KeyKind(kind), given, sealing, actor, at_once=at_once), settings
    )
    shown = {"code": code, "kind": kind, "key": new.key.reveal(), "old_ends_at": new.old_ends_at.isoformat()}
    emit(shown, json_=json_, human=lambda: fields(shown))


@agents.command("list")
@as_json
def list_(*, json_: bool) -> None:
    """Agents, without anything secret."""
    rows = query(list_agents)
    columns = ("code", "callback", "unified_password", "accounts", "created_at")
    emit(rows, json_=json_, human=lambda: table(rows, columns))


@agents.command("set-password")
@click.argument("code")
@click.option("--account", metavar="UN", help="Of this 12306 account only; without it the agent's unified password.")
@as_json
@acting
def set_password(code: str, account: str | None, *, json_: bool, actor: str) -> None:
    """Set a 12306 password, read from stdin."""
    settings = read_settings()
    sealing = vault_key(settings)
    password = secret_on_stdin("12306 password")
    write(lambda tx: operations.set_password(tx, code, password, sealing, actor, login=account), settings)
    emit(
        {"code": code, "account": account, "set": True},
        json_=json_,
        human=lambda: f"{code}: password of {account or 'all its accounts without one of their own'} set",
    )


@agents.command("use-unified")
@click.argument("code")
@click.option("--account", metavar="UN", required=True, help="The 12306 account whose own password is forgotten.")
@click.option("--reason", required=True, help="Why, for the audit log.")
@as_json
@acting
def use_unified(code: str, account: str, reason: str, *, json_: bool, actor: str) -> None:
    """An account with a password of its own uses the agent's unified one again."""
    write(lambda tx: operations.use_unified(tx, code, account, reason, actor))
    emit(
        {"code": code, "account": account, "unified": True},
        json_=json_,
        human=lambda: f"{code}: {account} uses the unified password",
    )


@agents.command("set-callback")
@click.argument("code")
@click.argument("url")
@as_json
@acting
def set_callback(code: str, url: str, *, json_: bool, actor: str) -> None:
    """Change where the agent is told; what is pending goes there too."""
    settings = read_settings()
    write(
        lambda tx: operations.set_callback(tx, code, url, actor, allow_http=http_allowed(settings)),
        settings,
    )
    emit({"code": code, "callback": url}, json_=json_, human=lambda: f"{code}: told at {url}")

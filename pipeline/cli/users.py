"""`daifu users`: who may sign in to the console."""

from __future__ import annotations

import click

from pipeline import operations_users as operations
from pipeline.cli.context import acting, optional_key_on_stdin, query, read_settings, write
from pipeline.cli.output import as_json, emit, fields, note, table
from pipeline.operations_users import Role
from pipeline.passwords import Passwords, check_new
from pipeline.secret import Secret
from pipeline.settings import Settings
from pipeline.store import users as user_store


@click.group()
def users() -> None:
    """People who sign in to the console."""


@users.command("add")
@click.argument("name")
@click.option("--role", required=True, type=click.Choice([role.value for role in Role]), help="What they may do.")
@click.option("--agent", metavar="CODE", help="Whose orders a user of the role agent sees.")
@as_json
@acting
def add(name: str, role: str, agent: str | None, *, json_: bool, actor: str) -> None:
    """Add a user. The password is read from stdin; without one a one-time link to set it is printed, this once."""
    settings = read_settings()
    password = optional_key_on_stdin()
    digest = None if password is None else _digest(name, password)
    new = write(lambda tx: operations.add_user(tx, name, Role(role), agent, digest, actor), settings)
    _show(settings, new.name, new.link, json_=json_)


@users.command("list")
@as_json
def list_(*, json_: bool) -> None:
    """Users, without anything secret."""
    rows = query(user_store.list_users)
    columns = ("name", "role", "agent", "password", "totp", "disabled", "signed_in_at", "created_at")
    emit(rows, json_=json_, human=lambda: table(rows, columns))


@users.command("disable")
@click.argument("name")
@click.option("--reason", required=True, help="Why, for the audit log.")
@as_json
@acting
def disable(name: str, reason: str, *, json_: bool, actor: str) -> None:
    """Nobody signs in as this user any more; who is signed in is out at once."""
    write(lambda tx: operations.disable_user(tx, name, reason, actor))
    emit({"name": name, "disabled": True}, json_=json_, human=lambda: f"{name}: disabled")


@users.command("enable")
@click.argument("name")
@click.option("--reason", required=True, help="Why, for the audit log.")
@as_json
@acting
def enable(name: str, reason: str, *, json_: bool, actor: str) -> None:
    """A disabled user may sign in again."""
    write(lambda tx: operations.enable_user(tx, name, reason, actor))
    emit({"name": name, "disabled": False}, json_=json_, human=lambda: f"{name}: enabled")


@users.command("sign-out")
@click.argument("name")
@click.option("--reason", required=True, help="Why, for the audit log.")
@as_json
@acting
def sign_out(name: str, reason: str, *, json_: bool, actor: str) -> None:
    """Whoever is signed in as this user is out at once, everywhere, and may sign in again."""
    write(lambda tx: operations.end_sessions(tx, name, reason, actor))
    emit({"name": name, "signed_out": True}, json_=json_, human=lambda: f"{name}: signed out")


@users.command("reset")
@click.argument("name")
@click.option("--reason", required=True, help="Why, for the audit log.")
@click.option("--totp", is_flag=True, help="The TOTP device is lost: the next sign-in enrols a new one.")
@as_json
@acting
def reset(name: str, reason: str, *, totp: bool, json_: bool, actor: str) -> None:
    """The password no longer counts; a one-time link to set a new one is printed, this once."""
    settings = read_settings()
    if totp:
        write(lambda tx: operations.reset_totp(tx, name, reason, actor), settings)
    link = write(lambda tx: operations.reset_password(tx, name, reason, actor), settings)
    _show(settings, name, link, json_=json_)


def _digest(name: str, password: Secret) -> str:
    check_new(name, password)
    return Passwords().digest(password)


def _show(settings: Settings, name: str, link: Secret | None, *, json_: bool) -> None:
    shown: dict[str, str | None] = {"name": name, "link": None}
    if link is not None:
        shown["link"] = f"http://{settings.console_listen or settings.http_listen}/start/{link.reveal()}"
        note("the link works once, for 24 hours; behind a proxy put its address in front")
    emit(shown, json_=json_, human=lambda: fields(shown))

"""`daifu db`."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

import click

from pipeline.cli.context import read_settings, write
from pipeline.cli.output import as_json, emit
from pipeline.secret import Secret
from pipeline.settings import SettingsError
from pipeline.store import grants, migrate
from pipeline.store.rights import ROLES, role_of


@click.group()
def db() -> None:
    """The database's tables and roles."""


@db.command("upgrade")
@as_json
def upgrade(*, json_: bool) -> None:
    """Create the tables, or bring them to what this version works with. Doing it twice is doing it once."""
    settings = read_settings()
    if not settings.database_url:
        settings.home.mkdir(parents=True, exist_ok=True, mode=0o700)
    revision = migrate.upgrade(settings.database)
    emit({"revision": revision}, json_=json_, human=lambda: f"the database stands at revision {revision}")


@db.command("roles")
@click.option(
    "--secrets",
    "folder",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="The folder of `daifu secrets`: each role gets the password in its process's database-url.",
)
@click.option("--print", "only_print", is_flag=True, help="Print the SQL instead; it sets no password.")
@as_json
def roles(folder: Path | None, *, only_print: bool, json_: bool) -> None:
    """A PostgreSQL role for each process, with least rights: after every `db upgrade`, as the tables' owner."""
    if only_print:
        click.echo(grants.script(), nl=False)
        return
    settings = read_settings()
    if not settings.database.startswith("postgresql"):
        raise SettingsError("DAIFU_DATABASE_URL: SQLite has no roles; a postgresql:// address of the owner is needed")
    passwords = {} if folder is None else {role: _password(folder, role) for role in ROLES}
    write(lambda tx: grants.apply(tx, passwords), settings)
    shown = {"roles": list(ROLES), "passwords_set": len(passwords)}
    emit(shown, json_=json_, human=lambda: f"{len(ROLES)} roles have their rights; {len(passwords)} passwords set")


def _password(folder: Path, role: str) -> Secret:
    path = folder / role.removeprefix(role_of("")) / "database-url"
    try:
        password = urlsplit(path.read_text().strip()).password
    except OSError as error:
        raise click.UsageError(f"{path}: {error.strerror}") from error
    if not password:
        raise click.UsageError(f"{path}: no password in it")
    return Secret(unquote(password))

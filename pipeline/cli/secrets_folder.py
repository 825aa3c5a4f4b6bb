"""`daifu secrets`: what every process of an installation may know, one folder for each.

A folder is mounted into its process and into no other: as a volume, or as a Kubernetes Secret made from it. Its files are what
`DAIFU_…_FILE`, `DAIFU_VAULT_FILE` and `DAIFU_SERVICE_KEYS_FILE` name.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import quote, urlsplit, urlunsplit

import click

from pipeline.broker.connection import parse_url
from pipeline.broker.definitions import definitions, render
from pipeline.broker.rights import RIGHTS, user_of
from pipeline.cli.output import as_json, emit, table
from pipeline.secret import Secret
from pipeline.store.rights import ROLES, role_of
from pipeline.vault import KeyRing

TOKEN_BYTES: Final = 32
OWNER: Final = "daifu"  # of the tables: migrations run as this user
VAULT: Final = "vault.json"
SERVICE_KEYS: Final = "service-keys.json"
#: Who holds the second key ring. The payment worker alone holds the first.
HOLD_SERVICE_KEYS: Final = ("intake", "notification", "relay", "serve", "operator")
#: Who seals 12306 passwords and so needs their public key.
SEAL: Final = ("serve", "operator", "am")


class Folder:
    """Writes what is not there yet; what is there stays, so that doing it twice is doing it once."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.rows: list[dict[str, object]] = []

    def text(self, process: str, name: str, make: Callable[[], str], *, mode: int = 0o600) -> str:
        """The content of `process/name`, made where it is missing."""
        path = self._root / process / name
        created = not path.exists()
        if created:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            content = make()
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
            with os.fdopen(handle, "w") as file:
                os.fchmod(file.fileno(), mode)
                file.write(content)
        self.rows.append({"process": process, "file": name, "created": created})
        return path.read_text()

    def ring(self, process: str, name: str) -> KeyRing:
        path = self._root / process / name
        created = not path.exists()
        if created:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            KeyRing.generate().save(path)
        self.rows.append({"process": process, "file": name, "created": created})
        return KeyRing.load(path)

    def copy(self, ring: KeyRing, process: str, name: str) -> None:
        path = self._root / process / name
        created = not path.exists()
        if created:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            ring.save(path)
        self.rows.append({"process": process, "file": name, "created": created})

    def give_to(self, owner: int) -> None:
        """The folders and files belong to this numeric user from now on. Raises OSError."""
        for path in self._all():
            os.chown(path, owner, owner)

    def _all(self) -> Iterator[Path]:
        for row in self.rows:
            folder = self._root / str(row["process"])
            yield folder
            yield folder / str(row["file"])


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--broker", required=True, metavar="URL", help="amqp[s]://host[:port]/vhost, without user.")
@click.option("--management", metavar="URL", help="http[s]://host:port of RabbitMQ's management API, without user.")
@click.option("--database", required=True, metavar="URL", help="postgresql://host[:port]/name, without user.")
@click.option("--owner", type=int, metavar="UID", help="The numeric user of the containers; needs root.")
@as_json
def secrets_(folder: Path, broker: str, management: str | None, database: str, owner: int | None, json_: bool) -> None:
    """Make what is missing of every process's secrets in FOLDER; nothing secret is printed.

    Also rabbitmq/definitions.json with the users' password hashes, and postgres/password of the tables' owner. A password
    changes by deleting its files and running this again, and then `daifu db roles` and an import of the definitions.
    """
    try:
        vhost = parse_url(broker).vhost
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--broker") from None
    held = Folder(folder)
    _broker(held, broker, management, vhost)
    _database(held, database)
    _keys(held)
    if owner is not None:
        held.give_to(owner)
    emit(held.rows, json_=json_, human=lambda: table(held.rows, ("process", "file", "created")))


def _broker(held: Folder, broker: str, management: str | None, vhost: str) -> None:
    passwords: dict[str, Secret] = {}
    for rights in RIGHTS:
        process = rights.user.removeprefix(user_of(""))
        url = held.text(process, "broker-url", partial(_with, broker, rights.user, _new()))
        password = urlsplit(url).password or ""
        passwords[rights.user] = Secret(password)
        if management is not None and rights.tags:
            held.text(process, "broker-management-url", partial(_with, management, rights.user, password))
    # RabbitMQ runs as a user of its own, whose number differs from image to image: hashes of random passwords, in a
    # folder that only it is given.
    held.text("rabbitmq", "definitions.json", lambda: render(definitions(vhost, passwords)), mode=0o644)


def _database(held: Folder, database: str) -> None:
    # Read by the user PostgreSQL runs as, see above.
    owner = held.text("postgres", "password", _new, mode=0o644)
    held.text("setup", "database-url", partial(_with, database, OWNER, owner))
    for role in ROLES:
        process = role.removeprefix(role_of(""))
        held.text(process, "database-url", partial(_with, database, role, _new()))


def _keys(held: Folder) -> None:
    public = held.ring("payment", VAULT).public
    for process in SEAL:
        held.text(process, "vault-public-key", lambda: str(public))
    services = held.ring(HOLD_SERVICE_KEYS[0], SERVICE_KEYS)
    for process in HOLD_SERVICE_KEYS[1:]:
        held.copy(services, process, SERVICE_KEYS)
    token = held.text("serve", "am-token", _new)
    held.text("am", "am-token", lambda: token)


def _new() -> str:
    return secrets.token_urlsafe(TOKEN_BYTES)


def _with(url: str, user: str, password: str) -> str:
    """The URL with credentials. Raises click.BadParameter for one that has some."""
    parts = urlsplit(url)
    if "@" in parts.netloc:
        raise click.BadParameter("a URL without user and password is expected: they are made here")
    return urlunsplit(parts._replace(netloc=f"{quote(user)}:{quote(password)}@{parts.netloc}"))

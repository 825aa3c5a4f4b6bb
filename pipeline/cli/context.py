"""What operators' commands need from around them: settings, the open database, public keys, and who is acting."""

from __future__ import annotations

import getpass
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from ipaddress import IPv4Network, IPv6Network, ip_network
from select import select
from typing import Any, TypeVar

import click

from pipeline import log
from pipeline import settings as setting_reader
from pipeline.cli.output import note
from pipeline.clock import WallClock
from pipeline.matching import SHANGHAI
from pipeline.operations_errors import PERSON
from pipeline.secret import Secret
from pipeline.settings import Settings
from pipeline.store.engine import Presence, Store, Transaction, open_store, present
from pipeline.vault import KeyRing, PublicKey

F = TypeVar("F", bound=Callable[..., Any])
Item = TypeVar("Item")
T = TypeVar("T")
KEY_WAIT_S = 2.0
Network = IPv4Network | IPv6Network
LOOPBACK = ip_network("127.0.0.0/8")


def _actor(_ctx: click.Context, _param: click.Parameter, name: str | None) -> str:
    name = (name or _user()).strip()
    if not name:
        raise click.BadParameter("a name is needed")
    return f"{PERSON}{name}"


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError) as error:
        raise click.UsageError("this user has no name: say who you are with --by NAME") from error


acting = click.option(
    "--by",
    "actor",
    callback=_actor,
    metavar="NAME",
    help="Who is acting, for the audit log [default: the system user].",
)


class Moment(click.ParamType[datetime]):
    """An RFC 3339 time; without an offset it is Asia/Shanghai."""

    name = "time"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        try:
            moment = datetime.fromisoformat(str(value))
        except ValueError:
            self.fail(f"{value!r} is no time: write it as 2014-11-17T20:31:00+08:00", param, ctx)
        return (moment if moment.tzinfo is not None else moment.replace(tzinfo=SHANGHAI)).astimezone(UTC)


def read_settings() -> Settings:
    """The environment's settings. Raises SettingsError."""
    log.set_up()
    return setting_reader.read()


@contextmanager
def opened(settings: Settings) -> Iterator[Store]:
    """The database, for one command. Raises StoreUnavailable, UnsafeDatabase.

    A command publishes nothing: with no patience the relay takes what it makes due at once.
    """
    store = open_store(settings.database, WallClock(), patience_s=0.0, pool_size=1)
    try:
        yield store
    finally:
        store.close()


def write(work: Callable[[Transaction], T], settings: Settings | None = None) -> T:
    """Run `work` in one transaction of its own."""
    with opened(settings or read_settings()) as store:
        return write_in(store, work)


def write_in(store: Store, work: Callable[[Transaction], T]) -> T:
    """Run `work` in a transaction of an open store; the audit log says that it came from the command line."""
    return store.write(present(Presence("cli", socket.gethostname()), work)).value


def query(work: Callable[[Transaction], T], settings: Settings | None = None) -> T:
    """Run `work`, which only reads."""
    with opened(settings or read_settings()) as store:
        return store.read(work)


def one_by_one(items: Sequence[Item], act: Callable[[Item], T], rate: float | None) -> Iterator[T]:
    """What `act` made of each, at most `rate` a second; Ctrl-C stops between two, and says how many are done."""
    pause = threading.Event()  # never set: it waits, and Ctrl-C ends the wait
    for place, item in enumerate(items):
        try:
            if place and rate is not None:
                pause.wait(1 / rate)
            result = act(item)
        except KeyboardInterrupt:
            note(f"stopped: {place} of {len(items)} done")
            return
        yield result


def service_key(settings: Settings) -> PublicKey:
    """What seals merchant and callback keys. Raises VaultError."""
    return KeyRing.load(settings.service_keys_path).public


def vault_key(settings: Settings) -> PublicKey:
    """What seals 12306 passwords: the setting, else the ring where it lies here. Raises VaultError."""
    if settings.vault_public_key is not None:
        return PublicKey.parse(settings.vault_public_key)
    return KeyRing.load(settings.vault_path).public


def http_allowed(settings: Settings) -> bool:
    """Whether a callback may go over plain http: by the setting, or because `daifu up` plays the agents itself here."""
    return settings.callback_allow_http or _plays_the_agents(settings)


def callback_nets(settings: Settings) -> tuple[Network, ...]:
    """Networks that callbacks may reach though the deny table names them; `daifu up` adds its own machine where it plays."""
    own: tuple[Network, ...] = (LOOPBACK,) if _plays_the_agents(settings) else ()
    return (*settings.callback_allow_nets, *own)


def _plays_the_agents(settings: Settings) -> bool:
    return settings.railway_url is None and settings.cashier_url is None


def optional_key_on_stdin() -> Secret | None:
    """A key that was piped in; None on a terminal, or where nothing comes."""
    if sys.stdin is None or sys.stdin.closed or sys.stdin.isatty():
        return None
    # An inherited pipe that nobody writes to would hold the command up for ever.
    try:
        waiting = not select([sys.stdin], [], [], KEY_WAIT_S)[0]
    except (OSError, ValueError):
        waiting = False  # no file descriptor behind it: reading can't block
    text = "" if waiting else sys.stdin.read().strip()
    return Secret(text) if text else None


def secret_on_stdin(what: str) -> Secret:
    """A secret from stdin, typed unseen on a terminal."""
    if sys.stdin.isatty():
        return Secret(str(click.prompt(what, hide_input=True, err=True)))
    text = sys.stdin.read().rstrip("\r\n")
    if not text:
        raise click.UsageError(f"{what}: nothing came on stdin")
    return Secret(text)

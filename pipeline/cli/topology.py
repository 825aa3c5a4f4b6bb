"""`daifu topology`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from pipeline.broker import compare, declare
from pipeline.broker.connection import parse_url
from pipeline.broker.definitions import VHOST, definitions, render
from pipeline.broker.management import Management
from pipeline.broker.rights import RIGHTS
from pipeline.cli.context import read_settings
from pipeline.cli.output import as_json, emit, note, table
from pipeline.secret import Secret
from pipeline.settings import Settings

NOT_COMPARED = (
    "bindings, policies and unknown queues were not compared: AMQP can't ask for them; "
    "give DAIFU_BROKER_MANAGEMENT_URL (http://user:password@host:15672, the user tagged policymaker)"
)


@click.group()
def topology() -> None:
    """Queues and exchanges: apply, check; RabbitMQ's definitions file."""


@topology.command("apply")
@as_json
def apply(*, json_: bool) -> None:
    """Declare what is not there; what is there stays as it is. On memory:// `daifu up` does it by itself."""
    declare.apply(read_settings().broker_url)
    emit({"ok": True}, json_=json_, human=lambda: "exchanges, queues and bindings are there")


@topology.command("check")
@as_json
def check(*, json_: bool) -> None:
    """How the broker differs; exit 1 when it does. Creates and changes nothing."""
    settings = read_settings()
    found = declare.check(settings.broker_url)
    management = management_of(settings)
    left_out = [] if management is not None or settings.embedded else ["bindings", "policies", "unknown queues"]
    if management is not None:
        found += compare.differences(management)
    differences = [asdict(difference) for difference in found]
    shown = {"ok": not differences, "differences": differences, "not_compared": left_out}
    emit(
        shown,
        json_=json_,
        human=lambda: table(differences, ("object", "expected", "found")) if differences else "as it should be",
    )
    if left_out:
        note(NOT_COMPARED)
    if differences:
        click.get_current_context().exit(1)


@topology.command("definitions")
@click.option("--vhost", default=VHOST, show_default=True, help="The virtual host that everything lives in.")
@click.option(
    "--passwords",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="A folder with a file for each user, named after it; without it nobody can sign in yet.",
)
def definitions_(vhost: str, passwords: Path | None) -> None:
    """Print what RabbitMQ's load_definitions reads: users with least rights, policies, queues, bindings."""
    try:
        given = None if passwords is None else {it.user: _password(passwords / it.user) for it in RIGHTS}
    except OSError as error:
        raise click.UsageError(f"{error.filename}: {error.strerror}") from error
    click.echo(render(definitions(vhost, given)), nl=False)


def _password(path: Path) -> Secret:
    return Secret(path.read_text().strip())


def management_of(settings: Settings) -> Management | None:
    """RabbitMQ's management API, where this process was given its address."""
    if settings.embedded or settings.broker_management_url is None:
        return None
    return Management(settings.broker_management_url, parse_url(settings.broker_url).vhost)

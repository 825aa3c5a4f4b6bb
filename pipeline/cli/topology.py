"""`daifu topology`."""

from __future__ import annotations

from dataclasses import asdict

import click

from pipeline.broker import declare
from pipeline.cli.context import read_settings
from pipeline.cli.output import as_json, emit, table


@click.group()
def topology() -> None:
    """Queues and exchanges: apply, check."""


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
    differences = [asdict(difference) for difference in declare.check(read_settings().broker_url)]
    shown = {"ok": not differences, "differences": differences}
    emit(
        shown,
        json_=json_,
        human=lambda: table(differences, ("object", "expected", "found")) if differences else "as it should be",
    )
    if differences:
        click.get_current_context().exit(1)

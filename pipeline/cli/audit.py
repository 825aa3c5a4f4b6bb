"""`daifu audit`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pipeline.cli.context import opened, read_settings
from pipeline.cli.output import as_json, emit, table
from pipeline.store.audit import Broken, Report, run
from pipeline.store.audit_journal import CHECKED, run_journal


@click.command()
@click.option(
    "--journal",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A sandbox's journal: what was really taken must be what is written here.",
)
@as_json
def audit(journal: Path | None, *, json_: bool) -> None:
    """Check the invariants of money on the live database; exit 1 when one is broken. It only reads."""
    with opened(read_settings()) as store:
        report = run(store)
        if journal is not None:
            broken = (*report.broken, *run_journal(store, journal))
            report = Report(not broken, (*report.checked, *CHECKED), broken)
    shown = {"ok": report.ok, "checked": list(report.checked), "broken": [_row(one) for one in report.broken]}
    emit(shown, json_=json_, human=lambda: _human(report, shown))
    if not report.ok:
        click.get_current_context().exit(1)


def _row(broken: Broken) -> dict[str, Any]:
    return {
        "invariant": broken.invariant,
        "orders": list(broken.orders),
        "amount_fen": broken.amount_fen,
        "subjects": list(broken.subjects),
    }


def _human(report: Report, shown: dict[str, Any]) -> str:
    if report.ok:
        return f"{len(report.checked)} invariants checked, none broken"
    return table(shown["broken"], ("invariant", "amount_fen", "orders", "subjects"))

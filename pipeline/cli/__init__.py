"""`daifu`: the composition root. Only this package may import everything; each command's module is loaded when it is called."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import click

from pipeline.private_memory import keep_memory_private


class Place(NamedTuple):
    """Where a command lives (`module:attribute`), and its line in `daifu --help`, so that help loads no module."""

    target: str
    help: str


COMMANDS: Final[Mapping[str, Place]] = MappingProxyType(
    {
        "up": Place("pipeline.cli.up:up", "Everything in one process: stages, relay, HTTP, sandbox."),
        "demo": Place("pipeline.cli.demo:demo", "Sample orders through all five stages, a table of how each ended."),
        "worker": Place("pipeline.cli.worker:worker", "One stage's consumer."),
        "relay": Place("pipeline.cli.worker:relay", "The relay and the dead-letter desk."),
        "serve": Place("pipeline.cli.serve:serve", "The agents' interface, the AM door and the console."),
        "sandbox": Place("pipeline.cli.sandbox:sandbox", "A 12306, a cashier and agents to try things on."),
        "publish": Place("pipeline.cli.publish:publish", "Send messages as AM does."),
        "agents": Place("pipeline.cli.agents:agents", "Agents, their addresses and passwords."),
        "funds": Place("pipeline.cli.funds:funds", "An agent's balances and top-ups."),
        "reconcile": Place(
            "pipeline.cli.reconcile:reconcile", "An Alipay bill against our books: what does not agree."
        ),
        "orders": Place("pipeline.cli.orders:orders", "Orders, how each stands, closing a 支付完成,出票异常."),
        "dead-letters": Place("pipeline.cli.dead_letters:dead_letters", "What a stage could not finish; replay."),
        "tasks": Place("pipeline.cli.tasks:tasks", "What only a person can finish."),
        "accounts": Place("pipeline.cli.accounts:accounts", "12306 accounts and what blocks them."),
        "users": Place("pipeline.cli.users:users", "Who may sign in to the console."),
        "announcements": Place("pipeline.cli.announcements:announcements", "What everybody sees on the console."),
        "audit-log": Place("pipeline.cli.audit_log:audit_log", "Every act of every person, searched."),
        "callbacks": Place("pipeline.cli.callbacks:callbacks", "Try or repeat what agents are told."),
        "events": Place("pipeline.cli.events:events", "Send results to AM again."),
        "pause": Place("pipeline.cli.pauses:pause", "Hold back what has no payment intent yet."),
        "resume": Place("pipeline.cli.pauses:resume", "End a pause."),
        "pauses": Place("pipeline.cli.pauses:pauses", "What is paused, by whom and why."),
        "overview": Place("pipeline.cli.overview:overview", "The pipeline at a glance."),
        "recover": Place(
            "pipeline.cli.recover:recover", "After a restore: pay nothing until every hold was asked about."
        ),
        "archive": Place(
            "pipeline.cli.archive:archive", "Move the stories of orders that are long over out of the way."
        ),
        "audit": Place("pipeline.cli.audit:audit", "Check the invariants of money on the live database."),
        "bench": Place(
            "pipeline.cli.bench.command:bench", "Measure throughput and latency, on tables and queues of its own."
        ),
        "simulate": Place(
            "pipeline.cli.simulate:simulate", "The whole pipeline by a seed, in virtual time, under faults."
        ),
        "doctor": Place("pipeline.cli.doctor:doctor", "Check settings, database, broker, key files and clock."),
        "settings": Place("pipeline.cli.settings:settings", "Every setting and where it comes from."),
        "topology": Place("pipeline.cli.topology:topology", "Queues and exchanges: apply, check."),
        "db": Place("pipeline.cli.db:db", "The database's tables."),
        "secrets": Place("pipeline.cli.secrets_folder:secrets_", "Every process's secrets, one folder for each."),
        "vault": Place("pipeline.cli.vault:vault", "Key rings: make, rotate, close everything anew, let old keys go."),
        "schemas": Place("pipeline.cli.schemas:schemas", "JSON Schemas of every message."),
    }
)


class LazyGroup(click.Group):
    """The root command. What goes wrong in any command becomes one clear line on stderr and an exit code here."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """As the program `daifu`, whichever command: it may come to hold passwords and keys."""
        keep_memory_private()
        return super().__call__(*args, **kwargs)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        place = COMMANDS.get(cmd_name)
        if place is None:
            return None
        module, _, attribute = place.target.partition(":")
        command = getattr(importlib.import_module(module), attribute)
        return command if isinstance(command, click.Command) else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, place.help) for name, place in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:
            from pipeline.cli.failures import failure_of  # loads the database's library, which help needs not

            failure = failure_of(error)
            if failure is None:
                raise
            raise failure from error


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="daifu", prog_name="daifu")
def main() -> None:
    """daifu (代付) pays held 12306 orders on a ticket agent's behalf: at most once, and none is lost.

    Settings come from the environment (DAIFU_…): see `daifu settings`. Exit codes: 0 fine, 1 a check failed or not found,
    2 usage or settings, 3 a dependency can't be reached, 4 refused by a guard.
    """

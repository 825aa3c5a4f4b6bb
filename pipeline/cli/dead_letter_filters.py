"""What `daifu dead-letters` commands look for: the same filter as the console's page."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import click

from pipeline.cli.context import Moment
from pipeline.reasons import Reason
from pipeline.store.queries_letters import LetterFilter
from pipeline.store.work import STAGES

F = TypeVar("F", bound=Callable[..., Any])
STATES = ("open", "replayed", "discarded", "superseded")
NAMES = (
    "stage", "reason", "agent", "text", "first_since", "first_until", "last_since", "last_until", "failed_again",
)  # fmt: skip
OPTIONS = (
    click.option("--stage", type=click.Choice(STAGES)),
    click.option("--reason", type=click.Choice([reason.value for reason in Reason])),
    click.option("--agent", metavar="CODE"),
    click.option("--text", metavar="NO", help="An order number or its beginning, or a hold number."),
    click.option("--first-since", type=Moment(), help="Failed first at this time or later."),
    click.option("--first-until", type=Moment(), help="Failed first before this time."),
    click.option("--last-since", type=Moment(), help="Failed last at this time or later."),
    click.option("--last-until", type=Moment(), help="Failed last before this time."),
    click.option("--failed-again", is_flag=True, help="Only what was replayed before."),
)


def filtered(*, state: bool, usual: str | None = None) -> Callable[[F], F]:
    """The options as one argument `wanted`; with `state` any state may be asked for (`usual` where none is, None: all of them),
    without only open ones are found."""

    def decorate(command: F) -> F:
        @wraps(command)
        def gathered(*given: Any, **options: Any) -> Any:
            named = {name: options.pop(name) for name in NAMES}
            wanted = LetterFilter(state=options.pop("state") if state else "open", **named)
            return command(*given, wanted=wanted, **options)

        found: Any = gathered
        if state:
            found = click.option("--state", type=click.Choice(STATES), default=usual, show_default=True)(found)
        for option in reversed(OPTIONS):
            found = option(found)
        result: F = found
        return result

    return decorate


def is_narrowed(wanted: LetterFilter) -> bool:
    """Whether any option was given."""
    return any(getattr(wanted, name) for name in NAMES)

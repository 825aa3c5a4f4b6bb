"""Dead letters as people look for them: filters, groups, pages. Nothing here writes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Select, Text, and_, case, exists, func, literal, or_, select
from sqlalchemy.sql import ColumnElement

from pipeline.reasons import RULES, Reason
from pipeline.store.engine import Store, Transaction
from pipeline.store.pages import PAGE, Page, fetch
from pipeline.store.queries import Json, show_order, shown
from pipeline.store.queries_desk import letter
from pipeline.store.tables import dead_letters as letters
from pipeline.store.tables import orders, purchases
from pipeline.store.types import Instant

OPEN = "open"
# The columns of an export, of a page's and of a command's alike.
EXPORTED = (
    "id", "state", "stage", "reason", "words", "detail", "order_no", "generation", "agent", "amount_fen", "deadline",
    "attempts", "first_at", "last_at", "replays", "failed_again", "replay", "note", "raw",
)  # fmt: skip
_NEVER = datetime(9999, 1, 1, tzinfo=UTC)  # sorts after every deadline
DUE = func.coalesce(letters.c.deadline, literal(_NEVER, Instant()), type_=Instant()).label("due")
_IS_OPEN: ColumnElement[bool] = letters.c.state == literal(OPEN, Text(), literal_execute=True)  # its index's predicate
_groups = select(
    letters.c.reason,
    letters.c.stage,
    func.count().label("letters"),
    func.coalesce(func.sum(letters.c.amount_fen), 0).label("amount_fen"),
    func.min(letters.c.deadline).label("deadline"),
    func.min(letters.c.first_at).label("first_at"),
    func.max(letters.c.last_at).label("last_at"),
    func.sum(case((and_(letters.c.state == OPEN, letters.c.replays > 0), 1), else_=0)).label("failed_again"),
).group_by(letters.c.reason, letters.c.stage)


@dataclass(frozen=True, slots=True)
class LetterFilter:
    """What to look for; None looks for nothing. `text`: an order number or its beginning, or a hold number.

    `first_*` and `last_*`: when it failed first and last, from (inclusive) and until (exclusive). `failed_again`: it was
    replayed before.
    """

    stage: str | None = None
    reason: str | None = None
    agent: str | None = None
    state: str | None = OPEN
    text: str | None = None
    first_since: datetime | None = None
    first_until: datetime | None = None
    last_since: datetime | None = None
    last_until: datetime | None = None
    failed_again: bool = False

    def conditions(self) -> list[ColumnElement[bool]]:
        """For a statement over dead letters."""
        found: list[ColumnElement[bool]] = [
            letters.c[name] == value
            for name, value in (
                ("stage", self.stage),
                ("reason", self.reason),
                ("agent", self.agent),
            )
            if value is not None
        ]
        if self.state is not None:
            found.append(_IS_OPEN if self.state == OPEN else letters.c.state == self.state)
        for column, since, until in (
            (letters.c.first_at, self.first_since, self.first_until),
            (letters.c.last_at, self.last_since, self.last_until),
        ):
            found += [] if since is None else [column >= since]
            found += [] if until is None else [column < until]
        if self.text is not None:
            found.append(_named(self.text))
        if self.failed_again:
            found.append(letters.c.replays > 0)
        return found


def _named(text: str) -> ColumnElement[bool]:
    of_purchase = and_(
        purchases.c.order_no == letters.c.order_no,
        purchases.c.generation == letters.c.generation,
        purchases.c.held_order_no == text.upper(),
    )
    return or_(letters.c.order_no.startswith(text, autoescape=True), exists().where(of_purchase))


def page_of_letters(tx: Transaction, wanted: LetterFilter, cursor: str | None = None, limit: int = PAGE) -> Page:
    """Open ones by nearest deadline; with others among them the newest first. Raises BadCursor."""
    query = select(letters, DUE).where(*wanted.conditions())
    if wanted.state == OPEN:
        rows, following = fetch(tx, query, [DUE, letters.c.id], cursor, limit, descending=False)
    else:
        rows, following = fetch(tx, query, [letters.c.id], cursor, limit)
    return Page([letter(row) for row in rows], following)


def list_letters(tx: Transaction, wanted: LetterFilter | None = None, limit: int | None = None) -> list[Json]:
    """Open ones first, nearest deadline first; every one unless `wanted` says otherwise."""
    wanted = wanted or LetterFilter(state=None)
    order = (case((letters.c.state == OPEN, 0), else_=1), DUE, letters.c.id)
    query = select(letters, DUE).where(*wanted.conditions()).order_by(*order)
    return [letter(row) for row in tx.rows(query if limit is None else query.limit(limit))]


def count_letters(tx: Transaction, wanted: LetterFilter) -> tuple[int, int]:
    """(how many, their sum in fen)."""
    fen = func.coalesce(func.sum(letters.c.amount_fen), 0).label("fen")
    row = tx.run(select(func.count().label("n"), fen).select_from(letters).where(*wanted.conditions())).one()
    return int(row.n), int(row.fen)


def groups_of_letters(tx: Transaction, wanted: LetterFilter | None = None) -> list[Json]:
    """By reason and stage: how many, their sum, the nearest deadline, first and last failure, how many failed again."""
    conditions = (wanted or LetterFilter()).conditions()
    rows = tx.rows(_groups.where(*conditions).order_by(func.count().desc(), letters.c.reason, letters.c.stage))
    return [
        {
            "reason": row.reason,
            "stage": row.stage,
            "words": _rule(row.reason)[0],
            "replay": _rule(row.reason)[1],
            "letters": int(row.letters),
            "amount_fen": int(row.amount_fen),
            "deadline": shown(row.deadline),
            "first_at": shown(row.first_at),
            "last_at": shown(row.last_at),
            "failed_again": int(row.failed_again),
        }
        for row in rows
    ]


def _rule(reason: str) -> tuple[str, str]:
    """(words, when it may be replayed) of a reason; a newer version's is not known."""
    rule = RULES[Reason(reason)] if reason in set(Reason) else None
    return ("", "never") if rule is None else (rule.words, rule.replay.value)


def all_letters(store: Store, wanted: LetterFilter, limit: int = 2_000) -> Iterator[Json]:
    """Every one of them, read a page at a time: an export of very many holds neither memory nor a transaction."""
    cursor = None
    while True:
        page = store.read(lambda tx, at=cursor: page_of_letters(tx, wanted, at, limit))  # type: ignore[misc] # bound per page
        yield from page.rows
        cursor = page.next
        if cursor is None:
            return


def work_of_letter(tx: Transaction, one: Json) -> tuple[Json | None, Any]:
    """(the order of a dead letter as `show_order` gives it, the order as AM sent it); None where there is no order."""
    order = None if one["order_no"] is None else show_order(tx, one["order_no"])
    if order is None:
        return None, None
    return order, tx.run(select(orders.c.details).where(orders.c.order_no == one["order_no"])).scalar_one()


def others_of_order(tx: Transaction, one: Json) -> list[Json]:
    """The order's other dead letters, the newest first."""
    if one["order_no"] is None:
        return []
    query = select(letters).where(letters.c.order_no == one["order_no"], letters.c.id != one["id"])
    return [letter(row) for row in tx.rows(query.order_by(letters.c.id.desc()).limit(PAGE))]


def chosen_letters(wanted: LetterFilter | None, ids: Sequence[int]) -> Select[Any]:
    """(place, id) of what a person chose: by a filter, or one by one; nearest deadline first."""
    conditions = [letters.c.id.in_(ids)] if wanted is None else wanted.conditions()
    place = func.row_number().over(order_by=(DUE.element, letters.c.id))
    return select(place.label("place"), letters.c.id).where(*conditions)


__all__ = [
    "EXPORTED",
    "LetterFilter",
    "all_letters",
    "chosen_letters",
    "count_letters",
    "groups_of_letters",
    "list_letters",
    "others_of_order",
    "page_of_letters",
    "work_of_letter",
]

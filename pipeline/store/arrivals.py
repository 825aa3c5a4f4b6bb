"""Work rows that become true: inserted, or brought forward where they are there already (DESIGN section 4)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Text, update

from pipeline.store.clock import stamp
from pipeline.store.engine import Transaction
from pipeline.store.rows import insert_new, insert_rows
from pipeline.store.sets import OverRows
from pipeline.store.tables import work
from pipeline.store.types import Instant
from pipeline.store.work_keys import STAGE_OF, NewRow, Step

BRING_TRIES = 5  # a row that is deleted between our insert and our update is inserted the next time

_bring_forward = OverRows(
    {"key": Text(), "due": Instant(), "wake": Instant(), "urgency": Instant()},
    lambda given: (
        update(work)
        .where(given.has(work.c.key, "key"))
        .values(
            due_at=given.c.due,
            wake_at=given.c.wake,
            wakes=0,
            tries=0,
            version=work.c.version + 1,
            urgency=given.c.urgency,
        )
        .returning(work.c.key)
    ),
)


def add_all(tx: Transaction, rows: Sequence[NewRow], lease: tuple[str, float] | None = None) -> None:
    """Insert work rows. `lease` = (owner, seconds): born claimed, with fence 1."""
    values = _values_of(tx, rows, None if lease is None else lease[1])
    if lease is not None:
        for each in values:
            each |= {"lease_owner": lease[0], "lease_end": each["wake_at"], "fence": 1}
    insert_rows(tx, work, values)
    if lease is None:
        tx.wakes.update({row.key: STAGE_OF[row.step] for row in rows if row.due_at is None})


def _values_of(tx: Transaction, rows: Sequence[NewRow], lease_s: float | None) -> list[dict[str, Any]]:
    if not rows:
        return []
    moment = stamp(tx)
    # The worker publishes what is due now right after the commit; the relay looks after it once its patience is over.
    wake = moment + timedelta(seconds=tx.patience_s if lease_s is None else lease_s)
    return [
        {
            "key": row.key,
            "order_no": row.order_no,
            "generation": row.generation,
            "step": row.step,
            "stage": STAGE_OF[row.step],
            "due_at": row.due_at or moment,
            "wake_at": row.due_at or wake,
            "urgency": row.urgency or row.due_at or moment,
            "created_at": moment,
        }
        for row in rows
    ]


def add(
    tx: Transaction,
    order_no: str,
    generation: int,
    step: Step,
    *,
    urgency: datetime,
    due_at: datetime | None = None,
    lease: tuple[str, float] | None = None,
) -> None:
    """Insert one work row."""
    add_all(tx, [NewRow(order_no, generation, step, urgency, due_at)], lease)


def bring_forward_all(tx: Transaction, rows: Sequence[NewRow], *, there: bool = False) -> None:
    """Make work due that may be there already: insert each row, or change the one that is there, claimed or not. `there`: they
    most likely are, which saves trying to insert them."""
    left = {values["key"]: values for values in _values_of(tx, rows, None)}
    for tried in range(BRING_TRIES):
        for key in [] if there and not tried else insert_new(tx, work, list(left.values()), work.c.key):
            del left[key]
        found = [(key, row["due_at"], row["wake_at"], row["urgency"]) for key, row in left.items()]
        for (key,) in _bring_forward.run(tx, found):
            del left[key]
        if not left:
            break
    else:
        raise RuntimeError(f"{sorted(left)[0]}: its row comes and goes")  # the whole transaction is done again
    tx.wakes.update({row.key: STAGE_OF[row.step] for row in rows if row.due_at is None})


def bring_forward(
    tx: Transaction, order_no: str, step: Step, *, urgency: datetime | None = None, due_at: datetime | None = None
) -> None:
    """Make the order's row of this step (generation 0) due."""
    bring_forward_all(tx, [NewRow(order_no, 0, step, urgency, due_at)])

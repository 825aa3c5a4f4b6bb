"""Results of one order are numbered 1, 2, 3 …, whoever commits at the same time: staged on PostgreSQL, where two transactions can
be open at once."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from pipeline.requests import ErrCode
from pipeline.store import orders, results, tables
from pipeline.store.engine import Store, Transaction
from tests.contract.store_acts import Act, meet
from tests.contract.store_subjects import AGENT, value
from tests.contract.test_store_request_races import hears, prepare


@pytest.fixture
def postgresql(postgresql: Store) -> Store:
    prepare(postgresql)
    return postgresql


def is_refused(request_id: str) -> Act:
    refused = [results.Refused("o1", AGENT, request_id, ErrCode.BAD_PARAMETER, "no")]
    return lambda tx: results.emit_refusals(tx, refused)


@pytest.mark.parametrize("refusal_first", [True, False])
def test_a_refusal_and_an_opening_at_once_are_numbered_one_after_the_other(
    postgresql: Store,
    refusal_first: bool,  # noqa: FBT001
) -> None:
    """After one that was told before the order was known. Whoever waits has looked at the numbers before it waits."""
    postgresql.write(is_refused("before"))
    postgresql.write(hears(postgresql, "order.paid", "p", "o1"))
    opens: Act = lambda tx: orders.next_generations(tx, [("o1", 0)])["o1"].result_seq  # noqa: E731
    first, second = (is_refused("r"), opens) if refusal_first else (opens, is_refused("r"))
    opened = meet(postgresql, first, second)[refusal_first]
    told = value(postgresql, "SELECT seq FROM results WHERE row_key LIKE :key", key="%:r")
    assert (told, opened) == ((2, 3) if refusal_first else (3, 2))


@pytest.mark.parametrize("refusal_first", [True, False])
@pytest.mark.parametrize("stored", [True, False])
def test_refusals_about_an_order_that_nobody_knows_yet_share_no_number(
    postgresql: Store,
    refusal_first: bool,  # noqa: FBT001
    stored: bool,  # noqa: FBT001
) -> None:
    """Neither with the acceptance of that very order, nor with another refusal, that commit at the same time."""
    paid = hears(postgresql, "order.paid", "p", "o1")

    def opens(tx: Transaction) -> None:
        paid(tx)
        results.emit_accepted(tx, [(orders.next_generations(tx, [("o1", 0)])["o1"], None)])

    both = [is_refused("r"), opens if stored else is_refused("s")]
    first, second = both if refusal_first else reversed(both)
    meet(postgresql, first, second)
    assert sorted(row.seq for row in postgresql.read(lambda tx: tx.rows(select(tables.results.c.seq)))) == [1, 2]

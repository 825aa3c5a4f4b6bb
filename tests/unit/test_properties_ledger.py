"""Whatever is posted in whatever order: every posting balances, no guarded account is overdrawn, frozen money leaves once."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline import ledger
from pipeline.ledger import ALLOWED_LEGS, GUARDED, Account, Kind, Posting, Unbalanced
from pipeline.store.audit_checks import Range
from pipeline.store.audit_postings import (
    every_entry_has_its_posting,
    every_posting_balances,
    legs_allowed_for_their_kind,
)
from pipeline.store.audit_sums import Sums
from pipeline.store.engine import Store, Transaction, open_store
from pipeline.store.ledger import Overdrawn, apply, balances
from pipeline.store.tables import metadata
from tests.unit.desk_world import StillClock
from tests.unit.properties import repeatable

AMOUNT = st.integers(1, 400)
ORDER = st.sampled_from(["a", "b"])
NAMES = itertools.count()


@pytest.fixture(scope="module")
def store() -> Iterator[Store]:
    store = open_store("sqlite://", StillClock())
    metadata.create_all(store.engine)
    yield store
    store.close()


@dataclass
class Books:
    """One agent's ledger as it should be: what is posted by its key, and what that leaves on each guarded account."""

    agent: str
    posted: dict[str, Posting] = field(default_factory=dict)
    fen: dict[Account, int] = field(default_factory=lambda: dict.fromkeys(GUARDED, 0))

    def after(self, batch: Sequence[Posting]) -> tuple[dict[str, Posting], dict[Account, int]]:
        new = {posting.key: posting for posting in batch if posting.key not in self.posted}
        fen = dict(self.fen)
        for posting in new.values():
            for account, amount in posting.legs:
                if account in GUARDED:
                    fen[account] += amount
        return new, fen


Act = tuple[str, str, int]
ACTS = st.tuples(
    st.sampled_from(
        ["top_up", "freeze", "hold", "post", "void", "found", "unfreeze", "departure", "refund", "railway_refund"]
    ),
    ORDER,
    AMOUNT,
)


def posting_of(books: Books, act: Act) -> Posting:
    """The posting that the pipeline would make for this act: resolved is what was held, thawed what was frozen."""
    what, order, fen = act
    agent, order_no = books.agent, f"{books.agent}-{order}"
    held = _moved(books.posted.get(f"hold:{order_no}:1"), fen)
    frozen = _moved(books.posted.get(f"freeze:{order_no}"), fen)
    return {
        "top_up": lambda: ledger.top_up(agent, f"{order_no}-{fen}", fen, ""),
        "freeze": lambda: ledger.freeze(agent, order_no, fen),
        "hold": lambda: ledger.hold(agent, order_no, f"{order_no}:1", fen),
        "post": lambda: ledger.post(agent, order_no, f"{order_no}:1", held, fen),
        "void": lambda: ledger.void(agent, order_no, f"{order_no}:1", held),
        "found": lambda: ledger.found_payment(agent, order_no, fen),
        "unfreeze": lambda: ledger.unfreeze(agent, order_no, frozen, fen),
        "departure": lambda: ledger.departure_unfreeze(agent, order_no, frozen),
        "refund": lambda: ledger.full_refund(agent, order_no, frozen),
        "railway_refund": lambda: ledger.railway_refund(agent, order_no, str(fen), fen),
    }[what]()


def _moved(posting: Posting | None, otherwise: int) -> int:
    return otherwise if posting is None else max(fen for _account, fen in posting.legs)


@repeatable(60)
@given(st.lists(st.lists(ACTS, min_size=1, max_size=4), max_size=10))
@example([[("top_up", "a", 100), ("freeze", "a", 50)], [("hold", "a", 60)], [("post", "a", 70), ("unfreeze", "a", 70)]])
@example([[("freeze", "a", 50)], [("refund", "a", 1), ("departure", "a", 1), ("unfreeze", "a", 1)]])
@example([[("top_up", "a", 9)], [("hold", "a", 9)], [("post", "a", 400)], [("void", "a", 9)], [("post", "a", 9)]])
def test_any_batches_leave_the_books_right(store: Store, batches: list[list[Act]]) -> None:
    books = Books(f"agent{next(NAMES)}")
    for acts in batches:
        batch = [posting_of(books, act) for act in acts]
        by_key = list({posting.key: posting for posting in batch}.values())  # of two with one key one counts
        new, fen = books.after(by_key)
        if min(fen.values()) < 0:
            with pytest.raises(Overdrawn):
                store.write(lambda tx, batch=batch: apply(tx, batch))  # type: ignore[misc] # bound per batch
        else:
            done = store.write(lambda tx, batch=batch: apply(tx, batch))  # type: ignore[misc] # bound per batch
            assert done.value == set(new)
            books.posted |= new
            books.fen = fen
        assert store.read(lambda tx: balances(tx, books.agent)) == books.fen
    kinds = [posting.kind for posting in books.posted.values() if posting.key.startswith("thaw:")]
    assert len(kinds) <= 2  # of two orders
    store.read(check)


def check(tx: Transaction) -> None:
    """The audit agrees, over all books so far."""
    everything = Range(0, None)
    for invariant in (every_posting_balances, legs_allowed_for_their_kind, every_entry_has_its_posting):
        assert invariant.find(tx, everything) == []
    sums = Sums()
    sums.read(tx, everything)
    assert sums.broken(tx) == []


LEGS = st.lists(st.tuples(st.sampled_from(list(Account)), st.integers(-5, 5)), max_size=4).map(tuple)


@repeatable(200)
@given(LEGS)
def test_a_posting_that_does_not_balance_can_not_be_made(legs: tuple[tuple[Account, int], ...]) -> None:
    balanced = len(legs) >= 2 and sum(fen for _account, fen in legs) == 0 and all(fen for _account, fen in legs)
    if balanced:
        assert Posting("k", Kind.POST, "a", legs).legs == legs
    else:
        with pytest.raises(Unbalanced):
            Posting("k", Kind.POST, "a", legs)


@repeatable(150)
@given(AMOUNT, AMOUNT)
def test_every_posting_that_we_make_is_of_its_kind(one: int, other: int) -> None:
    made = [
        ledger.top_up("g", "k", one, ""), ledger.freeze("g", "o", one), ledger.hold("g", "o", "o:1", one),
        ledger.post("g", "o", "o:1", one, other), ledger.void("g", "o", "o:1", one), ledger.unfreeze("g", "o", one, other),
        ledger.departure_unfreeze("g", "o", one), ledger.full_refund("g", "o", one), ledger.railway_refund("g", "o", "r", one),
    ]  # fmt: skip
    for posting in made:
        gives, gains = ALLOWED_LEGS[posting.kind]
        assert sum(fen for _account, fen in posting.legs) == 0
        assert {account for account, fen in posting.legs if fen < 0} <= gives
        assert {account for account, fen in posting.legs if fen > 0} <= gains

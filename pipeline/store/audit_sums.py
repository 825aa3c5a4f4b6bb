"""Invariants of the whole ledger: sums over all entries, gathered range by range, against the running balances.

Ranges read at different moments may miss a posting of a transaction that was slow to commit, so what seems broken after the
last range is judged again from one snapshot, for the agents concerned, before anybody is told.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from sqlalchemy import Select, func, select

from pipeline.ledger import GUARDED
from pipeline.store.audit_checks import Hit, Range, Severity, Span, Words, words_of
from pipeline.store.engine import Transaction
from pipeline.store.tables import ledger_balances, ledger_entries
from pipeline.store.types import one_of

E, B = ledger_entries.c, ledger_balances.c
_GUARDED = [account.value for account in GUARDED]


def _sums(span: Span) -> Select[Any]:
    return (
        select(E.agent, E.account, func.sum(E.amount_fen).label("fen"))
        .where(span.of(E.id))
        .group_by(E.agent, E.account)
    )


_bounded, _last = _sums(Span(last=False)), _sums(Span(last=True))
_of_agents = (
    select(E.agent, E.account, func.sum(E.amount_fen).label("fen")).where(one_of(E.agent)).group_by(E.agent, E.account)
)


class Sums:
    """What all entries read so far sum to, by agent and account."""

    def __init__(self) -> None:
        self._fen: dict[tuple[str, str], int] = defaultdict(int)

    def read(self, tx: Transaction, keys: Range) -> None:
        """Add the entries of a range of ids."""
        if keys.upto is None:
            rows = tx.rows(_last, {"after": keys.after})
        else:
            rows = tx.rows(_bounded, {"after": keys.after, "upto": keys.upto})
        for row in rows:
            self._fen[row.agent, row.account] += int(row.fen)

    def broken(self, tx: Transaction) -> list[tuple[Words, list[Hit]]]:
        """Compare with the balances as they are now. The subject of a hit begins with its agent."""
        balances = {(row.agent, row.account): int(row.balance_fen) for row in tx.rows(select(ledger_balances))}
        guarded = {key: fen for key, fen in self._fen.items() if key[1] in _GUARDED}
        differ = {key: guarded.get(key, 0) - balances.get(key, 0) for key in guarded.keys() | balances.keys()}
        below = {key: min(guarded.get(key, 0), balances.get(key, 0)) for key in guarded.keys() | balances.keys()}
        totals: dict[tuple[str, str], int] = defaultdict(int)
        for (agent, _account), fen in self._fen.items():
            totals[agent, "all"] += fen
        found = (
            (BALANCES, _hits(differ.items())),
            (NEVER_BELOW, _hits((key, fen) for key, fen in below.items() if fen < 0)),
            (NOTHING_MADE, _hits(totals.items())),
        )
        return [(words, hits) for words, hits in found if hits]


def _hits(sums: Iterable[tuple[tuple[str, str], int]]) -> list[Hit]:
    return [Hit(f"{agent} {account}", None, fen) for (agent, account), fen in sums if fen]


def again(tx: Transaction, suspects: list[tuple[Words, list[Hit]]]) -> list[tuple[Words, list[Hit]]]:
    """The same for the agents of these hits only, from this one snapshot: what is broken here is broken."""
    agents = {hit.subject.rpartition(" ")[0] for _words, hits in suspects for hit in hits}
    sums = Sums()
    for row in tx.rows(_of_agents, {"keys": sorted(agents)}):
        sums._fen[row.agent, row.account] += int(row.fen)  # noqa: SLF001 - our own class, read another way
    return [
        (words, mine)
        for words, hits in sums.broken(tx)
        if (mine := [hit for hit in hits if hit.subject.rpartition(" ")[0] in agents])
    ]


def balances_equal_entries() -> None:
    """An agent's balance of each guarded account is the sum of its entries.

    Broken: the fund that payments are checked against is not what was posted; more, or less, could be spent than is there.
    Do: pause payment for the agent; the entries are the truth, so find what moved the balance without them.
    """


def guarded_accounts_never_below_zero() -> None:
    """No agent's frozen, procurement, in flight, available or refund account is below zero.

    Broken: money was spent that the agent did not have.
    Do: pause payment for the agent, top up what is missing, and find the posting that was let through.
    """


def no_money_is_made_or_lost() -> None:
    """All entries of an agent, the outside accounts included, sum to zero.

    Broken: a posting lost a leg, or got one too many.
    Do: look at every_posting_balances and every_entry_has_its_posting of the same audit: they name the posting.
    """


BALANCES = words_of(balances_equal_entries, Severity.MONEY, "L04")
NEVER_BELOW = words_of(guarded_accounts_never_below_zero, Severity.MONEY, "L05")
NOTHING_MADE = words_of(no_money_is_made_or_lost, Severity.MONEY, "L02")
WORDS: tuple[Words, ...] = (BALANCES, NEVER_BELOW, NOTHING_MADE)

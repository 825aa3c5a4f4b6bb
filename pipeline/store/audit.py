"""`daifu audit`: invariants that hold at any moment, also during faults, checked on the live database. It only reads.

Each is a rule whose breach would mean money lost, money paid twice or an order forgotten; a test breaks each one by hand and
sees it found. They are those of DESIGN sections 4 to 6.
"""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.store import audit_ledger, audit_purchases
from pipeline.store.audit_checks import Check
from pipeline.store.engine import Transaction

CHECKS: tuple[Check, ...] = (*audit_ledger.CHECKS, *audit_purchases.CHECKS)


@dataclass(frozen=True, slots=True)
class Broken:
    """An invariant that does not hold: whose, and how much money it is about. `subjects` names what was found (keys)."""

    invariant: str
    orders: tuple[str, ...]
    amount_fen: int
    subjects: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Report:
    ok: bool
    checked: tuple[str, ...]
    broken: tuple[Broken, ...]


def audit(tx: Transaction) -> Report:
    """Check everything in this one transaction."""
    broken = []
    for check in CHECKS:
        hits = check.find(tx)
        if hits:
            orders = tuple(sorted({hit.order_no for hit in hits if hit.order_no is not None}))
            subjects = tuple(sorted({hit.subject for hit in hits}))
            broken.append(Broken(check.name, orders, sum(abs(hit.amount_fen) for hit in hits), subjects))
    return Report(not broken, tuple(check.name for check in CHECKS), tuple(broken))

"""For each invariant of the audit: how to break it by hand, and where an order must stand for that."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import text

from pipeline.store.engine import Transaction
from tests.unit.desk_world import AGENT, Desk
from tests.unit.message_samples import ORDER_NO

DROP = "DROP INDEX {}"


@dataclass(frozen=True)
class Mutant:
    """`sql` is run on an order brought to where `until` leaves it; then the audit must name `invariant`."""

    invariant: str
    until: Callable[[Desk], object]
    sql: tuple[str, ...]
    values: tuple[tuple[str, str], ...] = ()

    def apply(self, tx: Transaction) -> None:
        for statement in self.sql:
            tx.run(text(statement), {"order": ORDER_NO, "agent": AGENT, **dict(self.values)})


def settled(desk: Desk) -> None:
    desk.paid()
    desk.run("settlement")


SUBMIT_AGAIN = (
    "INSERT INTO attempts (id, purchase_id, order_no, generation, n, fence, login, held_order_no, opened_at,"
    " submitted_at, concluded_at, amount_fen, trade_no, final_after, questions, outage_us)"
    " SELECT :order || ':1:2', :order || ':' || :generation, order_no, generation, 2, fence, login, :hold, opened_at,"
    " submitted_at, 1, amount_fen, 'T2', final_after, 0, 0 FROM attempts WHERE n = 1"
)
_ONE_SUBMIT = DROP.format("attempts_one_submit")
_ONE_ORDER = DROP.format("attempts_one_per_order")
_ONE_HOLD = DROP.format("attempts_one_per_hold")

MUTANTS = (
    Mutant("every_posting_balances", Desk.ready, ("UPDATE ledger_entries SET amount_fen = amount_fen + 1 WHERE account = 'user'",)),
    Mutant("every_entry_has_its_posting", Desk.ready, ("DELETE FROM ledger_postings WHERE kind = 'freeze'",)),
    Mutant("balances_equal_entries", Desk.ready, ("UPDATE ledger_balances SET balance_fen = balance_fen + 1 WHERE account = 'frozen'",)),
    Mutant("guarded_accounts_never_below_zero", Desk.submitted, ("DELETE FROM ledger_entries WHERE posting_key LIKE 'top_up:%'",)),
    Mutant("legs_allowed_for_their_kind", Desk.ready, ("UPDATE ledger_postings SET kind = 'void' WHERE kind = 'freeze'",)),
    Mutant("the_fare_is_frozen_once", Desk.ready, ("UPDATE orders SET fare_fen = fare_fen + 1",)),
    Mutant("frozen_rest_of_each_order", Desk.ready, ("UPDATE orders SET frozen_fen = 0",)),
    Mutant("in_flight_is_what_is_open", Desk.submitted, ("UPDATE ledger_balances SET balance_fen = 0 WHERE account = 'in_flight'",)),
    Mutant("every_intent_has_its_hold", Desk.submitted, ("DELETE FROM ledger_entries WHERE posting_key LIKE 'hold:%'",)),
    Mutant("every_hold_has_its_intent", Desk.submitted, ("UPDATE attempts SET submitted_at = NULL",)),
    Mutant("holds_are_resolved_as_proven", settled, ("DELETE FROM ledger_postings WHERE kind = 'post'",)),
    Mutant("posted_is_what_was_debited", settled, ("UPDATE attempts SET debited_fen = debited_fen - 1",)),
    Mutant(
        "refunds_within_what_was_posted",
        settled,
        (
            "INSERT INTO ledger_postings (key, kind, agent, order_no, note, at)"
            " VALUES ('x', 'railway_refund', :agent, :order, '', 0)",
            "INSERT INTO ledger_entries (posting_key, agent, account, amount_fen)"
            " VALUES ('x', :agent, 'railway', -999999), ('x', :agent, 'refund', 999999)",
        ),
    ),
    Mutant("one_submit_per_purchase", Desk.submitted, (_ONE_SUBMIT, _ONE_ORDER, SUBMIT_AGAIN), (("generation", "1"), ("hold", "OTHER"))),
    Mutant("one_open_payment_per_order", Desk.submitted, (_ONE_SUBMIT, _ONE_ORDER, SUBMIT_AGAIN), (("generation", "2"), ("hold", "OTHER"))),
    Mutant("one_open_payment_per_hold", Desk.submitted, (_ONE_SUBMIT, _ONE_ORDER, _ONE_HOLD, SUBMIT_AGAIN), (("generation", "2"), ("hold", "E646076788"))),
    Mutant("held_unpaid_is_proven", Desk.submitted, ("UPDATE purchases SET state = 'held_unpaid'",)),
    Mutant("purchased_is_proven", Desk.paid, ("UPDATE attempts SET proof = 'no_payment'",)),
    Mutant("settled_is_the_whole_fare", settled, ("UPDATE purchases SET unfrozen_fen = unfrozen_fen - 1",)),
    Mutant(
        "only_unpaid_orders_are_imported_again",
        Desk.submitted,
        (
            "INSERT INTO purchases (id, order_no, generation, agent, state, login, paid_fen, unfrozen_fen,"
            " partial_refund_fen, origin, requested_at, accepted_at, stop_at, updated_at)"
            " SELECT :order || ':' || '2', order_no, 2, agent, 'accepted', login, 0, 0, 0, 'queue', 0, 0, 0, 0 FROM purchases",
        ),
    ),
    Mutant("no_purchase_is_forgotten", Desk.requested, ("DELETE FROM work",)),
    Mutant("no_purchase_is_forgotten", Desk.ready, ("DELETE FROM work",)),
    Mutant("no_purchase_is_forgotten", Desk.submitted, ("DELETE FROM work WHERE step = 'ask'",)),
    Mutant("no_purchase_is_forgotten", Desk.paid, ("DELETE FROM work WHERE step = 'settle'",)),
    Mutant("every_abnormal_has_its_task", Desk.abnormal, ("DELETE FROM tasks",)),
    Mutant("orders_know_their_latest_purchase", Desk.ready, ("UPDATE orders SET generation = 2",)),
    Mutant("no_outcome_is_left_untold", Desk.paid, ("DELETE FROM work WHERE step = 'tell'",)),
    Mutant("every_end_has_its_callback", Desk.paid, ("DELETE FROM callbacks",)),
    Mutant("no_password_outlives_its_purchase", Desk.paid, ("UPDATE purchases SET password_sealed = 'k.x'",)),
)  # fmt: skip

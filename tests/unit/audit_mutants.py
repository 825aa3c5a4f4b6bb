"""For each invariant of the audit: how to break it by hand, where an order must stand for that, and what else breaks with it."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import text

from pipeline.store.engine import Transaction
from tests.unit.desk_world import AGENT, HOLD_NO
from tests.unit.message_samples import ORDER_NO


@dataclass(frozen=True)
class Mutant:
    """`sql` is run on an order that stands at `state`; then the audit names `invariant`, `consequences`, and nothing else."""

    invariant: str
    state: str
    sql: tuple[str, ...]
    consequences: tuple[str, ...] = ()

    def apply(self, tx: Transaction) -> None:
        for statement in self.sql:
            values = {"order": ORDER_NO, "agent": AGENT, "hold": HOLD_NO}
            tx.run(text(statement), {name: value for name, value in values.items() if f":{name}" in statement})


def posting(kind: str, key: str, legs: dict[str, int], agent: str = ":agent") -> tuple[str, str]:
    """A posting of the sample order's, put into the books by hand."""
    key = key.replace(":", "\\:")
    values = ", ".join(f"('{key}', {agent}, '{account}', {fen})" for account, fen in legs.items())
    return (  # its parts are written in this file
        "INSERT INTO ledger_postings (key, kind, agent, order_no, attempt_id, note, at)"  # noqa: S608
        f" VALUES ('{key}', '{kind}', {agent}, :order, :order || '\\:1\\:1', '', 0)",
        f"INSERT INTO ledger_entries (posting_key, agent, account, amount_fen) VALUES {values}",  # noqa: S608
    )


def moved(account: str, fen: int) -> str:
    """What the running balance would have become."""
    return f"UPDATE ledger_balances SET balance_fen = balance_fen + {fen} WHERE account = '{account}'"  # noqa: S608


def submitted_again(generation: int, hold: str) -> str:
    """Another attempt like the first one, of purchase `generation`, for `hold`."""
    return (
        "INSERT INTO attempts (id, purchase_id, order_no, generation, n, fence, login, held_order_no, opened_at,"  # noqa: S608
        " submitted_at, amount_fen, trade_no, final_after, questions, outage_us, concluded_at)"
        f" SELECT :order || '\\:{generation}\\:2', :order || '\\:{generation}', order_no, {generation}, 2, fence, login,"
        f" '{hold}', opened_at, submitted_at, amount_fen, 'T2', final_after, 0, 0, 1 FROM attempts WHERE n = 1"
    )


NO_GUARDS = tuple(f"DROP INDEX attempts_{name}" for name in ("one_open", "one_submit", "one_per_order", "one_per_hold"))
SECOND_PURCHASE = (
    "INSERT INTO purchases (id, order_no, generation, agent, state, login, paid_fen, unfrozen_fen,"
    " partial_refund_fen, origin, requested_at, accepted_at, stop_at, updated_at)"
    " SELECT order_no || '\\:2', order_no, 2, agent, 'accepted', login, 0, 0, 0, 'queue', requested_at, {accepted_at},"
    " stop_at, updated_at FROM purchases WHERE generation = 1"
)
ITS_ROW = (
    "INSERT INTO work (key, order_no, generation, step, stage, due_at, wake_at, urgency, created_at)"
    " VALUES (:order || '\\:2\\:credentials', :order, 2, 'credentials', 'credentials', 0, 0, 0, 0)"
)
ITS_RESULT = (
    "INSERT INTO results (row_key, order_no, seq, type, body, at)"
    " SELECT :order || '\\:2\\:purchase.accepted', :order, result_seq + 1, 'purchase.accepted', '', 0 FROM orders"
)
IMPORTED = (ITS_ROW, ITS_RESULT, "UPDATE orders SET generation = 2, result_seq = result_seq + 1")

LEDGER = (
    Mutant("every_posting_balances", "ready", ("UPDATE ledger_entries SET amount_fen = amount_fen + 1 WHERE account = 'user'",), ("no_money_is_made_or_lost",)),
    Mutant("legs_allowed_for_their_kind", "ready", ("UPDATE ledger_entries SET account = 'bank' WHERE account = 'user'",)),
    Mutant("legs_allowed_for_their_kind", "ready", ("UPDATE ledger_postings SET kind = 'gift' WHERE kind = 'top_up'",), ("every_posting_has_its_key",)),
    Mutant("every_posting_has_its_key", "ready", ("UPDATE ledger_postings SET key = 'x' WHERE kind = 'freeze'", "UPDATE ledger_entries SET posting_key = 'x' WHERE account IN ('user', 'frozen')")),
    Mutant("postings_belong_to_their_order", "ready", ("UPDATE ledger_postings SET agent = 'other' WHERE kind = 'freeze'", "UPDATE ledger_entries SET agent = 'other' WHERE posting_key LIKE 'freeze_%'", "UPDATE ledger_balances SET agent = 'other' WHERE account = 'frozen'")),
    Mutant("every_entry_has_its_posting", "ready", ("DELETE FROM ledger_postings WHERE kind = 'top_up'",)),
    Mutant("balances_equal_entries", "submitted", (moved("in_flight", 1),)),
    Mutant("guarded_accounts_never_below_zero", "submitted", ("DELETE FROM ledger_entries WHERE posting_key LIKE 'top_up_%'", "DELETE FROM ledger_postings WHERE kind = 'top_up'"), ("balances_equal_entries",)),
    Mutant("no_money_is_made_or_lost", "ready", ("DELETE FROM ledger_entries WHERE posting_key LIKE 'top_up_%' AND account = 'bank'",), ("every_posting_balances",)),
)  # fmt: skip

MONEY = (
    Mutant("the_fare_is_frozen_once", "ready", ("UPDATE orders SET fare_fen = fare_fen + 1",)),
    Mutant("frozen_rest_of_each_order", "ready", ("UPDATE orders SET frozen_fen = frozen_fen - 1",)),
    Mutant("frozen_money_leaves_once", "settled", (*posting("unfreeze", "again", {"frozen": -1, "user": 1}),), ("every_posting_has_its_key", "frozen_rest_of_each_order", "settled_is_the_whole_fare", "balances_equal_entries", "guarded_accounts_never_below_zero",)),
    Mutant("frozen_money_leaves_as_the_order_ended", "ready", (*posting("full_refund", "thaw:" + ORDER_NO, {"frozen": -128_400, "user": 128_400}), moved("frozen", -128_400), "UPDATE orders SET frozen_fen = 0")),
    Mutant("frozen_money_leaves_as_the_order_ended", "departed", ("UPDATE orders SET closure = 'no_ticket'",)),
    Mutant("settled_is_the_whole_fare", "settled", ("UPDATE purchases SET unfrozen_fen = unfrozen_fen - 1",)),
    Mutant("settled_is_the_whole_fare", "settled", ("UPDATE ledger_entries SET amount_fen = amount_fen - 1 WHERE account = 'available'", "UPDATE ledger_entries SET amount_fen = amount_fen + 1 WHERE account = 'user' AND posting_key LIKE 'thaw_%'", moved("available", -1))),
    Mutant("refunds_within_what_was_posted", "settled", (*posting("railway_refund", "railway_refund:" + ORDER_NO + ":2", {"railway": -999_999, "refund": 999_999}), "INSERT INTO railway_refunds (order_no, refund_id, agent, amount_fen, at, posted) VALUES (:order, '2', :agent, 999999, 0, true)"), ("balances_equal_entries",)),
    Mutant("every_refund_is_booked_once", "refund_arrived", ("UPDATE railway_refunds SET amount_fen = amount_fen + 1",)),
    Mutant("every_refund_is_booked_once", "refund_arrived", ("UPDATE railway_refunds SET posted = false",)),
    Mutant("every_refund_is_booked_once", "settled", ("INSERT INTO railway_refunds (order_no, refund_id, agent, amount_fen, at, posted) VALUES (:order, '2', :agent, 5, 0, false)",)),
    Mutant("in_flight_is_what_is_open", "submitted", ("UPDATE ledger_entries SET amount_fen = amount_fen + 1 WHERE account = 'in_flight'", "UPDATE ledger_entries SET amount_fen = amount_fen - 1 WHERE account = 'procurement' AND posting_key LIKE 'hold_%'", moved("in_flight", 1), moved("procurement", -1)), ("every_intent_has_its_hold",)),
    Mutant("every_intent_has_its_hold", "submitted", ("DELETE FROM ledger_entries WHERE posting_key LIKE 'hold_%'", "DELETE FROM ledger_postings WHERE kind = 'hold'", moved("in_flight", -124_100), moved("procurement", 124_100)), ("in_flight_is_what_is_open",)),
    Mutant("every_hold_has_its_intent", "submitted", ("UPDATE attempts SET submitted_at = NULL",), ("in_flight_is_what_is_open", "the_intent_is_on_both_rows", "no_attempt_outlives_its_purchase",)),
    Mutant("holds_are_resolved_once", "settled", (*posting("void", "again", {"in_flight": -1, "procurement": 1}),), ("every_posting_has_its_key", "in_flight_is_what_is_open", "holds_are_resolved_as_proven", "balances_equal_entries", "guarded_accounts_never_below_zero",)),
    Mutant("holds_are_resolved_as_proven", "refused", ("UPDATE attempts SET proof = 'paid'",), ("held_unpaid_is_proven",)),
    Mutant("holds_are_resolved_as_proven", "settled", ("UPDATE attempts SET proof = NULL",), ("posted_is_what_was_debited", "purchased_is_proven",)),
    Mutant("posted_is_what_was_debited", "settled", ("UPDATE attempts SET debited_fen = debited_fen - 1",)),
    Mutant("what_was_found_paid_is_booked", "found_ticketed", ("UPDATE purchases SET paid_fen = paid_fen + 1",)),
    Mutant("what_was_found_paid_is_booked", "found_refunded", ("UPDATE purchases SET state = 'never_debited'",), ("every_step_has_its_result",)),
    Mutant("what_was_found_paid_is_booked", "found_ticketed", ("DELETE FROM ledger_entries WHERE posting_key LIKE 'found_%'", "DELETE FROM ledger_postings WHERE kind = 'found_payment'"), ("purchased_is_proven", "balances_equal_entries")),
)  # fmt: skip

PAYMENTS = (
    Mutant("the_guards_are_in_place", "ready", ("DROP INDEX attempts_one_submit",)),
    Mutant("one_submit_per_purchase", "submitted", (*NO_GUARDS, submitted_again(1, "OTHER")), ("the_guards_are_in_place", "in_flight_is_what_is_open", "every_intent_has_its_hold", "one_open_payment_per_order",)),
    Mutant("one_open_payment_per_order", "imported_again", (*NO_GUARDS, "UPDATE attempts SET proof = NULL", submitted_again(2, "OTHER")), ("the_guards_are_in_place", "in_flight_is_what_is_open", "every_intent_has_its_hold", "holds_are_resolved_as_proven", "the_intent_is_on_both_rows", "held_unpaid_is_proven",)),
    Mutant("one_open_payment_per_hold", "submitted", (*NO_GUARDS, submitted_again(1, HOLD_NO)), ("the_guards_are_in_place", "in_flight_is_what_is_open", "every_intent_has_its_hold", "one_submit_per_purchase", "one_open_payment_per_order",)),
    Mutant("every_attempt_has_its_purchase", "ended", ("INSERT INTO attempts (id, purchase_id, order_no, generation, n, fence, login, opened_at, concluded_at) VALUES ('x.1.1', 'x.1', 'x', 1, 1, 1, 'u', 0, 0)",)),
    Mutant("every_attempt_has_its_purchase", "opened", ("UPDATE attempts SET generation = 7",)),
    Mutant("the_intent_is_on_both_rows", "refused", ("UPDATE purchases SET intent_at = NULL",)),
    Mutant("no_attempt_outlives_its_purchase", "opened", ("UPDATE purchases SET state = 'ready'",)),
    Mutant("no_attempt_outlives_its_purchase", "settled", ("UPDATE attempts SET concluded_at = NULL",)),
    Mutant("held_unpaid_is_proven", "submitted", ("UPDATE purchases SET state = 'held_unpaid'",), ("no_attempt_outlives_its_purchase", "an_end_has_its_reason", "no_password_outlives_its_purchase", "every_end_has_its_callback", "every_step_has_its_result",)),
    Mutant("no_payment_is_proven_late_enough", "unpaid", ("UPDATE attempts SET concluded_at = final_after - 31000000",)),
    Mutant("purchased_is_proven", "paid", ("UPDATE attempts SET proof = 'no_payment'",), ("holds_are_resolved_as_proven", "no_payment_is_proven_late_enough",)),
    Mutant("only_unpaid_orders_are_imported_again", "submitted", (SECOND_PURCHASE.format(accepted_at="accepted_at"), *IMPORTED), ("generations_follow_each_other",)),
    Mutant("generations_follow_each_other", "unpaid", (SECOND_PURCHASE.format(accepted_at="accepted_at"), *IMPORTED)),
)  # fmt: skip

PURCHASES = (
    Mutant("no_purchase_is_forgotten", "requested", ("DELETE FROM work",)),
    Mutant("no_purchase_is_forgotten", "ready", ("DELETE FROM work",)),
    Mutant("no_purchase_is_forgotten", "submitted", ("DELETE FROM work WHERE step = 'ask'",)),
    Mutant("no_purchase_is_forgotten", "paid", ("DELETE FROM work WHERE step = 'settle'",)),
    Mutant("every_abnormal_has_its_task", "abnormal", ("DELETE FROM tasks",)),
    Mutant("no_request_waits_for_nobody", "waiting", ("DELETE FROM work",)),
    Mutant("ticketed_offline_waits_for_departure", "offline", ("DELETE FROM work",)),
    Mutant("orders_know_their_latest_purchase", "ready", ("UPDATE orders SET generation = 2",)),
    Mutant("every_purchase_has_its_order", "ready", ("UPDATE purchases SET agent = 'other'",)),
    Mutant("an_end_has_its_reason", "ended", ("UPDATE purchases SET reason = 'not_issued'",)),
    Mutant("an_end_has_its_reason", "abnormal", ("UPDATE purchases SET reason = NULL",)),
    Mutant("an_end_has_its_reason", "settled", ("UPDATE purchases SET concluded_at = NULL",)),
    Mutant("no_password_outlives_its_purchase", "paid", ("UPDATE purchases SET password_sealed = 'k.x'",)),
    Mutant("an_abnormal_is_left_only_by_a_person", "refunded", ("UPDATE tasks SET closed_by = 'system:relay'",)),
    Mutant("an_abnormal_is_left_only_by_a_person", "never_debited", ("UPDATE tasks SET closed_at = NULL",)),
    Mutant("an_abnormal_is_left_only_by_a_person", "found_ticketed", ("UPDATE tasks SET closed_by = 'system:relay'",)),
    Mutant("a_closed_order_buys_nothing", "ready", ("UPDATE orders SET closure = 'ticketed_offline', closed_at = 0",), ("ticketed_offline_waits_for_departure",)),
    Mutant("a_closed_order_buys_nothing", "no_ticket", ("UPDATE orders SET closed_at = NULL",)),
    Mutant("what_was_kept_is_done", "ended", ("UPDATE orders SET kept_confirm = '{}'",)),
    Mutant("what_was_kept_is_done", "never_debited", ("UPDATE orders SET kept_refund = true",)),
)  # fmt: skip

TOLD = (
    Mutant("no_outcome_is_left_untold", "paid", ("DELETE FROM work WHERE step = 'tell'",)),
    Mutant("every_end_has_its_callback", "paid", ("DELETE FROM callbacks",)),
    Mutant("every_end_has_its_callback", "told", ("UPDATE callbacks SET pay_status = '3'",)),
    Mutant("only_the_last_outcome_is_told", "imported_again", ("UPDATE callbacks SET state = 'pending'", "INSERT INTO work (key, order_no, generation, step, stage, due_at, wake_at, urgency, created_at) VALUES (:order || '\\:0\\:tell', :order, 0, 'tell', 'notification', 0, 0, 0, 0)")),
    Mutant("what_was_told_was_decided", "told", ("INSERT INTO callbacks (order_no, generation, agent, pay_status, webhook_id, state, created_at) VALUES (:order, 1, :agent, '2', 'x', 'delivered', 0)", "INSERT INTO callback_calls (callback_id, at, answer, delivered) SELECT id, 0, '', true FROM callbacks WHERE webhook_id = 'x'")),
    Mutant("delivered_has_its_call", "told", ("DELETE FROM callback_calls",)),
    Mutant("an_exhausted_callback_is_a_dead_letter", "exhausted", ("DELETE FROM dead_letters",)),
    Mutant("every_step_has_its_result", "settled", ("UPDATE results SET row_key = 'x' WHERE type = 'purchase.settled'",)),
    Mutant("results_count_up", "settled", ("UPDATE results SET seq = seq + 1 WHERE type = 'purchase.settled'",)),
    Mutant("results_count_up", "settled", ("UPDATE results SET seq = 1",)),
)  # fmt: skip

BILLS = (
    Mutant("an_entry_has_its_postings_time", "ready", ("UPDATE ledger_entries SET at = at + 1 WHERE account = 'user'",)),
    Mutant("a_matched_line_is_what_was_posted", "billed", ("UPDATE bill_lines SET amount_fen = amount_fen + 1 WHERE kind = 'pay' AND state = 'matched'",)),
    Mutant("a_matched_line_is_what_was_posted", "billed", ("UPDATE bill_lines SET refund_id = 'x' WHERE kind = 'refund'",)),
    Mutant("a_matched_line_is_what_was_posted", "billed", ("UPDATE bill_lines SET kind = 'other' WHERE kind = 'refund'",)),
    Mutant("a_line_that_does_not_agree_has_its_task", "billed", ("DELETE FROM tasks",)),
    Mutant("a_line_that_does_not_agree_has_its_task", "refused", ("INSERT INTO bill_lines (uid, bill_id, line_no, at, kind, amount_fen, alipay_no, trade_no, words, state, order_no, attempt_id) VALUES ('x', 1, 1, 0, 'pay', 124100, '', 'T1', '', 'in_flight', :order, :order || '\\:1\\:1')",)),
    Mutant("a_line_that_does_not_agree_has_its_task", "billed", ("UPDATE tasks SET closed_by = 'human:ann', closed_at = 0, resolution = 'matched'",)),
)  # fmt: skip

MUTANTS: tuple[Mutant, ...] = (*LEDGER, *MONEY, *PAYMENTS, *PURCHASES, *TOLD, *BILLS)

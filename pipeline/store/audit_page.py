"""The page deploy/docs/audit.md, written from the invariants' own words: `python -m pipeline.store.audit_page > deploy/docs/audit.md`."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from pipeline.store import audit, audit_journal
from pipeline.store.audit_checks import MEANS, Severity, Words

HEAD = """\
# What `daifu audit` checks

`daifu audit` reads the live database and says which of its invariants do not hold; it exits 1 when one does not. It only reads:
each range of {batch} orders (or postings, entries, attempts, bill lines) is looked at in a read-only snapshot of its own, on PostgreSQL with a
statement time-out of {statement_s:g} s, and whatever seems broken is looked at again later and reported only if it still is. So it may
run at any moment, also while the system is at work or half of it is down; nothing here needs the queues to be empty.

The relay runs it every `DAIFU_AUDIT_EVERY_S` seconds, one relay at a time. What it finds is an error in the log
(`audit_broken`, with the invariant and the order numbers), a row in the table `audit_runs`, and the metrics
`daifu_audit_broken{{invariant}}` (breaches found by the last audit, 0 is good) and `daifu_audit_last_run_timestamp_seconds`.
Alarm on the first above 0, and on the second older than two intervals.

`daifu audit --journal FILE` compares with the journal of a sandbox as well: what it says was sent, taken and received is nobody's
opinion.

Each invariant is broken on purpose in the tests, in the data or in the code, and trips its alarm and only those that follow from it.
The short names (L01, P05 …) are those of the catalogue of payment invariants that this list answers; the last table says which of
that catalogue have no counterpart here, and why.

"""

# The catalogue's invariants that have no counterpart here.
UNMAPPED: tuple[tuple[str, str, str], ...] = (
    ("L05", "guarded accounts never below zero after any transaction", "Checked for the sums as they are now. A running sum "
     "in the order of row numbers is not one in the order of commits, so it would raise false alarms; the balance row itself "
     "refuses to go below zero at every commit (CHECK)."),
    ("L07", "hash chain of the ledger", "Entries have no chain: it would put every posting behind one row."),
    ("L08", "append-only against an earlier snapshot", "Needs a copy of the ledger to compare with. Nothing here updates or deletes "
     "entries; balances_equal_entries finds a change that the balances did not see."),
    ("L18", "a reversal points at what it reverses, once", "There are no reversals as a kind: a correction is a posting that names in "
     "its note what it corrects."),
    ("P10", "not sent agrees with the wire", "Only with a journal: journal_every_pay_has_its_intent."),
    ("P13", "fences grow over an order's attempts", "A fence belongs to a work row and begins anew with it; a late worker is kept out "
     "by guarded updates of the attempt row."),
    ("O03", "every ticket issued, prices sum to what was paid", "Tickets of 12306 are proof, not stored. With a journal: "
     "journal_purchased_was_issued."),
    ("O08, O11, O12", "event chain without gap, final states", "An order's history is a story for people, not a chain of events: states move by "
     "guarded updates along one table. an_end_has_its_reason, a_closed_order_buys_nothing and every_step_has_its_result find a "
     "state that does not fit."),
    ("M01, M05", "outbox confirmed, queues empty", "True only when nothing is at work. The work row is the work, and "
     "no_purchase_is_forgotten holds at any moment; what lags is the metric daifu_relay_lag_seconds."),
    ("M02, M03, M04", "every message handled once, none from nowhere", "Messages only wake: a message id is not a key here, "
     "business keys are. Requests keep source and id under a primary key."),
    ("N07", "no call after success", "A person may resend the last outcome; that the agent took it is delivered_has_its_call."),
    ("N08", "signed, fresh, never to a private address", "Signatures with a journal: journal_callbacks_are_genuine. Addresses are checked "
     "at the call and not stored."),
    ("R02", "every posting to or from 12306 is on the statement", "Not before its bill is uploaded: then what is missing on it becomes a task, "
     "and closes by itself when a later bill shows it."),
    ("R05", "a break is closed only by a posting", "A person closes it with words and evidence; what agrees by now closes by itself."),
    ("H02", "closed by one, approved by another", "The second person is needed above FOUR_EYES_FEN as it was set that day; the audit log "
     "names both. That a person closed it is an_abnormal_is_left_only_by_a_person."),
    ("A01", "hash chain of the audit log", "The database refuses to change or delete its rows (triggers)."),
    ("S01", "no secret anywhere", "Only no_password_outlives_its_purchase can be seen in the database; canaries down every path "
     "are a test."),
    ("C01", "coverage", "A property of a test run."),
)  # fmt: skip


def page() -> str:
    """The whole page, as it must stand in deploy/docs/audit.md."""
    text = HEAD.format(batch=audit.BATCH, statement_s=audit.STATEMENT_S)
    for severity in Severity:
        text += f"## {severity.value.capitalize()}\n\n{MEANS[severity]}\n\n"
        text += _table(words for words in audit.WORDS if words.severity is severity)
    text += "## With a journal\n\nAll of them are about money, or about what an agent was told about it.\n\n"
    text += _table(audit_journal.WORDS)
    text += "## What has no counterpart here\n\n| catalogue | it says | why not |\n|---|---|---|\n"
    return text + "".join(f"| {names} | {says} | {why} |\n" for names, says, why in UNMAPPED)


def _table(invariants: Iterable[Words]) -> str:
    rows = "".join(
        f"| `{words.name}` | {words.says} | {words.broken} | {words.do} | {words.anchors} |\n" for words in invariants
    )
    return f"| invariant | it says | when it is broken | what to do | answers |\n|---|---|---|---|---|\n{rows}\n"


if __name__ == "__main__":
    sys.stdout.write(page())

"""The day of one order that crash points are found in, and what must be true when it is over, whoever died.

Its seconds keep the product's proportions: a lease ends well before a hold does, a hold before the window of questions.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import Row, bindparam, case, func, select

from consumers.dead_letter_desk import DeadLetterDesk
from pipeline.broker.topology import dead_letter_queue_of, queue_of
from pipeline.cli.simulation.house import STAGES, House
from pipeline.cli.simulation.incarnation import Incarnation
from pipeline.cli.simulation.touched_ports import Executor, Inbox
from pipeline.cli.simulation.trips import SAMPLE
from pipeline.settings import Settings
from pipeline.stage import MAX_BATCH
from pipeline.store.audit import audit
from pipeline.store.audit_checks import Scope
from pipeline.store.audit_journal import audit_journal
from pipeline.store.clock import now
from pipeline.store.engine import Transaction
from pipeline.store.tables import attempts, purchases, railway_accounts, results, work
from pipeline.store.types import db_now
from schemas.results import ResultEvent
from tests.simulation import books
from tests.simulation.test_behaviours import BEHAVIOURS, Ends, submitted_unpaid

LEASE_S = 60.0
MARGIN_S = GRACE_S = 10.0


def hold_s(deaths: int) -> float:
    """So many leases can run out before the intent, and there is still time to pay."""
    return (LEASE_S + 15) * deaths + MARGIN_S + 15


def settings_for(deaths: int) -> Settings:
    return Settings(
        pay_timeout_s=5,
        pay_margin_s=MARGIN_S,
        pay_grace_s=GRACE_S,
        lease_s=LEASE_S,
        list_retry_s=6,  # five of them fit before an intent
        verify_window_s=2 * hold_s(deaths) + LEASE_S,
    )


SOON = timedelta(days=1)
BESIDE_WORK = ("take", "heartbeat", "Breaker")
NEVER_SENT = submitted_unpaid("unpaid_after_deadline", ("3", "2"), 0, 0.0)
REFUSAL_UNREAD = submitted_unpaid("unpaid_after_deadline", ("3", "2"), 1, 0.0)
_of_stage = (
    select(func.count()).select_from(work).where(work.c.stage == bindparam("stage"), work.c.due_at < bindparam("soon"))
)
_of_relay = select(
    select(func.count()).select_from(work).where(work.c.wake_at <= db_now()).scalar_subquery()
    + select(func.count()).select_from(results).where(results.c.sent_at.is_(None)).scalar_subquery()
)
_waiting = select(
    select(func.count()).select_from(work).where(work.c.due_at < bindparam("soon")).scalar_subquery()
    + select(func.count()).select_from(purchases).where(purchases.c.state.not_in(books.DONE)).scalar_subquery()
    + select(func.count()).select_from(results).where(results.c.sent_at.is_(None)).scalar_subquery()
    + case((select(func.count()).select_from(purchases).scalar_subquery() == 0, 1), else_=0)
)


class CrashHouse(House):
    """A house whose relay process runs the dead-letter desk, as the product's does."""

    relay_tick_s = 3.0

    def __init__(self, deaths: int = 1) -> None:
        super().__init__(settings=settings_for(deaths))
        self.hold_s = hold_s(deaths)
        self._desks: dict[str, list[Inbox]] = {}  # by worker

    def start_process(self, stage: str) -> Incarnation:
        life = super().start_process(stage)
        if stage == "relay":
            inboxes = {name: Inbox(life, self.broker.inbox(dead_letter_queue_of(name), MAX_BATCH)) for name in STAGES}
            self._desks[life.worker] = list(inboxes.values())
            executor = Executor(life, self._note_writer)
            life.spawn(DeadLetterDesk(self.store, executor, inboxes, self.service_keys.public).run())
        return life

    def _bury(self, life: Incarnation) -> None:
        for inbox in self._desks.pop(life.worker, ()):
            inbox.inner.closed = True
            inbox.inner.give_back()
        super()._bury(life)

    def drain(self) -> None:
        """AM reads its results; the dead letters are the desk's to take."""
        self.results.extend(ResultEvent.model_validate_json(body) for body in self.broker.bodies("daifu.am"))

    def only_waits(self, life: Incarnation, point: str) -> bool:
        """Nothing was given to this process that it has not finished, and it passes a point that has nothing to do with work."""
        if not point.startswith(BESIDE_WORK) or life.stage not in STAGES:
            return False
        if any(count for call, count in life.calls.items() if not call.startswith(BESIDE_WORK)):
            return False
        unacked = any(
            box.unacked for box in self.broker.inboxes if not box.closed and box.queue == queue_of(life.stage)
        )
        if unacked or self.broker.queues[queue_of(life.stage)]:
            return False
        leased = select(func.count()).select_from(work).where(work.c.lease_owner == life.worker)
        return not self.read(lambda tx: tx.run(leased).scalar_one())

    def broker_stands(self) -> Any:
        """Equal as long as nothing is published, delivered or acked."""
        queues = self.broker.queues
        taken = [tag for box in self.broker.inboxes if not box.closed for tag in box.unacked]
        return sum(self.broker.published.values()), tuple(map(len, queues.values())), tuple(taken)

    def has_recovered(self, stage: str) -> bool:
        """Who died there has a successor, and nothing is left to do of what it may have had in hand: no row and no message of its
        stage; for the relay no row to wake and no result to send. From here on its death makes no difference to a next one."""
        if not any(life.stage == stage for life in self.alive):
            return False
        if stage == "relay":
            return not self.read(lambda tx: tx.run(_of_relay).scalar_one())
        queue = queue_of(stage)
        unacked = any(box.unacked for box in self.broker.inboxes if not box.closed and box.queue == queue)
        if unacked or self.broker.queues[queue]:
            return False
        return not self.read(lambda tx: tx.run(_of_stage, {"stage": stage, "soon": now(tx) + SOON}).scalar_one())

    def queues_are_empty(self) -> bool:
        """Of all but AM's, and nothing taken out of them is unacked."""
        taken = any(box.unacked for box in self.broker.inboxes if not box.closed)
        waiting = any(queue for name, queue in self.broker.queues.items() if name != "daifu.am")
        return not taken and not waiting


def _open_ends(tx: Transaction, alive: Sequence[str]) -> int:
    """How many rows still wait for somebody: work (but for what is due after a departure), purchases without an end, results to publish, accounts in a call (the
    window of questions can end while one is still being asked)."""
    waiting = tx.run(_waiting, {"soon": now(tx) + SOON}).scalar_one()
    return int(waiting) + len(_leased(tx, alive))


def waiting_rows(tx: Transaction) -> int:
    """Of work, whenever it is due."""
    return int(tx.run(select(func.count()).select_from(work)).scalar_one())


def _leased(tx: Transaction, alive: Sequence[str]) -> list[Row[Any]]:
    return tx.rows(select(railway_accounts.c.login).where(railway_accounts.c.lease_owner.in_(alive)))


async def live_through(house: CrashHouse, behaviour: str) -> str:
    """One order from AM's message until it has ended, is told, and all is quiet. Returns its hold number."""
    hold = await house.buy(SAMPLE, behaviour, deadline_s=house.hold_s)
    seen = -1
    while house.clock.monotonic() < 3 * house.settings.verify_window_s:
        await house.rest(1)
        pays = len(books.journal(house, "pay", held_order_no=hold))
        assert pays <= 1, f"{pays} pays of one hold"
        if house.queues_are_empty() and seen != house.commits:
            if not house.read(lambda tx: _open_ends(tx, [life.worker for life in house.alive])):
                return hold
            seen = house.commits
    raise AssertionError("no end in sight")


def check_day(house: CrashHouse, behaviour: str, hold: str) -> tuple[str, str | None]:
    """Everything that a death may not change. Returns (state, reason). Raises AssertionError."""
    pays, debits = (len(books.journal(house, kind, held_order_no=hold)) for kind in ("pay", "debit"))
    row = books.purchase(house, SAMPLE)
    assert pays <= 1, f"{pays} pays of one hold"
    assert not (debits and row.state == "held_unpaid"), "money was taken and the agent is told that it was not"
    ends = _ending(house, behaviour)
    found, wanted = (row.state, row.reason, pays, debits), (ends.state, ends.reason, ends.pays, ends.debits)
    assert found == wanted, f"{found}, not {wanted}"
    assert books.state_of(house, SAMPLE) is ends.order
    assert row.password_sealed is None
    _check_told(house, ends)
    kinds = [event.type.removeprefix("purchase.") for event in books.results_of(house, SAMPLE)]
    assert tuple(kinds) == ends.results, f"AM read {kinds}"
    assert tuple(books.kinds(house, SAMPLE)) == ends.posted
    letters = [(reason, state) for _stage, reason, state in books.letters(house, SAMPLE)]
    assert letters == ([] if ends.reason is None else [(ends.reason, "open")]), letters
    books.check_books(house)
    assert not house.read(waiting_rows), "work is left"
    house.read(lambda tx: check_leftovers(tx, [life.worker for life in house.alive]))
    check_audits(house)
    return row.state, row.reason


def check_audits(house: CrashHouse) -> None:
    """Our own audit, and the one with the journal. No death and nobody's act takes an index away."""
    report = house.read(lambda tx: audit(tx, leave_out=(Scope.DATABASE,)))
    assert report.ok, report.broken
    broken = house.read(lambda tx: audit_journal(tx, house.world.journal()))
    assert not broken, broken


def _ending(house: CrashHouse, behaviour: str) -> Ends:
    """As the table of behaviours says, but for what died with the sender: before its first byte nothing is paid, and a refusal
    that nobody read is as good as none. Then only questions are left, and they find that no money moved."""
    ends = BEHAVIOURS[behaviour]
    passed = {point for life in (*house.alive, *house.dead) if life.stage == "payment" for point in life.points}
    intended = house.read(lambda tx: tx.rows(select(attempts.c.id).where(attempts.c.submitted_at.is_not(None))))
    if intended and "submit:received" not in passed:
        assert any(life.stage == "payment" for life in house.dead), "nobody died, and nothing was sent"
        return NEVER_SENT
    if ends.reason == "pay_refused" and "submit:after" not in passed:
        return REFUSAL_UNREAD
    return ends


def _check_told(house: CrashHouse, ends: Ends) -> None:
    """Each outcome in its order; one that is told again, because its answer died with the caller, keeps its webhook id. The
    provisional 3 may be overtaken by what it stands for while its teller is dead."""
    calls = [(line["pay_status"], line["webhook_id"]) for line in books.journal(house, "callback", order_no=SAMPLE)]
    told = list(dict.fromkeys(calls))
    statuses = tuple(status for status, _id in told)
    assert statuses == ends.told or (house.dead and statuses == ends.told[-1:]), f"the agent was told {calls}"
    assert calls == sorted(calls, key=told.index), f"told out of order: {calls}"


def check_leftovers(tx: Transaction, alive: Sequence[str]) -> None:
    """One purchase, and nobody who lives still holds or tries anything."""
    assert len(tx.rows(select(purchases.c.id))) == 1
    assert not _leased(tx, alive), "an account is still leased"
    tried = tx.rows(select(attempts.c.id, attempts.c.proof).where(attempts.c.concluded_at.is_(None)))
    open_ones = tx.rows(select(purchases.c.id).where(purchases.c.state == "paid_abnormal"))
    assert len(tried) <= len(open_ones), f"attempts without an end: {tried}"
